//! What the coordinator and the sidecars say to each other in one epoch (1-protocol §4).
//!
//! These are the words on the wire between admin API and sidecar: adding an optional field is compatible, anything else
//! needs a new version of the connection. They carry facts and no behaviour.

use serde::{Deserialize, Serialize};

use crate::{
    Capture, Epoch, GroupId, Guarantee, Incarnation, MarkerId, Mode, Offset, RangeSet, Scope,
    TopicName, TopicPartition, View,
};

/// Why processes are quiesced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Record a checkpoint and go on.
    #[default]
    Checkpoint,
    /// Record a checkpoint and stay held: what a restore fences next.
    Safety,
    /// Record nothing and stay held: a restore without a safety checkpoint.
    Stop,
}

impl Purpose {
    /// True when the process stays held after its part is done.
    #[must_use]
    pub fn stays_held(self) -> bool {
        self != Self::Checkpoint
    }
}

/// Every deadline of one epoch inside a sidecar, in milliseconds. Validated where it is configured: alignment, drain,
/// record and mark fit in `max_pause_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the first hold until everything opens by itself, whatever else happens.
    pub max_pause_ms: u64,
    /// From *go* until an aligned process goes on as an unaligned one.
    pub alignment_ms: u64,
    /// From the last hold until quiet.
    pub drain_ms: u64,
    /// For fixing the state.
    pub record_ms: u64,
    /// For writing the markers.
    pub mark_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // 2 + 4 + 2 + 1.5 s leave half a second of the 10 s pause for messages between sidecar and coordinator.
        Self {
            max_pause_ms: 10_000,
            alignment_ms: 2_000,
            drain_ms: 4_000,
            record_ms: 2_000,
            mark_ms: 1_500,
        }
    }
}

/// What a sidecar is told to be in its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The only sidecar of its process: records when quiet, asks nobody.
    #[default]
    Solo,
    /// One of several; records when told, for all.
    Elected,
    /// One of several; stays quiet while the elected one records.
    Follower,
}

/// A partition assigned to a group's member behind this sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputPartition {
    /// The group.
    pub group: GroupId,
    /// The partition.
    pub partition: TopicPartition,
}

/// The position of a group on a partition: the offset of the next record it has not finished. `None`: it has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The group.
    pub group: GroupId,
    /// The partition.
    pub partition: TopicPartition,
    /// The position, `None` where the group never fetched the partition.
    pub offset: Option<Offset>,
}

/// An offset on a partition: a marker's, an end's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset.
    pub offset: Offset,
}

/// Offset ranges on a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRanges {
    /// The partition.
    pub partition: TopicPartition,
    /// The ranges.
    pub ranges: RangeSet,
}

/// The members of a group that joined through one sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupMembers {
    /// The group.
    pub group: GroupId,
    /// Kafka's member ids.
    pub members: Vec<String>,
}

/// From the coordinator to a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSidecar {
    /// §4.1: take fresh marker pairs and say what you read and write.
    Prepare {
        /// The epoch.
        epoch: Epoch,
        /// The view it is bound to.
        view: View,
        /// How to hold.
        mode: Mode,
        /// Why.
        purpose: Purpose,
        /// For how long.
        limits: Limits,
    },
    /// §4.2: from now on cut no later than the first of these markers.
    Arm {
        /// The epoch.
        epoch: Epoch,
        /// Every pair of the epoch: main and spare of each sidecar, and the barrier's.
        markers: Vec<MarkerId>,
        /// What the broker says is assigned behind this sidecar.
        inputs: Vec<InputPartition>,
        /// Every partition of every topic this sidecar's service ever produced to.
        outputs: Vec<TopicPartition>,
        /// What this sidecar is in its process.
        role: Role,
    },
    /// §4.3: begin.
    Go {
        /// The epoch.
        epoch: Epoch,
    },
    /// To the elected sidecar: every instance is quiet, record.
    Record {
        /// The epoch.
        epoch: Epoch,
    },
    /// To every sidecar of a shared process: the state is recorded; mark if your gate never opened.
    Mark {
        /// The epoch.
        epoch: Epoch,
    },
    /// `synchronous` only: all have recorded and the ends are listed.
    Release {
        /// The epoch.
        epoch: Epoch,
    },
    /// §4.6: the ends are listed; do you still stand by your report?
    Confirm {
        /// The epoch.
        epoch: Epoch,
    },
    /// The epoch is over.
    Close {
        /// The epoch.
        epoch: Epoch,
        /// How it ended.
        closing: Closing,
    },
}

impl ToSidecar {
    /// The epoch spoken of.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Prepare { epoch, .. }
            | Self::Arm { epoch, .. }
            | Self::Go { epoch }
            | Self::Record { epoch }
            | Self::Mark { epoch }
            | Self::Release { epoch }
            | Self::Confirm { epoch }
            | Self::Close { epoch, .. } => *epoch,
        }
    }
}

