//! One sidecar's part of a process: what it lets through, and its part in one epoch at a time.
//!
//! ```text
//!        prepare      arm        go / first marker      all held        finished        gate shut, nothing under way
//!  Idle ───────► Prepared ──► Armed ───────► Aligning ───────► Draining ───────► Gated ───────► (Waiting) ─► Recording
//!    ▲                                                             ▲   not quiet     │                            │
//!    │ close                                                       └─────────────────┘                            ▼
//!    └──────────────── Confirmed ◄── Reported ◄── Locating ◄── release ◄──────────────────────────────────── Marking
//! ```
//!
//! Any failure, and the watchdog, lead back to Idle with everything open and a `Declined` on its way. The process promises
//! that input is never held and the gate never shut longer than `max_pause` by an epoch, that what it reports was true
//! at one moment, and that it reports at most once. It refuses to know sockets, Kafka's frames and the time.

mod ask;
mod attempt;
mod control;
mod hook;
mod quiesce;
mod record;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cutline_model::{
    Epoch, FromSidecar, GroupId, GroupMembers, MarkerId, Offset, TopicName, TopicPartition,
};

pub use self::ask::{Committed, MarkPair, ProcessConfig, ProcessOutput};
use self::attempt::{Attempt, LateMark, Phase};
use crate::{
    batch::{Batch, Delivery, Verdict},
    input::{Aborted, ConnId, Inputs},
    mask::Masks,
    moment::Moment,
    output::{Admission, Outputs, ProduceAnswer, ProduceIntent, Ticket},
    rules::Rules,
};

/// One sidecar's part of a process. See the module's picture.
#[derive(Debug)]
pub struct Process {
    config: ProcessConfig,
    inputs: Inputs,
    outputs: Outputs,
    masks: Masks,
    /// Groups all of whose members here joined in this run, with their members.
    groups: BTreeMap<GroupId, GroupHere>,
    attempt: Option<Attempt>,
    /// The newest epoch this run was asked to prepare.
    last_epoch: Option<Epoch>,
    /// Numbers the reads of committed offsets.
    reads: u64,
    /// `Outputs::admitted` when the shell was asked to prove what acks=0 sent.
    proving: Option<u64>,
    /// Calls of the hook that wait for the one under way.
    hook_calls: VecDeque<ProcessOutput>,
    hook_busy: bool,
    rules: Rules,
    queue: VecDeque<ProcessOutput>,
}

#[derive(Debug, Default)]
struct GroupHere {
    members: BTreeSet<String>,
    /// False once a member was met that had joined before this sidecar ran.
    fresh: bool,
}

impl Process {
    /// A process at rest.
    #[must_use]
    pub fn new(config: ProcessConfig) -> Self {
        Self {
            config,
            inputs: Inputs::default(),
            outputs: Outputs::default(),
            masks: Masks::default(),
            groups: BTreeMap::new(),
            attempt: None,
            last_epoch: None,
            reads: 0,
            proving: None,
            hook_calls: VecDeque::new(),
            hook_busy: false,
            rules: Rules::default(),
            queue: VecDeque::new(),
        }
    }

