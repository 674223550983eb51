//! W3C trace context: the `traceparent` that every call between programs carries.
//!
//! What is not one is no parent, and never an error: whoever calls decides what it sends.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The version that is written; later ones are read as far as this one goes.
const VERSION: u8 = 0;
/// `00-` + 32 + `-` + 16 + `-` + 2.
const LENGTH: usize = 55;

/// The context that `text` names.
pub(crate) fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.get(..LENGTH)?.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = byte(version)?;
    let longer = text.len() > LENGTH;
    if version == u8::MAX
        || version == VERSION && longer
        || longer && !text[LENGTH..].starts_with('-')
    {
        return None;
    }
    if trace.len() != 32 || span.len() != 16 || ![trace, span].into_iter().all(is_hex) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(byte(flags)?) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// `context` as a header says it.
pub(crate) fn format(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!(
        "{VERSION:02x}-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        flags.to_u8()
    )
}

fn byte(text: &str) -> Option<u8> {
    (text.len() == 2 && is_hex(text))
        .then(|| u8::from_str_radix(text, 16).ok())
        .flatten()
}

// Capital letters are not allowed.
fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_read() {
        let context = parse(GOOD).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(format(&context), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!parse(&unsampled).unwrap().is_sampled());
        assert_eq!(format(&parse(&unsampled).unwrap()), unsampled);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(format(&parse(&later).unwrap()), GOOD);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "ööööööööööööööööööööööööööööööö",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
