//! What is done in a restore, as steps before and entries after.
//!
//! Words only, and which entry answers which step; their order is the journal's.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Epoch, MarkerId, Offset, ProcessId, Timeline, TopicPartition};

use crate::mask::Masks;

/// What is appended to compacted topics: records kept in the store in numbered pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repairs {
    /// The name they are kept under.
    pub name: String,
    /// How many pieces there are.
    pub pieces: u64,
    /// How many records.
    pub records: u64,
    /// A hash over all pieces.
    pub hash: String,
}

/// Something that was done. Each is recorded after the fact, but for [`Entry::StateBegun`] and [`Entry::GivingUp`],
/// which say what is about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The plan held.
    Planned,
    /// Unrestored readers are held at the bound; the record that says so stands here in the control topic.
    HoldsWritten {
        /// Its offset.
        offset: Offset,
    },
    /// The services stand still.
    Quiesced {
        /// The epoch they stand still for.
        epoch: Epoch,
        /// The safety checkpoint, when one was taken.
        safety: Option<Epoch>,
    },
    /// The services are fenced and every sidecar has said so.
    Fenced {
        /// The fence record's offset in the control topic.
        offset: Offset,
    },
    /// Their groups have no members, and nothing of these transactional ids is open.
    Emptied {
        /// They are fenced for good: their applications must be restarted.
        transactional_ids: Vec<String>,
    },
    /// The fence marker of each partition was found.
    EndsFixed {
        /// Which marker.
        marker: MarkerId,
        /// Where: e(p).
        ends: BTreeMap<TopicPartition, Offset>,
    },
    /// The masks that will be in force.
    MasksMade {
        /// Of all writers.
        masks: Masks,
    },
    /// State is about to be touched: from here on the restore only rolls forward.
    StateBegun,
    /// A process has its state back.
    StateRestored {
        /// Which.
        process: ProcessId,
    },
    /// The groups' offsets are the checkpoint's, read back.
    OffsetsCommitted,
    /// What is to be appended to compacted topics was worked out, and is in the store.
    TablesRead {
        /// Where.
        repairs: Repairs,
    },
    /// It is in the log.
    TablesAppended,
    /// The timeline's number is taken.
    TimelineTaken {
        /// It.
        timeline: Timeline,
    },
    /// The timeline is in force: every sidecar has said so.
    TimelineCommitted {
        /// Its record's offset in the control topic.
        offset: Offset,
    },
    /// Holds and fence are gone.
    Lifted,
    /// The restore is over and succeeded.
    Completed,
    /// The restore is given up: holds and fence are about to be lifted.
    GivingUp {
        /// Why, for people.
        reason: String,
    },
    /// Holds and fence are gone; nothing was changed.
    GivenUp,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the holds at the bound and wait until they are in force; look at contamination again.
    WriteHolds,
    /// Make the services stand still.
    Quiesce,
    /// Write the fence and wait for every sidecar.
    Fence,
    /// Force members out, end open transactions, see the groups empty.
    Empty,
    /// Write fence markers and find them.
    FixEnds,
    /// Work out the masks.
    MakeMasks,
    /// Work out what compacted topics need, and keep it in the store.
    ReadTables,
    /// Say that state is about to be touched.
    BeginState,
    /// Put these states back.
    RestoreStates(BTreeSet<ProcessId>),
    /// Commit the groups' offsets and read them back.
    CommitOffsets,
    /// Append to compacted topics what they had.
    AppendTables,
    /// Take the timeline's number.
    TakeTimeline,
    /// Put the timeline in force and wait for every sidecar.
    CommitTimeline,
    /// Lift holds and fence.
    Lift,
    /// Let paused applications go on, and record the end.
    Finish,
    /// Lift holds and fence: the restore is given up.
    GiveUp,
    /// Nothing: it is over.
    Over,
}

impl Entry {
    /// The entry's name, as stores keep it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::HoldsWritten { .. } => "holds_written",
            Self::Quiesced { .. } => "quiesced",
            Self::Fenced { .. } => "fenced",
            Self::Emptied { .. } => "emptied",
            Self::EndsFixed { .. } => "ends_fixed",
            Self::MasksMade { .. } => "masks_made",
            Self::StateBegun => "state_begun",
            Self::StateRestored { .. } => "state_restored",
            Self::OffsetsCommitted => "offsets_committed",
            Self::TablesRead { .. } => "tables_read",
            Self::TablesAppended => "tables_appended",
            Self::TimelineTaken { .. } => "timeline_taken",
            Self::TimelineCommitted { .. } => "timeline_committed",
            Self::Lifted => "lifted",
            Self::Completed => "completed",
            Self::GivingUp { .. } => "giving_up",
            Self::GivenUp => "given_up",
        }
    }

    /// True when nothing comes after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Completed | Self::GivenUp)
    }

    /// True when recording this is what `step` ends with.
    pub(super) fn follows(&self, step: &Step) -> bool {
        match (self, step) {
            (Self::HoldsWritten { .. }, Step::WriteHolds)
            | (Self::Quiesced { .. }, Step::Quiesce)
            | (Self::Fenced { .. }, Step::Fence)
            | (Self::Emptied { .. }, Step::Empty)
            | (Self::EndsFixed { .. }, Step::FixEnds)
            | (Self::MasksMade { .. }, Step::MakeMasks)
            | (Self::TablesRead { .. }, Step::ReadTables)
            | (Self::TablesAppended, Step::AppendTables)
            | (Self::StateBegun, Step::BeginState)
            | (Self::OffsetsCommitted, Step::CommitOffsets)
            | (Self::TimelineTaken { .. }, Step::TakeTimeline)
            | (Self::TimelineCommitted { .. }, Step::CommitTimeline)
            | (Self::Lifted, Step::Lift)
            | (Self::Completed, Step::Finish)
            | (Self::GivenUp, Step::GiveUp) => true,
            (Self::StateRestored { process }, Step::RestoreStates(left)) => left.contains(process),
            _ => false,
        }
    }
}
