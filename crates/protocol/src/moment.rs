//! A point in the shell's time.
//!
//! The core never asks what time it is; a shell hands in moments counted from an origin of its own choosing.

use std::{ops::Add, time::Duration};

/// Time since an origin the shell chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment `millis` milliseconds after the origin.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// How long ago `earlier` was; zero if it is later than this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The same in fractional milliseconds, the unit of every report.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> f64 {
        self.since(earlier).as_secs_f64() * 1_000.0
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0 + rhs)
    }
}
