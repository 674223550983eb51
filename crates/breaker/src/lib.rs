//! A circuit breaker: after some failures in a row calls to a dependency fail at once, for a growing time with full jitter;
//! then one call is let through, and how that ends decides.
//!
//! It knows that calls succeed or fail, and when. What is called, and what counts as a failure, is its users' business.

use std::{
    fmt,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Failures in a row that open it: one may be an accident, and each has been repeated where that helps.
pub const FAILURES_MAX: u32 = 3;
/// The longest first time that calls fail at once; it doubles each time that the one call let through fails too.
pub const WAIT_FIRST: Duration = Duration::from_secs(2);
/// No time is longer: whatever was mended is found within that.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Calls go through.
    Closed,
    /// Calls fail at once.
    Open,
    /// One call may find out, or is finding out.
    HalfOpen,
}

impl Standing {
    /// The word that people and metrics are told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A call that fails at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} failed {failures} times in a row, last: {last}; it is asked again in {} ms at the earliest",
    again_in.as_millis()
)]
pub struct Open {
    /// What is not asked.
    pub what: &'static str,
    /// How often it failed in a row.
    pub failures: u32,
    /// How the last failure was.
    pub last: String,
    /// When somebody may ask again.
    pub again_in: Duration,
}

/// One dependency's breaker.
pub struct Breaker {
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    last: String,
    /// How often it was opened in a row, and until when calls fail.
    opened: u32,
    until: Option<Instant>,
    /// A call was let through and has not ended.
    probing: bool,
}

/// A call that may be made. Say how it ended; dropped without that, it says nothing.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// The breaker of `what`, closed.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            state: Mutex::default(),
        }
    }

    /// What it is of.
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// When it would fail anyway.
    pub fn ask(&self) -> Result<Permit<'_>, Open> {
        self.ask_at(Instant::now())
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing_at(Instant::now())
    }

    fn ask_at(&self, now: Instant) -> Result<Permit<'_>, Open> {
        let mut state = self.state.lock();
        let Some(until) = state.until else {
            return Ok(Permit {
                breaker: self,
                is_probe: false,
            });
        };
        if now < until || state.probing {
            return Err(Open {
                what: self.what,
                failures: state.failures,
                last: state.last.clone(),
                again_in: until.saturating_duration_since(now),
            });
        }
        state.probing = true;
        Ok(Permit {
            breaker: self,
            is_probe: true,
        })
    }

    fn standing_at(&self, now: Instant) -> Standing {
        match self.state.lock().until {
            None => Standing::Closed,
            Some(until) if now < until => Standing::Open,
            Some(_) => Standing::HalfOpen,
        }
    }

    fn succeeded(&self) {
        *self.state.lock() = State::default();
    }

    fn failed(&self, now: Instant, dice: f64, why: &str) {
        let mut state = self.state.lock();
        // Calls that were under way when it opened tell nothing new.
        let was_probe = std::mem::take(&mut state.probing);
        state.failures = state.failures.saturating_add(1);
        state.last = why.to_owned();
        let opens = state.until.is_none() && state.failures >= FAILURES_MAX;
        if opens || was_probe {
            state.until = Some(now + wait(state.opened, dice));
            state.opened = state.opened.saturating_add(1);
        }
    }
}

/// Anything up to a bound that doubles: whoever opened together does not come back together.
fn wait(opened: u32, dice: f64) -> Duration {
    let bound = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(opened));
    bound.min(WAIT_MAX).mul_f64(dice)
}

impl Permit<'_> {
    /// The call succeeded: it closes.
    pub fn succeeded(mut self) {
        self.is_probe = false;
        self.breaker.succeeded();
    }

    /// The call failed.
    pub fn failed(mut self, why: impl fmt::Display) {
        let is_probe = std::mem::take(&mut self.is_probe);
        // Only the one let through ends the probing; a straggler must not.
        let breaker = self.breaker;
        let was_closed = breaker.standing() == Standing::Closed;
        if is_probe || was_closed {
            breaker.failed(Instant::now(), rand::random(), &why.to_string());
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.state.lock().probing = false;
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({}, {})", self.what, self.standing().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.ask().expect("it is closed").failed("no");
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let breaker = Breaker::new("the store");
        fail(&breaker, FAILURES_MAX - 1);
        breaker.ask().expect("it is closed").succeeded();
        fail(&breaker, FAILURES_MAX - 1);
        assert_eq!(breaker.standing(), Standing::Closed);
        let now = Instant::now();
        breaker.failed(now, 1.0, "gone");
        let open = breaker.ask_at(now).map(drop).unwrap_err();
        assert_eq!((open.failures, open.again_in), (FAILURES_MAX, WAIT_FIRST));
        let said = open.to_string();
        assert!(
            said.starts_with("the store failed 3 times in a row, last: gone"),
            "{said}"
        );
    }

    #[test]
    fn one_call_finds_out_while_the_others_still_fail() {
        let breaker = Breaker::new("x");
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            breaker.failed(now, 1.0, "gone");
        }
        let later = now + WAIT_FIRST;
        assert_eq!(breaker.standing_at(later), Standing::HalfOpen);
        let probe = breaker.ask_at(later).expect("the time is over");
        assert!(breaker.ask_at(later).is_err(), "one is enough");
        drop(probe);
        let probe = breaker.ask_at(later).expect("the one before said nothing");
        probe.succeeded();
        assert_eq!(breaker.standing_at(later), Standing::Closed);
    }

    #[test]
    fn the_time_grows_up_to_its_bound_and_any_part_of_it_may_be_waited() {
        let breaker = Breaker::new("x");
        let mut now = Instant::now();
        for _ in 1..FAILURES_MAX {
            breaker.failed(now, 1.0, "gone");
        }
        for expected in [2, 4, 8, 16, 32, 60, 60] {
            breaker.failed(now, 1.0, "gone");
            let open = breaker.ask_at(now).map(drop).unwrap_err();
            assert_eq!(open.again_in, Duration::from_secs(expected));
            now += open.again_in;
            breaker.state.lock().probing = true;
        }
        assert_eq!(wait(9, 0.0), Duration::ZERO);
        assert_eq!(wait(9, 0.5), WAIT_MAX / 2);
    }
}
