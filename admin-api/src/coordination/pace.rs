//! When the next scheduled checkpoint begins: interval, least pause, back-off after failures, jitter, and hours without any.
//!
//! Arithmetic alone: what time it is, what failed, and how the dice fell is told. Checkpoints on request know no pace.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;

const SECONDS_PER_MINUTE: u32 = 60;
const MINUTES_PER_HOUR: u32 = 60;
const HOURS_PER_DAY: u32 = 24;
const SECONDS_PER_DAY: u32 = HOURS_PER_DAY * MINUTES_PER_HOUR * SECONDS_PER_MINUTE;
/// More doublings change nothing any more: the longest wait is reached long before.
const DOUBLINGS_MAX: u32 = 20;

/// What waits are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one trigger to the next.
    pub interval: Duration,
    /// The least time from the end of one to the next trigger.
    pub min_pause: Duration,
    /// The longest wait after failures, where that is more than the interval.
    pub backoff_max: Duration,
    /// The most that a trigger comes later by chance.
    pub jitter: Duration,
}

/// How the dice fell, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dice {
    /// For the back-off.
    pub backoff: f64,
    /// For the jitter.
    pub jitter: f64,
}

impl Dice {
    /// Throws them.
    #[must_use]
    pub fn throw() -> Self {
        Self {
            backoff: rand::random(),
            jitter: rand::random(),
        }
    }
}

impl Pace {
    /// How long to wait after a checkpoint that `took` so long, `failures` of them having failed in a row.
    ///
    /// Every failure doubles the longest wait, up to `backoff_max`; the wait is anything between the interval and that, so
    /// that what fails for being too many at once is not tried by all of them at once again.
    #[must_use]
    pub fn wait(&self, took: Duration, failures: u32, dice: Dice) -> Duration {
        let doubled = self
            .interval
            .saturating_mul(1 << failures.min(DOUBLINGS_MAX));
        let longest = doubled.min(self.backoff_max.max(self.interval));
        let backoff = longest.saturating_sub(self.interval).mul_f64(dice.backoff);
        let regular = (self.interval + backoff).saturating_sub(took);
        regular.max(self.min_pause) + self.jitter.mul_f64(dice.jitter)
    }
}

/// Hours of every day, in UTC, in which no scheduled checkpoint begins: `HH:MM-HH:MM`, over midnight where the end is not later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackout {
    from_s: u32,
    to_s: u32,
}

impl Blackout {
    /// How long it still lasts at `at`; `None` outside it.
    #[must_use]
    pub fn left(&self, at: Timestamp) -> Option<Duration> {
        let second = at.as_second().rem_euclid(i64::from(SECONDS_PER_DAY));
        let second = u32::try_from(second).expect("a day has fewer seconds than that");
        let length = (self.to_s + SECONDS_PER_DAY - self.from_s - 1) % SECONDS_PER_DAY + 1;
        let since = (second + SECONDS_PER_DAY - self.from_s) % SECONDS_PER_DAY;
        (since < length).then(|| Duration::from_secs(u64::from(length - since)))
    }
}

/// How long all of `blackouts` together still last at `at`: one may begin before another has ended.
#[must_use]
pub fn blackout_left(blackouts: &[Blackout], at: Timestamp) -> Option<Duration> {
    let mut end = at;
    // Each step leaves at least one of them, and none is met twice before a day is over.
    for _ in 0..=blackouts.len() {
        let longest = blackouts.iter().filter_map(|one| one.left(end)).max();
        let Some(left) = longest else { break };
        end += left;
    }
    Duration::try_from(at.duration_until(end))
        .ok()
        .filter(|left| !left.is_zero())
}

impl FromStr for Blackout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "hours of the day in UTC are expected, as in 08:00-09:30";
        let (from, to) = text.trim().split_once('-').ok_or(expected)?;
        Ok(Self {
            from_s: time_of_day(from).ok_or(expected)?,
            to_s: time_of_day(to).ok_or(expected)?,
        })
    }
}

fn time_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let is_one = hour < HOURS_PER_DAY && minute < MINUTES_PER_HOUR;
    is_one.then(|| (hour * MINUTES_PER_HOUR + minute) * SECONDS_PER_MINUTE)
}

