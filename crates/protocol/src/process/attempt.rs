//! One attempt of a process at one epoch: what it knows so far. The rules are its owner's.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Epoch, GroupId, InputPartition, Limits, MarkerId, Mode, Offset, PartitionOffset, Purpose, Role,
    Timings, TopicPartition,
};

use super::Committed;
use crate::moment::Moment;

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Preparing,
    Prepared,
    Armed,
    Aligning,
    Draining,
    Gated,
    /// Quiet; waits for the coordinator's `Record` or `Mark`.
    Quiesced,
    Recording,
    /// Recorded; waits for the coordinator's `Mark` or `Release`.
    Recorded,
    Marking,
    /// Marked or told to go on; waits for the hook's `resume` and the markers' offsets.
    Released,
    Reported,
}

/// One attempt at one epoch.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) epoch: Epoch,
    pub(super) mode: Mode,
    pub(super) purpose: Purpose,
    pub(super) limits: Limits,
    pub(super) phase: Phase,
    pub(super) main: Option<MarkerId>,
    pub(super) spare: Option<MarkerId>,
    pub(super) markers: BTreeSet<MarkerId>,
    pub(super) inputs: Vec<InputPartition>,
    pub(super) outputs: BTreeSet<TopicPartition>,
    pub(super) role: Role,
    pub(super) unaligned: bool,
    /// When the present phase has to be over.
    pub(super) deadline: Option<Moment>,
    /// When everything opens whatever happens.
    pub(super) watchdog: Option<Moment>,
    pub(super) poll_at: Option<Moment>,
    pub(super) read: u64,
    pub(super) read_open: bool,
    /// `Outputs::admitted` when the read under way was asked for.
    pub(super) admitted_at_read: u64,
    pub(super) committed: Committed,
    /// What the reads said when the gate was shut.
    pub(super) before_gate: Option<Committed>,
    pub(super) looked: BTreeMap<TopicPartition, (Offset, Offset, bool)>,
    pub(super) looks_open: BTreeSet<TopicPartition>,
    pub(super) positions: BTreeMap<(GroupId, TopicPartition), Option<Offset>>,
    pub(super) hook_positions: Option<BTreeMap<TopicPartition, Offset>>,
    /// `Outputs::admitted` when the hook had paused.
    pub(super) admitted_when_paused: Option<u64>,
    pub(super) quiet: bool,
    pub(super) marked: BTreeSet<TopicPartition>,
    pub(super) marker_offsets: Option<Vec<PartitionOffset>>,
    pub(super) late: LateMark,
    pub(super) late_marks: Vec<PartitionOffset>,
    /// The coordinator waits for a confirmation that waits for a late mark's offset.
    pub(super) confirm_asked: bool,
    pub(super) ranges: BTreeMap<TopicPartition, cutline_model::RangeSet>,
    pub(super) hook_paused: bool,
    /// The hook has answered *resume*, or need not be asked.
    pub(super) resumed: bool,
    pub(super) resume_sent: bool,
    pub(super) recorded: bool,
    /// One past the highest acknowledged offsets when everything stood still.
    pub(super) acknowledged: BTreeMap<TopicPartition, Offset>,
    pub(super) gone_at: Moment,
    pub(super) first_hold: Option<Moment>,
    pub(super) last_hold: Option<Moment>,
    pub(super) quiet_at: Option<Moment>,
    pub(super) recorded_at: Option<Moment>,
    pub(super) timings: Timings,
    pub(super) last_obstacle: String,
}

/// The one late mark an epoch has a spare pair for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LateMark {
    Unused,
    Writing(Vec<TopicPartition>),
    /// In the log, offsets not known yet.
    Locating,
    Used,
}
