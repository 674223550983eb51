//! One epoch over all processes: prepare, arm, go, bound, commit (1-protocol §4).
//!
//! ```text
//!  Preparing ─► ReadingTopology ─► Arming ─► Running ─► Listing ─► Confirming ─► ReadingControl ─► Rereading ─► Storing ─► Committing ─► Done
//!      └──────────────┴───────────────┴─────────┴── any failure ──┴──────────────────┴───────────────┴───────────┴──► Failing ──► Done
//! ```
//!
//! The order of the four steps after Running is the argument of §4.6: the ends are listed, then every sidecar confirms, then
//! the control topic is read past our own record, then assignments are read again. The coordinator promises that it hands
//! out a [`Cut`] to commit only after [`Cut::check`] passed, and that an epoch ends exactly once. It refuses to know the
//! store, Kafka and the time.

mod arm;
mod bound;
mod gather;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use cutline_model::{
    Closing, Epoch, FromSidecar, GroupId, Incarnation, Limits, MarkerId, Mode, Offset, PartRef,
    PreparedSidecar, ProcessId, Purpose, Report, Role, ServiceName, SidecarId, ToSidecar,
    TopicName, TopicPartition, View,
};

use crate::{
    cut::{Cut, End},
    moment::Moment,
    rules::Rules,
    topology::Topology,
};

/// The membership an epoch is bound to, as the registry and the control topic have it when the epoch starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewSnapshot {
    /// Its number.
    pub view: View,
    /// Every registered sidecar and its run.
    pub sidecars: BTreeMap<SidecarId, Incarnation>,
    /// Services at zero instances, with their groups and whether they have state to record.
    pub idle: BTreeMap<ServiceName, IdleService>,
    /// Topics ever produced to, by service.
    pub outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
    /// Groups ever joined, by service: also those whose members are away just now, because their application starts again.
    pub groups: BTreeMap<ServiceName, BTreeSet<GroupId>>,
}

/// A service without instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleService {
    /// Its groups.
    pub groups: BTreeSet<GroupId>,
    /// True when it has state that nobody is there to record.
    pub has_state: bool,
}

/// What an epoch is told when it starts.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// The epoch.
    pub epoch: Epoch,
    /// How to hold.
    pub mode: Mode,
    /// Why; services named in `stopped` stay held when it is not a plain checkpoint.
    pub purpose: Purpose,
    /// The services that `purpose` applies to. All others take a plain checkpoint, or are left alone where nothing is
    /// recorded.
    pub stopped: BTreeSet<ServiceName>,
    /// Deadlines inside the sidecars.
    pub limits: Limits,
    /// From the start until the manifest stands; at least `prepare_timeout`.
    pub timeout: Duration,
    /// From the start until every sidecar is armed.
    pub prepare_timeout: Duration,
    /// Which rules are kept: all, outside the tests of the oracle.
    pub rules: Rules,
}

/// Committed offsets of groups that no sidecar reports, by service, group and partition.
pub type IdleOffsets = BTreeMap<(ServiceName, GroupId, TopicPartition), Option<Offset>>;

/// A registration found in the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Who.
    pub sidecar: SidecarId,
    /// Which run.
    pub incarnation: Incarnation,
}

/// How the conditional create of the manifest came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestAnswer {
    /// It stands.
    Created,
    /// The key was taken: somebody else ended this epoch.
    Taken,
    /// The store could not be asked; whether it stands is unknown until it is read.
    Unknown(String),
    /// It was not written, for this reason; the failure is recorded instead.
    Refused(String),
}

