//! What the core knows of a record batch: its header, never its records.

use cutline_model::{MarkerId, Offset};

/// The kind of a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A transaction's COMMIT; under an armed pair it is a marker.
    Commit,
    /// A transaction's ABORT. Never a marker.
    Abort,
    /// Any other control record.
    Other,
}

/// One record batch as its header shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset of its last record; compaction may have removed that record.
    pub last: Offset,
    /// How many records it holds.
    pub records: i32,
    /// Who wrote it; `None` for a producer without an id.
    pub producer: Option<MarkerId>,
    /// True inside a transaction.
    pub transactional: bool,
    /// Set for control batches.
    pub control: Option<Control>,
    /// False for the torn batch that may end a fetch response; clients ignore it.
    pub complete: bool,
}

impl Batch {
    /// True when every offset of the batch has a record, so that `last` is one.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        i64::from(self.records) == self.last.0 - self.base.0 + 1
    }
}

/// What becomes of one batch on its way to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, byte for byte.
    Pass,
    /// It is replaced by an empty control batch over the same offsets.
    Mask,
    /// It and all that follows stay back.
    Stop,
}

/// What becomes of one partition's batches in one fetch response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// All pass: forward the bytes as they are.
    Unchanged,
    /// Look at the verdicts.
    Changed,
}
