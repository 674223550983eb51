//! Quantities as people read and write them: durations, sizes, times and counts, each with its unit.
//!
//! Machines get the plain numbers of `-o json`; nothing here is meant to be read back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// From here on milliseconds are written as seconds.
const MS_SHOWN_MAX: f64 = 10_000.0;
/// From here on seconds are written as minutes.
const SECONDS_SHOWN_MAX: f64 = 600.0;
/// From here on a size is written in the next larger unit.
const UNIT_SHOWN_MAX: f64 = 1_024.0;

/// A duration in milliseconds, to a tenth: `12.3 ms`, `61.5 s`, `12.5 min`.
#[must_use]
pub fn ms(ms: f64) -> String {
    let seconds = ms / 1_000.0;
    if ms < MS_SHOWN_MAX {
        format!("{ms:.1} ms")
    } else if seconds < SECONDS_SHOWN_MAX {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}

/// A duration in whole milliseconds: `812 ms`, `61.5 s`.
#[must_use]
pub fn whole_ms(whole: u64) -> String {
    if (whole as f64) < MS_SHOWN_MAX {
        format!("{whole} ms")
    } else {
        ms(whole as f64)
    }
}

/// A duration as it is said: `2 s`, `1.5 s`, `250 ms`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    if duration.as_millis() >= 1_000 {
        let seconds = format!("{:.1}", duration.as_secs_f64());
        format!("{} s", seconds.trim_end_matches(".0"))
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// A size: `512 B`, `1.5 KiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    if bytes < UNIT_SHOWN_MAX {
        return format!("{bytes:.0} B");
    }
    let (mut size, mut unit) = (bytes / 1_024.0, "KiB");
    for larger in ["MiB", "GiB", "TiB"] {
        if size < UNIT_SHOWN_MAX {
            break;
        }
        (size, unit) = (size / 1_024.0, larger);
    }
    format!("{size:.1} {unit}")
}

/// A whole size.
#[must_use]
pub fn whole_bytes(whole: u64) -> String {
    bytes(whole as f64)
}

/// How a size changed: `+1.5 KiB`, `-20 B`, `0 B`.
#[must_use]
pub fn bytes_change(from: u64, to: u64) -> String {
    match to.cmp(&from) {
        std::cmp::Ordering::Less => format!("-{}", whole_bytes(from - to)),
        std::cmp::Ordering::Equal => whole_bytes(0),
        std::cmp::Ordering::Greater => format!("+{}", whole_bytes(to - from)),
    }
}

/// `1 service`, `2 services`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A time, to the second, in UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The same under a title that says UTC.
#[must_use]
pub fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// An offset, where there is one.
#[must_use]
pub fn offset(offset: Option<i64>) -> String {
    offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string())
}

/// Reads a duration as people write it, such as `250ms`, `30s`, `1h30m`.
///
/// # Errors
/// What is wrong with it, for a usage error.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a duration above zero with its unit, such as 250ms, 30s or 5m".to_owned();
    let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(signed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_carry_their_unit_and_stay_short() {
        assert_eq!(ms(0.04), "0.0 ms");
        assert_eq!(ms(12.34), "12.3 ms");
        assert_eq!(ms(61_500.0), "61.5 s");
        assert_eq!(ms(750_000.0), "12.5 min");
        assert_eq!(whole_ms(812), "812 ms");
        assert_eq!(whole_ms(12_000), "12.0 s");
        assert_eq!(duration(Duration::from_secs(2)), "2 s");
        assert_eq!(duration(Duration::from_secs(10)), "10 s");
        assert_eq!(duration(Duration::from_millis(1_500)), "1.5 s");
        assert_eq!(duration(Duration::from_millis(250)), "250 ms");
        assert_eq!(whole_bytes(0), "0 B");
        assert_eq!(whole_bytes(1_023), "1023 B");
        assert_eq!(whole_bytes(1_536), "1.5 KiB");
        assert_eq!(whole_bytes(5 << 30), "5.0 GiB");
        assert_eq!(whole_bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(bytes_change(2_048, 512), "-1.5 KiB");
        assert_eq!(bytes_change(7, 7), "0 B");
        assert_eq!(count(1, "service"), "1 service");
        assert_eq!(count(0, "service"), "0 services");
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "30", "0s", "-5s", "soon"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_utc_to_the_second() {
        let at: Timestamp = "2026-03-04T05:06:07.891Z".parse().unwrap();
        assert_eq!(time(at), "2026-03-04 05:06:07Z");
        assert_eq!(utc(at), "2026-03-04 05:06:07");
    }
}