/// How an epoch ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Closing {
    /// The manifest stands.
    Committed,
    /// It failed; nothing of it counts.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// What a sidecar answers to *prepare*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedSidecar {
    /// This run of the sidecar.
    pub incarnation: Incarnation,
    /// Its fresh pair; `None` in synchronous mode.
    pub marker: Option<MarkerId>,
    /// Its spare pair, for a late mark; `None` in synchronous mode.
    pub spare: Option<MarkerId>,
    /// Whose state is one state here.
    pub scope: Scope,
    /// How it learns that work is finished.
    pub capture: Capture,
    /// What its part will be good for.
    pub guarantee: Guarantee,
    /// Group members behind it.
    pub groups: Vec<GroupMembers>,
    /// Partitions read lately by no group's member, neither declared rebuildable nor positioned by a hook.
    pub loose_readers: Vec<TopicPartition>,
    /// Every topic its service ever produced to, as far as it knows.
    pub outputs: Vec<TopicName>,
}

/// How long each part of an epoch took in one sidecar, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From *go* to the first hold.
    pub start_delay_ms: f64,
    /// From the first hold to the last.
    pub alignment_ms: f64,
    /// From the last hold to quiet.
    pub quiesce_ms: f64,
    /// Fixing the state, inside the pause.
    pub sync_ms: f64,
    /// Writing the markers, inside the pause.
    pub mark_ms: f64,
    /// First hold to release: what the application paid.
    pub pause_ms: f64,
}

/// What a sidecar reports when its part is done and its gate is open again (§4.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// This run of the sidecar.
    pub incarnation: Incarnation,
    /// c(g,p) of every assigned partition.
    pub positions: Vec<Position>,
    /// Where its own markers are.
    pub markers: Vec<PartitionOffset>,
    /// Where its Produces landed since *prepare* and before its own cut.
    pub ranges: Vec<PartitionRanges>,
    /// One past the highest offset acknowledged to its application, by partition: an end below it is stale.
    pub acknowledged: Vec<PartitionOffset>,
    /// Topics its application wrote to with acks=0 in this run.
    pub unacknowledged: Vec<TopicName>,
    /// True when alignment timed out and the process went on unaligned.
    pub unaligned: bool,
    /// How long it took.
    pub timings: Timings,
}

/// A part that is durable in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// The part manifest's key, relative to the repository.
    pub key: String,
    /// BLAKE3 of the part manifest, hexadecimal.
    pub hash: String,
    /// Bytes of state described.
    pub state_bytes: u64,
    /// Bytes that had to be written to the store for it.
    pub uploaded_bytes: u64,
    /// The provider that made it and that can read it: `dir`, `http`.
    pub provider: String,
    /// How long copying and uploading took, in milliseconds.
    pub async_ms: u64,
}

/// From a sidecar to the coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromSidecar {
    /// The answer to *prepare*.
    Prepared {
        /// The epoch.
        epoch: Epoch,
        /// The answer.
        prepared: PreparedSidecar,
    },
    /// The answer to *arm*.
    Armed {
        /// The epoch.
        epoch: Epoch,
    },
    /// Input held, delivered work finished, gate closed, nothing under way. Sent when told to wait for others.
    Quiesced {
        /// The epoch.
        epoch: Epoch,
    },
    /// The elected sidecar has fixed the state. In synchronous mode: every sidecar has.
    Recorded {
        /// The epoch.
        epoch: Epoch,
    },
    /// The part is done.
    Reported {
        /// The epoch.
        epoch: Epoch,
        /// The part.
        report: Box<Report>,
    },
    /// The state is durable in the store; `None` when there is none to keep.
    Stored {
        /// The epoch.
        epoch: Epoch,
        /// Where it is.
        part: Option<PartRef>,
    },
    /// The answer to *confirm*.
    Confirmed {
        /// The epoch.
        epoch: Epoch,
        /// This run of the sidecar.
        incarnation: Incarnation,
        /// True when every gate stayed shut until its mark was durable.
        held: bool,
        /// Late marks so far.
        late_marks: Vec<PartitionOffset>,
    },
    /// This process takes no part in this epoch.
    Declined {
        /// The epoch.
        epoch: Epoch,
        /// Why, for people.
        reason: String,
    },
}

impl FromSidecar {
    /// The epoch spoken of.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Prepared { epoch, .. }
            | Self::Armed { epoch }
            | Self::Quiesced { epoch }
            | Self::Recorded { epoch }
            | Self::Reported { epoch, .. }
            | Self::Stored { epoch, .. }
            | Self::Confirmed { epoch, .. }
            | Self::Declined { epoch, .. } => *epoch,
        }
    }
}