/// How an epoch ended.
#[derive(Clone, Debug, PartialEq)]
pub enum EpochOutcome {
    /// Committed.
    Completed(Box<Cut>),
    /// Failed, and why.
    Failed(String),
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum CoordinatorOutput {
    /// Send this to that sidecar.
    Send(SidecarId, ToSidecar),
    /// Describe these groups and count these topics' partitions; answer with [`Coordinator::handle_topology`].
    ReadTopology {
        /// Groups to describe.
        groups: BTreeSet<GroupId>,
        /// Topics to count.
        topics: BTreeSet<TopicName>,
    },
    /// Take a fresh pair for barriers; answer with [`Coordinator::handle_barrier_pair`].
    TakeBarrierPair,
    /// Write barriers and answer with [`Coordinator::handle_barriers`] when they are in the log and found.
    WriteBarriers(Vec<TopicPartition>),
    /// Read committed offsets nobody reports; answer with [`Coordinator::handle_idle`].
    ReadIdle(Vec<(ServiceName, GroupId)>),
    /// List the ends after a metadata refresh; answer with [`Coordinator::handle_ends`].
    ListEnds(BTreeSet<TopicName>),
    /// Read the control topic past a record of our own; answer with [`Coordinator::handle_control_read`].
    ReadControl,
    /// Write the manifest by conditional create; answer with [`Coordinator::handle_manifest`].
    Commit(Box<Cut>),
    /// Create the same key as FAILED; answer with [`Coordinator::handle_manifest`].
    Fail(String),
    /// The epoch is over.
    Done(EpochOutcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Preparing,
    ReadingTopology,
    Arming,
    Running,
    Listing,
    Confirming,
    ReadingControl,
    Rereading,
    Storing,
    Committing,
    Failing,
    Done,
}

/// What is known of one sidecar in this epoch.
#[derive(Debug, Default)]
struct Member {
    prepared: Option<PreparedSidecar>,
    armed: bool,
    quiesced: bool,
    recorded: bool,
    told_to_mark: bool,
    report: Option<Report>,
    stored: bool,
    part: Option<PartRef>,
    confirmed: bool,
    late_marks: BTreeMap<TopicPartition, Offset>,
    role: Role,
}

/// One epoch over all processes.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    view: ViewSnapshot,
    phase: Phase,
    deadline: Moment,
    /// When the manifest has to stand.
    timeout_at: Moment,
    members: BTreeMap<SidecarId, Member>,
    processes: BTreeMap<ProcessId, BTreeSet<SidecarId>>,
    topology: Option<Topology>,
    assignments: BTreeMap<SidecarId, BTreeSet<(GroupId, TopicPartition)>>,
    outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
    barrier_pair: Option<MarkerId>,
    wants_barriers: Vec<TopicPartition>,
    barriers: Option<BTreeMap<TopicPartition, Offset>>,
    idle: Option<IdleOffsets>,
    idle_asked: bool,
    ends: BTreeMap<TopicPartition, End>,
    ends_listed: bool,
    releases_sent: bool,
    cut: Option<Box<Cut>>,
    failure: Option<String>,
    queue: VecDeque<CoordinatorOutput>,
}

impl Coordinator {
    /// Starts an epoch: `Prepare` goes out to every sidecar of the view.
    #[must_use]
    pub fn new(now: Moment, config: CoordinatorConfig, view: ViewSnapshot) -> Self {
        // Nobody but those who are to stop is asked to.
        let takes_part = |id: &&SidecarId| {
            config.purpose != Purpose::Stop || config.stopped.contains(&id.service)
        };
        let members = view
            .sidecars
            .keys()
            .filter(takes_part)
            .map(|id| (id.clone(), Member::default()))
            .collect();
        let (deadline, timeout_at) = (now + config.prepare_timeout, now + config.timeout);
        let mut this = Self {
            config,
            view,
            phase: Phase::Preparing,
            deadline,
            timeout_at,
            members,
            processes: BTreeMap::new(),
            topology: None,
            assignments: BTreeMap::new(),
            outputs: BTreeMap::new(),
            barrier_pair: None,
            wants_barriers: Vec::new(),
            barriers: None,
            idle: None,
            idle_asked: false,
            ends: BTreeMap::new(),
            ends_listed: false,
            releases_sent: false,
            cut: None,
            failure: None,
            queue: VecDeque::new(),
        };
        this.start(now);
        this
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.config.epoch
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<CoordinatorOutput> {
        self.queue.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        (self.phase < Phase::Committing).then_some(self.deadline)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        if self.phase < Phase::Committing && self.deadline <= now {
            let waiting = self.waiting_for();
            let reason = match self.phase {
                Phase::Preparing | Phase::ReadingTopology | Phase::Arming => "prepare",
                _ => "checkpoint",
            };
            self.fail(format!(
                "{reason} timed out in {:?}, waiting for {waiting}",
                self.phase
            ));
        }
    }

    /// The phase's name, for progress.
    #[must_use]
    pub fn phase(&self) -> String {
        format!("{:?}", self.phase).to_lowercase()
    }

    /// A sidecar's connection is gone: the epoch fails, unless it is decided already.
    pub fn handle_sidecar_lost(&mut self, sidecar: &SidecarId) {
        // A part that is stored and confirmed needs its sidecar no more.
        let needed = self
            .members
            .get(sidecar)
            .is_some_and(|member| !(member.confirmed && member.stored));
        if needed {
            self.fail(format!("the sidecar {sidecar} was lost"));
        }
    }

    /// The user, a restore or a new leader ends the epoch.
    pub fn abort(&mut self, reason: &str) {
        self.fail(reason.to_owned());
    }

    /// The manifest's conditional create was answered.
    pub fn handle_manifest(&mut self, answer: ManifestAnswer) {
        match (self.phase, answer) {
            (Phase::Committing, ManifestAnswer::Created) => {
                let cut = self.cut.take().expect("a commit was asked for with a cut");
                self.finish(EpochOutcome::Completed(cut));
            }
            (Phase::Committing, ManifestAnswer::Taken) => {
                self.finish(EpochOutcome::Failed(
                    "another coordinator ended this epoch".to_owned(),
                ));
            }
            (Phase::Committing, ManifestAnswer::Unknown(why)) => {
                self.finish(EpochOutcome::Failed(format!(
                    "the store did not say whether the manifest stands: {why}"
                )));
            }
            (Phase::Committing, ManifestAnswer::Refused(why)) => {
                self.finish(EpochOutcome::Failed(why));
            }
            (Phase::Failing, _) => {
                let reason = self.failure.clone().unwrap_or_default();
                self.finish(EpochOutcome::Failed(reason));
            }
            _ => {}
        }
    }

    fn start(&mut self, now: Moment) {
        let stop = self.config.purpose == Purpose::Stop;
        if self.members.is_empty() && (stop || self.view.idle.is_empty()) {
            self.fail("no sidecar is registered: there is nothing to checkpoint".to_owned());
            return;
        }
        let stateful = |(_, idle): &(&ServiceName, &IdleService)| idle.has_state && !stop;
        if let Some((service, _)) = self.view.idle.iter().find(stateful) {
            let reason = format!("{service} has state but no instance is running to record it");
            self.fail(reason);
            return;
        }
        let CoordinatorConfig {
            epoch,
            mode,
            limits,
            ..
        } = self.config;
        let view = self.view.view;
        for id in self.members.keys() {
            let stopped = self.config.stopped.contains(&id.service);
            let purpose = if stopped {
                self.config.purpose
            } else {
                Purpose::Checkpoint
            };
            let prepare = ToSidecar::Prepare {
                epoch,
                view,
                mode,
                purpose,
                limits,
            };
            self.queue
                .push_back(CoordinatorOutput::Send(id.clone(), prepare));
        }
        if self.members.is_empty() {
            self.read_topology(now);
        }
    }

    fn fail(&mut self, reason: String) {
        if self.phase >= Phase::Committing {
            return;
        }
        self.phase = Phase::Failing;
        self.failure = Some(reason.clone());
        // Everyone opens at once; the record in the store may take its time.
        self.close(&Closing::Failed {
            reason: reason.clone(),
        });
        self.queue.push_back(CoordinatorOutput::Fail(reason));
    }

    fn finish(&mut self, outcome: EpochOutcome) {
        let closing = match &outcome {
            EpochOutcome::Completed(_) => Closing::Committed,
            EpochOutcome::Failed(reason) => Closing::Failed {
                reason: reason.clone(),
            },
        };
        if self.phase == Phase::Committing {
            self.close(&closing);
        }
        self.phase = Phase::Done;
        self.queue.push_back(CoordinatorOutput::Done(outcome));
    }

    fn close(&mut self, closing: &Closing) {
        let epoch = self.config.epoch;
        for id in self.members.keys() {
            let close = ToSidecar::Close {
                epoch,
                closing: closing.clone(),
            };
            self.queue
                .push_back(CoordinatorOutput::Send(id.clone(), close));
        }
    }

    fn tell_all(&mut self, message: &ToSidecar) {
        for id in self.members.keys() {
            self.queue
                .push_back(CoordinatorOutput::Send(id.clone(), message.clone()));
        }
    }

    /// Who or what the present phase waits for, for people.
    fn waiting_for(&self) -> String {
        let silent = |done: fn(&Member) -> bool| {
            let ids: Vec<String> = self
                .members
                .iter()
                .filter(|(_, m)| !done(m))
                .map(|(id, _)| id.to_string())
                .collect();
            if ids.is_empty() {
                "the broker or the store".to_owned()
            } else {
                ids.join(", ")
            }
        };
        match self.phase {
            Phase::Preparing => silent(|member| member.prepared.is_some()),
            Phase::Arming => silent(|member| member.armed),
            Phase::Running => silent(|member| member.report.is_some()),
            Phase::Confirming => silent(|member| member.confirmed),
            Phase::Storing => silent(|member| member.stored),
            _ => "the broker or the store".to_owned(),
        }
    }

    /// Takes a sidecar's message. Messages of another epoch, or of nobody in the view, are ignored.
    pub fn handle_message(&mut self, now: Moment, from: &SidecarId, message: FromSidecar) {
        if message.epoch() != self.config.epoch || self.phase >= Phase::Committing {
            return;
        }
        let Some(member) = self.members.get_mut(from) else {
            return;
        };
        match message {
            FromSidecar::Prepared { prepared, .. } => self.prepared(now, from, prepared),
            FromSidecar::Armed { .. } => {
                member.armed = true;
                self.check_armed();
            }
            FromSidecar::Quiesced { .. } => {
                member.quiesced = true;
                self.check_shared(from);
            }
            FromSidecar::Recorded { .. } => {
                member.recorded = true;
                self.check_recorded(from);
            }
            FromSidecar::Reported { report, .. } => self.reported(from, *report),
            FromSidecar::Stored { part, .. } => {
                member.stored = true;
                member.part = part.or(member.part.take());
                self.check_stored();
            }
            FromSidecar::Confirmed {
                incarnation,
                held,
                late_marks,
                ..
            } => {
                self.confirmed(from, &incarnation, held, late_marks);
            }
            FromSidecar::Declined { reason, .. } => self.fail(format!("{from} declined: {reason}")),
        }
    }
}
