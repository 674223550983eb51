//! What happened in a run, counted. It judges nothing.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::say;

/// The counts of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tally {
    seed: u64,
    begin: Instant,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    faults: u64,
    checkpoints: u64,
    restores: u64,
    violations: u64,
    hold_seconds_max: f64,
}

impl Tally {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            begin: Instant::now(),
            counts: Arc::default(),
        }
    }

    /// A line about what happens, with the time since the beginning.
    pub fn note(&self, text: &str) {
        say(&format!(
            "{:7.1}  {text}",
            self.begin.elapsed().as_secs_f64()
        ));
    }

    /// A fault was let loose.
    pub fn fault(&self) {
        self.counts.lock().faults += 1;
    }

    /// So many more checkpoints completed.
    pub fn checkpoints(&self, completed: usize) {
        self.counts.lock().checkpoints += completed as u64;
    }

    /// A restore completed.
    pub fn restored(&self) {
        self.counts.lock().restores += 1;
    }

    /// A promise was broken.
    pub fn violated(&self, what: &str) {
        self.note(&format!("VIOLATION: {what}"));
        self.counts.lock().violations += 1;
    }

    /// How many promises were broken.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.counts.lock().violations
    }

    /// An application was held for so long.
    pub fn held(&self, seconds: f64) {
        let longest = &mut self.counts.lock().hold_seconds_max;
        *longest = longest.max(seconds);
    }

    /// The longest an application was held.
    #[must_use]
    pub fn hold_seconds_max(&self) -> f64 {
        self.counts.lock().hold_seconds_max
    }

    /// The last line of a run.
    #[must_use]
    pub fn line(&self) -> Value {
        let counts = self.counts.lock();
        json!({
            "seed": self.seed,
            "faults": counts.faults,
            "checkpoints": counts.checkpoints,
            "restores": counts.restores,
            "violations": counts.violations,
            "hold_ms_max": (counts.hold_seconds_max * 1_000.0).round(),
        })
    }
}
