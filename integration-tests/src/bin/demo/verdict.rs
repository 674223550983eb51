//! What the demo found, and its last line.

use integration_tests::bank::Count;
use serde_json::{Value, json};

/// The outcome of the whole.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The checkpoint's last status word.
    pub checkpoint: String,
    /// The restore's last status word.
    pub restore: String,
    /// The auditor's count after everything settled.
    pub count: Option<Count>,
    /// The longest pause of any process, in milliseconds, where it was reported.
    pub pause_ms_max: Option<f64>,
    /// Records a second through the banks while the checkpoint was taken.
    pub records_per_second: f64,
    /// The same while it was restored, where it was.
    pub records_per_second_restore: Option<f64>,
    /// The count after a copy without a consistent cut, where one was asked for.
    pub naive: Option<Count>,
}

impl Verdict {
    /// Whether all is as promised. What the naive copy did is no part of it.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.checkpoint == "COMPLETED"
            && self.restore == "COMPLETED"
            && self.count.as_ref().is_some_and(Count::is_right)
    }

    /// The last line.
    #[must_use]
    pub fn line(&self) -> Value {
        let count = self.count.as_ref();
        let mut line = json!({
            "checkpoint": self.checkpoint,
            "restore": self.restore,
            "total_expected": count.map(|count| count.total_expected),
            "total_after": count.map(|count| count.total_after),
            "orphans": count.map(|count| count.orphans),
            "lost": count.map(|count| count.lost),
            "duplicates": count.map(|count| count.duplicates),
            "pause_ms_max": self.pause_ms_max,
            "records_per_second": self.records_per_second.round(),
            "records_per_second_restore": self.records_per_second_restore.map(f64::round),
        });
        if let Some(naive) = &self.naive {
            line["naive"] = json!({
                "total_expected": naive.total_expected,
                "total_after": naive.total_after,
                "orphans": naive.orphans,
                "lost": naive.lost,
                "duplicates": naive.duplicates,
            });
        }
        line
    }
}
