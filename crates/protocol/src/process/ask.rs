//! What a process is told at its start, and what it asks its shell for.
//!
//! Names of questions only: why and when they are asked is the process's, how they are answered the shell's.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, Epoch, FromSidecar, GroupId, Guarantee, Incarnation, InputPartition, MarkerId, Offset,
    Scope, SidecarId, TopicName, TopicPartition,
};

use crate::input::ConnId;

/// What a process is told once, when its sidecar starts.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Which sidecar this is.
    pub id: SidecarId,
    /// This run of it.
    pub incarnation: Incarnation,
    /// Whose state is one state.
    pub scope: Scope,
    /// How it learns that work is finished.
    pub capture: Capture,
    /// What its part of a checkpoint will be good for.
    pub guarantee: Guarantee,
    /// False for `--state none`: there is nothing to fix.
    pub has_state: bool,
    /// Topics whose readers without a group can rebuild what they read.
    pub rebuildable: BTreeSet<TopicName>,
}

/// Which of the two armed pairs to mark with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkPair {
    /// At the cut.
    Main,
    /// Before the first Produce to a partition that the cut did not mark.
    Spare,
}

/// One group's committed offset on one partition.
pub type Committed = BTreeMap<(GroupId, TopicPartition), Option<Offset>>;

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessOutput {
    /// Send this to the coordinator.
    Send(FromSidecar),
    /// Take two fresh marker pairs; answer with [`super::Process::handle_pairs`].
    TakePairs(Epoch),
    /// Read the committed offsets of these from the broker, stable ones; answer with [`super::Process::handle_committed`].
    ReadCommitted {
        /// Given back with the answer.
        read: u64,
        /// What to read.
        inputs: Vec<InputPartition>,
    },
    /// Is any record in `[from, to)` visible at the client's isolation level? Answer with [`super::Process::handle_looked`].
    LookAside {
        /// Where.
        partition: TopicPartition,
        /// The first offset in question.
        from: Offset,
        /// The first offset no longer in question.
        to: Offset,
        /// True when aborted records do not count.
        committed_only: bool,
    },
    /// Send something harmless on each of these connections' upstream and wait for its answer; then
    /// [`super::Process::handle_proved`].
    ProveUnacked(Vec<ConnId>),
    /// Call the hook's `pause`; answer with [`super::Process::handle_paused`].
    PauseHook(Epoch),
    /// Call the hook's `resume`; answer with [`super::Process::handle_resumed`].
    ResumeHook(Epoch),
    /// Fix the state; answer with [`super::Process::handle_recorded`], then copy and upload it and call [`super::Process::handle_stored`].
    Record(Epoch),
    /// The attempt is over without a part: throw away what `Record` fixed.
    Discard(Epoch),
    /// Mark these partitions and answer with [`super::Process::handle_marked`] only when the markers are in the log: after the
    /// next successful InitProducerId, not after EndTxn (1-protocol §3). A shell whose pair is no longer `marker` (a later
    /// attempt took fresh ones) answers with an error and marks nothing.
    Mark {
        /// The attempt that asks; given back with the answer.
        epoch: Epoch,
        /// With which pair.
        pair: MarkPair,
        /// What that pair is in this attempt.
        marker: MarkerId,
        /// What to mark.
        partitions: Vec<TopicPartition>,
    },
    /// Find the markers in the log; answer with [`super::Process::handle_located`].
    Locate {
        /// The attempt that asks; given back with the answer.
        epoch: Epoch,
        /// Of which pair.
        pair: MarkPair,
        /// What that pair is in this attempt.
        marker: MarkerId,
        /// Where to look.
        partitions: Vec<TopicPartition>,
    },
    /// Write into the control topic that the service produces to these topics; then [`super::Process::handle_registered`].
    RegisterTopics(Vec<TopicName>),
    /// Holds changed: fetches that wait may be tried again.
    HoldsChanged,
    /// The gate changed: requests that wait may ask again.
    GateChanged,
}