    /// Breaks rules, for the tests of the oracle alone.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The next thing to do, `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<ProcessOutput> {
        self.queue.pop_front()
    }

    /// True when [`Self::poll_output`] has something: a shell that shares the process wakes whoever drains it.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Moment> {
        let attempt = self.attempt.as_ref()?;
        [attempt.deadline, attempt.watchdog, attempt.poll_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What it was told at its start.
    #[must_use]
    pub fn config(&self) -> &ProcessConfig {
        &self.config
    }

    /// The epoch in progress here.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.attempt.as_ref().map(|attempt| attempt.epoch)
    }

    /// Since when a checkpoint keeps something from the application; `None` while it keeps nothing. What a restore stops is
    /// stopped on purpose and not counted.
    #[must_use]
    pub fn withheld_since(&self) -> Option<Moment> {
        let attempt = self.attempt.as_ref()?;
        let withholds = !attempt.purpose.stays_held() && attempt.phase < Phase::Released;
        attempt.first_hold.filter(|_| withholds)
    }

    /// True when the process has been stopped for a restore, and waits for its fence.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.purpose.stays_held() && attempt.phase >= Phase::Released)
    }

    /// What the application reads.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What the application produces.
    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    // ---- the data path: asked by the proxy under a short lock ----

    /// The application wants `partition` from `offset` on over `conn`: may it be fetched now?
    pub fn may_fetch(
        &mut self,
        now: Moment,
        conn: ConnId,
        partition: &TopicPartition,
        offset: Offset,
    ) -> bool {
        self.inputs.may_fetch(now, conn, partition, offset)
    }

    /// These batches of `partition` came back: which of them reach the application? `aborted` is what the
    /// client does with aborted records.
    pub fn deliver(
        &mut self,
        now: Moment,
        conn: ConnId,
        partition: &TopicPartition,
        aborted: Aborted,
        batches: &[Batch],
        verdicts: &mut Vec<Verdict>,
    ) -> Delivery {
        static NONE: BTreeSet<MarkerId> = BTreeSet::new();
        let armed = match &self.attempt {
            Some(attempt) if attempt.heeds_markers() => &attempt.markers,
            _ => &NONE,
        };
        let (delivery, met) = self.inputs.deliver(
            conn,
            partition,
            aborted,
            batches,
            armed,
            &self.masks,
            verdicts,
        );
        if met.is_some() {
            self.met_marker(now);
        }
        delivery
    }

    /// A Produce asks to pass.
    pub fn admit_produce(&mut self, now: Moment, intent: &ProduceIntent<'_>) -> Admission {
        // A topic is registered whether or not the gate is shut: inside a transaction its Produce passes all the same.
        let (missing, fresh) = self.outputs.unregistered(intent.partitions);
        if !fresh.is_empty() {
            self.queue.push_back(ProcessOutput::RegisterTopics(fresh));
        }
        if self.outputs.is_closed() && !(missing && self.outputs.goes_on(intent)) {
            let admission = self.outputs.admit(intent);
            self.after_gate_knock(now);
            return admission;
        }
        if missing || self.wants_late_mark(now, intent.partitions) {
            return Admission::Wait;
        }
        self.outputs.admit(intent)
    }

    /// A request that may start a transaction asks to pass.
    pub fn admit_transaction(&mut self, now: Moment, transactional_id: &str) -> Admission {
        let admission = self.outputs.admit_transaction(transactional_id);
        self.after_gate_knock(now);
        admission
    }

    /// A Produce was answered.
    pub fn handle_produce_answer(
        &mut self,
        now: Moment,
        ticket: Ticket,
        answers: &[(TopicPartition, ProduceAnswer)],
    ) {
        self.outputs.answered(ticket, answers);
        self.step_gate(now);
    }

    /// The connection broke before a Produce was answered.
    pub fn handle_produce_lost(&mut self, now: Moment, ticket: Ticket) {
        self.outputs.lost(ticket);
        self.step_gate(now);
    }

    /// The broker has ended these transactions, whose application is gone.
    pub fn handle_abandoned_ended(&mut self, now: Moment, transactional_ids: &BTreeSet<String>) {
        self.outputs.abandoned_ended(transactional_ids);
        self.step_gate(now);
    }

    /// A transaction ended.
    pub fn handle_transaction_ended(&mut self, now: Moment, transactional_id: &str) {
        self.outputs.transaction_ended(transactional_id);
        self.step_gate(now);
    }

    /// A commit passed by: the committed offsets may have moved.
    pub fn handle_commit_seen(&mut self, now: Moment) {
        if let Some(attempt) = &mut self.attempt
            && attempt.phase == Phase::Draining
        {
            attempt.poll_at = Some(now);
        }
    }

    /// A member joined a group through this sidecar. `new`: it had no member id before.
    pub fn handle_member(&mut self, group: &GroupId, member: &str, new: bool) {
        let here = self
            .groups
            .entry(group.clone())
            .or_insert_with(|| GroupHere {
                fresh: true,
                ..Default::default()
            });
        let unseen = here.members.insert(member.to_owned());
        here.fresh &= new || !unseen;
    }

    /// A member left a group through this sidecar.
    pub fn handle_member_left(&mut self, group: &GroupId, member: &str) {
        if let Some(here) = self.groups.get_mut(group) {
            here.members.remove(member);
            if here.members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// A group's membership or assignment changes: an epoch that has not reported declines.
    pub fn handle_rebalance(&mut self, now: Moment, group: &GroupId) {
        if self
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.phase < Phase::Reported)
        {
            self.decline(now, format!("group {group} is rebalancing"));
        }
    }

    /// The connection reads `partition` no more.
    pub fn handle_forgotten(&mut self, conn: ConnId, partition: &TopicPartition) {
        self.inputs.forget(conn, partition);
    }

    /// A connection of the application is gone; `last`: none is left.
    pub fn handle_disconnected(&mut self, now: Moment, conn: ConnId, last: bool) {
        self.inputs.close(conn);
        self.outputs.close_connection(conn);
        if last {
            self.outputs.application_gone();
        }
        self.step_gate(now);
    }

    /// Topics the control topic says the service produces to.
    pub fn handle_registered(&mut self, topics: impl IntoIterator<Item = TopicName>) {
        self.outputs.know_topics(topics);
        if let Some(attempt) = &mut self.attempt
            && attempt.phase == Phase::Gated
        {
            // The gate may have waited for this alone: look at it when time is next told.
            attempt.poll_at = Some(attempt.gone_at);
        }
        self.queue.push_back(ProcessOutput::GateChanged);
    }

    /// The masks in force, from the control topic.
    pub fn handle_masks(&mut self, masks: Masks) {
        self.masks = masks;
    }

    /// The masks in force.
    #[must_use]
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// The restore's holds in force, from the control topic (1-protocol §6.2).
    pub fn handle_bounds(&mut self, bounds: BTreeMap<TopicPartition, Offset>) {
        self.inputs.hold_at_bounds(bounds);
        self.queue.push_back(ProcessOutput::HoldsChanged);
    }

    /// The control topic has been out of reach for too long to know the masks, or is within reach again.
    pub fn handle_suspended(&mut self, suspended: bool) {
        self.inputs.suspend(suspended);
        self.queue.push_back(ProcessOutput::HoldsChanged);
    }

    /// The application is fenced: its connections are closed, so nothing has to stay held. An attempt that stayed held
    /// for this is over; any other fails.
    pub fn handle_fenced(&mut self, now: Moment) {
        let stayed = self
            .attempt
            .as_ref()
            .is_some_and(|a| a.purpose.stays_held() && a.phase >= Phase::Reported);
        if stayed {
            self.attempt = None;
            self.open_all();
        } else {
            self.decline(now, "fenced by a restore".to_owned());
        }
        self.groups.clear();
        self.inputs.reset();
    }

    /// Members of groups behind this sidecar.
    #[must_use]
    pub fn group_members(&self) -> Vec<GroupMembers> {
        self.groups
            .iter()
            .map(|(group, here)| GroupMembers {
                group: group.clone(),
                members: here.members.iter().cloned().collect(),
            })
            .collect()
    }

    fn send(&mut self, message: FromSidecar) {
        self.queue.push_back(ProcessOutput::Send(message));
    }

    fn open_all(&mut self) {
        self.inputs.release();
        self.outputs.open_gate();
        self.queue.push_back(ProcessOutput::HoldsChanged);
        self.queue.push_back(ProcessOutput::GateChanged);
    }
}