impl fmt::Display for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |second: u32| {
            let minute = second / SECONDS_PER_MINUTE;
            (minute / MINUTES_PER_HOUR, minute % MINUTES_PER_HOUR)
        };
        let ((from_h, from_m), (to_h, to_m)) = (time(self.from_s), time(self.to_s));
        write!(f, "{from_h:02}:{from_m:02}-{to_h:02}:{to_m:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        interval: Duration::from_secs(10),
        min_pause: Duration::from_secs(2),
        backoff_max: Duration::from_secs(60),
        jitter: Duration::ZERO,
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn dice(backoff: f64, jitter: f64) -> Dice {
        Dice { backoff, jitter }
    }

    #[test]
    fn intervals_are_from_trigger_to_trigger_and_leave_the_least_pause() {
        assert_eq!(PACE.wait(3 * SECOND, 0, dice(1.0, 1.0)), 7 * SECOND);
        assert_eq!(PACE.wait(9 * SECOND, 0, dice(1.0, 1.0)), 2 * SECOND);
        assert_eq!(PACE.wait(99 * SECOND, 0, dice(1.0, 1.0)), 2 * SECOND);
    }

    #[test]
    fn every_failure_doubles_the_longest_wait_up_to_a_limit() {
        let longest = |failures| PACE.wait(Duration::ZERO, failures, dice(1.0, 0.0));
        let waits = [0, 1, 2, 3, 9, 4_000].map(longest);
        assert_eq!(waits, [10, 20, 40, 60, 60, 60].map(Duration::from_secs));
        // The least is the interval itself.
        assert_eq!(PACE.wait(Duration::ZERO, 9, dice(0.0, 0.0)), 10 * SECOND);
        assert_eq!(PACE.wait(Duration::ZERO, 9, dice(0.5, 0.0)), 35 * SECOND);
    }

    #[test]
    fn an_interval_above_the_limit_is_kept() {
        let pace = Pace {
            interval: Duration::from_secs(3_600),
            ..PACE
        };
        assert_eq!(pace.wait(Duration::ZERO, 5, dice(1.0, 0.0)), pace.interval);
    }

    #[test]
    fn jitter_makes_it_later() {
        let pace = Pace {
            jitter: 4 * SECOND,
            ..PACE
        };
        assert_eq!(pace.wait(Duration::ZERO, 0, dice(0.0, 0.5)), 12 * SECOND);
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-03-01T{time}:00Z").parse().unwrap()
    }

    #[test]
    fn a_blackout_lasts_from_its_first_minute_to_before_its_last() {
        let day: Blackout = "08:00-09:30".parse().unwrap();
        assert_eq!(day.left(at("07:59")), None);
        assert_eq!(day.left(at("08:00")), Some(90 * 60 * SECOND));
        assert_eq!(day.left(at("09:29")), Some(60 * SECOND));
        assert_eq!(day.left(at("09:30")), None);
        let night: Blackout = "22:00-02:00".parse().unwrap();
        assert_eq!(night.left(at("23:00")), Some(3 * 3_600 * SECOND));
        assert_eq!(night.left(at("01:00")), Some(3_600 * SECOND));
        assert_eq!(night.left(at("12:00")), None);
        assert_eq!(night.to_string(), "22:00-02:00");
    }

    #[test]
    fn blackouts_that_touch_are_one() {
        let both = ["08:00-09:00", "09:00-10:00", "12:00-13:00"].map(|one| one.parse().unwrap());
        assert_eq!(blackout_left(&both, at("08:30")), Some(90 * 60 * SECOND));
        assert_eq!(blackout_left(&both, at("11:00")), None);
        // The whole day: it does not go on for ever.
        let always = ["00:00-00:00".parse().unwrap()];
        assert!(blackout_left(&always, at("08:30")).is_some());
    }

    #[test]
    fn what_is_no_time_of_day_is_refused() {
        for text in ["", "8", "08:00", "24:00-01:00", "08:60-09:00", "a-b"] {
            assert!(text.parse::<Blackout>().is_err(), "{text}");
        }
    }
}
