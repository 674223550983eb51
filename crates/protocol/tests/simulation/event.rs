//! Everything that can happen at one moment of virtual time.

use cutline_model::{
    FromSidecar, GroupId, InputPartition, MarkerId, Offset, ServiceName, SidecarId, ToSidecar,
    TopicName, TopicPartition,
};
use cutline_protocol::{ConnId, Cut, End, IdleOffsets, MarkPair, Registration, Ticket, Topology};

use super::{broker::LogBatch, ledger::Rec};

/// Which run of what: an event for an earlier run than the present one is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The instance.
    pub inst: usize,
    /// Which run of its application, or of its sidecar.
    pub run: u32,
}

/// Who waits for a Produce's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The work of a consumer, by number.
    Work(usize, u64),
    /// Nobody: no record caused it.
    Free,
}

/// A Produce as the application makes it; it keeps its number over repetitions.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique in a schedule.
    pub number: u64,
    /// Where it goes.
    pub part: usize,
    /// What it carries.
    pub records: Vec<Rec>,
    /// Who waits for it.
    pub owner: Owner,
}

/// How a Produce fares after the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Appended and answered.
    Normal,
    /// Lost on its way.
    LostBefore,
    /// Appended, the answer lost.
    LostAfter,
    /// Not appended: try again.
    Retriable,
}

/// What a sidecar's shell does that takes time.
#[derive(Clone, Debug)]
pub enum Job {
    /// Pairs are taken.
    Pairs(u64),
    /// Committed offsets are read, then known.
    ReadCommitted(u64, Vec<InputPartition>),
    /// The answer to that read.
    Committed(u64, Result<cutline_protocol::Committed, String>),
    /// Somebody looks into the log.
    Look(TopicPartition, Offset, Offset),
    /// Everything unacknowledged was processed.
    Proved(Vec<ConnId>),
    /// The hook answers that it goes on.
    Resumed(u64),
    /// The state is fixed now.
    Fix(u64),
    /// The fixing is answered.
    Recorded(u64),
    /// The part is in the store.
    Stored(u64),
    /// EndTxn of a marker transaction.
    EndTxn(u64, MarkPair, MarkerId, Vec<TopicPartition>),
    /// Is everything of this marker transaction in the log?
    Settle(u64, MarkPair, u64),
    /// Find markers.
    Locate(u64, MarkPair, MarkerId, Vec<TopicPartition>),
    /// Topics are in the control topic.
    Registered(Vec<TopicName>),
}

/// What the coordinator's shell does that takes time.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Time for the coordinator.
    Timer,
    /// The broker describes groups and topics.
    ReadTopology(
        std::collections::BTreeSet<GroupId>,
        std::collections::BTreeSet<TopicName>,
    ),
    /// Its answer.
    Topology(Box<Topology>),
    /// A barrier pair.
    Pair,
    /// EndTxn of the barriers.
    Barriers(Vec<TopicPartition>),
    /// Are they in the log?
    SettleBarriers(u64, Vec<TopicPartition>),
    /// Committed offsets of groups nobody reports.
    ReadIdle(Vec<(ServiceName, GroupId)>),
    /// Their answer.
    Idle(IdleOffsets),
    /// Ends are listed.
    ListEnds(std::collections::BTreeSet<TopicName>),
    /// Their answer.
    Ends(std::collections::BTreeMap<TopicPartition, End>),
    /// The control topic is read.
    ReadControl,
    /// Its answer.
    Control(Vec<Registration>),
    /// The manifest's conditional create.
    Create(Box<Cut>),
    /// The same key as FAILED.
    Fail,
    /// A sidecar's connection is seen to be gone.
    LinkLost(SidecarId),
    /// Somebody gives the epoch up.
    Abort,
}

/// Something that goes wrong, or changes who takes part.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A sidecar dies; its application does not.
    SidecarCrash(usize),
    /// An application dies; its sidecar does not.
    AppCrash(usize),
    /// Another instance of a service starts.
    Join(usize),
    /// An instance ends.
    Leave(usize),
    /// Anything of the above.
    Any,
}

/// An event.
#[derive(Clone, Debug)]
pub enum Event {
    /// A consumer's connection wants more.
    FetchTick(Run, usize, usize),
    /// The broker serves a fetch.
    FetchServe(Run, u64, usize, usize, Vec<(usize, i64)>),
    /// The answer reaches the sidecar.
    FetchArrive(Run, u64, usize, usize, Vec<(usize, Vec<LogBatch>)>),
    /// A consumer looks at what it has.
    AppStep(Run, usize),
    /// It has processed it.
    WorkDone(Run, usize),
    /// Its commit reaches the broker.
    CommitServe(Run, usize, u64),
    /// And is answered.
    CommitAnswer(Run, usize, u64),
    /// A Produce asks to pass the gate.
    ProduceTry(Run, Request),
    /// Everything that waits at the gate asks again.
    GateRetry(Run),
    /// A Produce reaches the broker.
    ProduceServe(Run, u32, Request, Ticket, Fate),
    /// Its answer reaches the sidecar.
    ProduceAnswer(Run, u32, Request, Ticket, Fate, i64),
    /// A high watermark rises.
    High(usize, i64),
    /// An application sends something by itself.
    SendTick(Run),
    /// The hook of an instance tries to be done.
    HookPaused(Run, u64),
    /// The hook's lease ends.
    LeaseEnds(Run, u64),
    /// A process's timer.
    Timer(Run),
    /// A message reaches a sidecar.
    Down(SidecarId, Box<ToSidecar>),
    /// A message reaches the coordinator.
    Up(SidecarId, Box<FromSidecar>),
    /// A sidecar's shell has something done.
    Job(Run, Job),
    /// A marker is appended.
    Land(u64, usize),
    /// The coordinator's shell has something done, for this epoch.
    Ask(u64, Ask),
    /// An epoch is due.
    Epoch,
    /// A member learns of a rebalance.
    Learn(usize, u32, String),
    /// A rebalance is complete.
    Rebalanced(usize, u32),
    /// A fault.
    Fault(Fault),
    /// A sidecar starts.
    SidecarUp(usize),
    /// An application starts.
    AppUp(usize),
    /// The client's heartbeats pass a new sidecar.
    Heartbeat(Run),
    /// A restore goes on.
    Restore,
    /// Nothing new is made from now on.
    Settle,
    /// Is everything received?
    Settled,
}
