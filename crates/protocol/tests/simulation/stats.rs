//! What many schedules came to.

use std::collections::BTreeMap;

use cutline_model::Mode;

/// Counts over one schedule or many.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Schedules.
    pub schedules: u64,
    /// Events.
    pub events: u64,
    /// Records made.
    pub records: u64,
    /// Epochs tried, by mode.
    pub tried: BTreeMap<Mode, u64>,
    /// Epochs committed, by mode.
    pub completed: BTreeMap<Mode, u64>,
    /// Why epochs failed.
    pub failed: BTreeMap<String, u64>,
    /// Restores done: of everything.
    pub whole: u64,
    /// Restores done: of some services.
    pub subsets: u64,
    /// Restores that a plan refused, or that came to nothing.
    pub refused: BTreeMap<String, u64>,
    /// Late marks that committed cuts hold.
    pub late_marks: u64,
    /// Kept ranges that committed cuts hold.
    pub ranges: u64,
    /// In-flight records that committed cuts hold.
    pub in_flight: u64,
    /// Masked batches that readers met.
    pub masked: u64,
}

impl Stats {
    /// An epoch began.
    pub fn tried(&mut self, mode: Mode) {
        *self.tried.entry(mode).or_default() += 1;
    }

    /// An epoch committed.
    pub fn completed(&mut self, mode: Mode) {
        *self.completed.entry(mode).or_default() += 1;
    }

    /// An epoch failed; numbers and names are left out, so that like reasons count together.
    pub fn failed(&mut self, reason: &str) {
        *self.failed.entry(general(reason)).or_default() += 1;
    }

    /// A restore was refused.
    pub fn refused(&mut self, reason: &str) {
        *self.refused.entry(general(reason)).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        self.records += other.records;
        self.whole += other.whole;
        self.subsets += other.subsets;
        self.late_marks += other.late_marks;
        self.ranges += other.ranges;
        self.in_flight += other.in_flight;
        self.masked += other.masked;
        for (mode, count) in other.tried {
            *self.tried.entry(mode).or_default() += count;
        }
        for (mode, count) in other.completed {
            *self.completed.entry(mode).or_default() += count;
        }
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }

    /// The share of epochs that committed in `mode`.
    pub fn rate(&self, mode: Mode) -> f64 {
        let tried = self.tried.get(&mode).copied().unwrap_or(0);
        let completed = self.completed.get(&mode).copied().unwrap_or(0);
        completed as f64 / tried.max(1) as f64
    }
}

/// The words of a reason that carry no digit.
fn general(reason: &str) -> String {
    let words = reason.split_whitespace();
    let plain = words.filter(|word| !word.chars().any(|c| c.is_ascii_digit()));
    plain
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(110)
        .collect()
}
