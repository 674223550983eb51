//! One piece of work in a trace, with the log lines that belong to it.
//!
//! A span is a child of another one, of a caller's, or the first of a trace. Where nobody records a trace its ids are made
//! all the same and passed on, and nothing else is done. Work without a trace makes none: a span is never an orphan.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::{Instant, SystemTime},
};

use opentelemetry::{
    Context, KeyValue, Value,
    context::FutureExt,
    trace::{SpanKind, Status, TraceContextExt, Tracer},
};
use tracing::Instrument;

use crate::parent;

/// Requests to the store that are shown in one trace by one program; more of them say nothing new.
pub const REQUEST_SPANS_MAX: u32 = 200;
const SCOPE: &str = "cutline";

/// How many requests this program may still show in the trace.
struct Budget(AtomicU32);

/// What a span is about, for log lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The epoch.
    pub epoch: Option<u64>,
    /// The restore.
    pub restore: Option<&'a str>,
}

/// A piece of work. Cheap to clone; it ends when told, or with its last clone.
#[derive(Clone)]
pub struct Span {
    context: Context,
    log: tracing::Span,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({:?})", self.traceparent())
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::none()
    }
}

impl Span {
    /// Work that no trace is about.
    #[must_use]
    pub fn none() -> Self {
        Self {
            context: Context::new(),
            log: tracing::Span::none(),
        }
    }

    /// The first span of a trace, or a part of what this task does just now, where that is in a trace.
    #[must_use]
    pub fn begin(name: &'static str, about: About<'_>) -> Self {
        Self::opened(name, about, &Context::current())
    }

    /// A part of what the caller does that sent `traceparent`; none where it sent no such thing.
    #[must_use]
    pub fn under(traceparent: Option<&str>, name: &'static str, about: About<'_>) -> Self {
        match traceparent.and_then(parent::parse) {
            Some(caller) => Self::opened(
                name,
                about,
                &Context::new().with_remote_span_context(caller),
            ),
            None => Self {
                log: lines(about, None),
                ..Self::none()
            },
        }
    }

    /// What the caller does that sent `traceparent`, for work that is to be a part of it.
    #[must_use]
    pub fn of_caller(traceparent: &str) -> Self {
        match parent::parse(traceparent) {
            Some(caller) => Self {
                context: Context::new().with_remote_span_context(caller),
                log: lines(About::default(), Some(caller_id(traceparent))),
            },
            None => Self::none(),
        }
    }

    /// A part of what this task does just now; none where that is in no trace.
    #[must_use]
    pub fn here(name: &'static str) -> Self {
        let current = Self {
            context: Context::current(),
            log: tracing::Span::current(),
        };
        current.child(name)
    }

    fn opened(name: &'static str, about: About<'_>, parent: &Context) -> Self {
        let tracer = opentelemetry::global::tracer(SCOPE);
        let span = tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .start_with_context(&tracer, parent);
        let context = parent
            .with_span(span)
            .with_value(Budget(AtomicU32::new(REQUEST_SPANS_MAX)));
        let opened = Self {
            context,
            log: tracing::Span::none(),
        };
        Self {
            log: lines(about, opened.trace_id()),
            ..opened
        }
    }

    /// A part of this.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        self.child_at(name, SystemTime::now())
    }

    /// A part of this that began then.
    #[must_use]
    pub fn child_at(&self, name: &'static str, began: SystemTime) -> Self {
        // Nobody would see it, and callers get the same ids from this one.
        if !self.is_recorded() {
            return self.clone();
        }
        let tracer = opentelemetry::global::tracer(SCOPE);
        let span = tracer
            .span_builder(name)
            .with_start_time(began)
            .start_with_context(&tracer, &self.context);
        Self {
            context: self.context.with_span(span),
            log: self.log.clone(),
        }
    }

    /// Says something about it.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if self.is_recorded() {
            self.context
                .span()
                .set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// It did not succeed.
    pub fn fail(&self, why: impl fmt::Display) {
        if self.is_recorded() {
            self.context
                .span()
                .set_status(Status::error(why.to_string()));
        }
    }

    /// It is over.
    pub fn end(&self) {
        self.end_at(SystemTime::now());
    }

    /// It was over then. The parent of a caller is the caller's to end.
    pub fn end_at(&self, ended: SystemTime) {
        if self.is_recorded() {
            self.context.span().end_with_timestamp(ended);
        }
    }

    /// Does `work` as this: its log lines name the trace, and requests it makes are parts of it.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.instrument(self.log.clone())
            .with_context(self.context.clone())
    }

    /// Does `work` as this and ends it; an error is a failure.
    pub async fn done_by<T, E: fmt::Display>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let done = self.around(work).await;
        if let Err(error) = &done {
            self.fail(error);
        }
        self.end();
        done
    }

    /// What is said in `say` is about this.
    pub fn within<R>(&self, say: impl FnOnce() -> R) -> R {
        self.log.in_scope(say)
    }

    /// The id of its trace, as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        let span = self.context.span();
        let context = span.span_context();
        context.is_valid().then(|| context.trace_id().to_string())
    }

    /// What to send along with a call, so that it becomes a part of this.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let span = self.context.span();
        let context = span.span_context();
        context.is_valid().then(|| parent::format(context))
    }

    fn is_recorded(&self) -> bool {
        self.context.has_active_span() && self.context.span().span_context().is_sampled()
    }
}

/// `work`, begun elsewhere, as a part of what this task does just now.
pub fn as_now<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    work.in_current_span().with_current_context()
}

/// A request was answered that began then: shown as a part of what this task does, as long as there are not too many.
pub fn request(name: &'static str, began: Instant, bytes: u64, failed: bool) {
    let current = Span {
        context: Context::current(),
        log: tracing::Span::none(),
    };
    if !current.is_recorded() || !has_left(&current.context) {
        return;
    }
    let span = current.child_at(name, SystemTime::now() - began.elapsed());
    span.set("bytes", i64::try_from(bytes).unwrap_or(i64::MAX));
    if failed {
        span.fail("it failed");
    }
    span.end();
}

/// What a caller does is not ours to show: there has to be a span of this program around it.
fn has_left(context: &Context) -> bool {
    let Some(budget) = context.get::<Budget>() else {
        return false;
    };
    let take = |left: u32| left.checked_sub(1);
    let taken = budget
        .0
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    taken.is_ok()
}

fn caller_id(traceparent: &str) -> String {
    traceparent.split('-').nth(1).unwrap_or_default().to_owned()
}

/// The span of log lines: on whatever level lines are wanted.
fn lines(about: About<'_>, trace: Option<String>) -> tracing::Span {
    tracing::error_span!(
        target: "cutline",
        "work",
        epoch = about.epoch,
        restore = about.restore,
        correlationId = trace,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_no_trace_makes_none() {
        assert!(Span::here("store get").trace_id().is_none());
        assert!(Span::none().child("x").traceparent().is_none());
        assert!(
            Span::under(Some("nonsense"), "x", About::default())
                .trace_id()
                .is_none()
        );
    }

    #[test]
    fn a_caller_is_named_to_whoever_is_called_next() {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let span = Span::of_caller(caller);
        assert_eq!(span.traceparent().as_deref(), Some(caller));
        assert_eq!(span.child("x").traceparent().as_deref(), Some(caller));
    }

    #[test]
    fn requests_beyond_the_most_are_not_shown() {
        let context = Context::new().with_value(Budget(AtomicU32::new(2)));
        assert!(has_left(&context) && has_left(&context.clone()));
        assert!(!has_left(&context) && !has_left(&Context::new()));
    }
}
