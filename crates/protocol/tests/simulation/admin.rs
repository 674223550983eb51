//! The admin API's shell in the model: it drives a coordinator, carries out what that asks for, and tries epoch after epoch.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_model::{
    Epoch, FromSidecar, GroupId, MarkerId, Offset, Purpose, ServiceName, SidecarId, ToSidecar,
    TopicName, TopicPartition,
};
use cutline_protocol::{
    Coordinator, CoordinatorConfig, CoordinatorOutput, Cut, End, EpochOutcome, GroupAssignment,
    IdleService, ManifestAnswer, MemberAssignment, Registration, Topology, ViewSnapshot,
};
use rand::Rng;

use super::{
    event::{Ask, Event},
    schedule::Danger,
    shell::brief,
    world::World,
};

/// Why an epoch may fail although nothing goes wrong: membership or topology changes under it.
const EXCUSES: [&str; 5] = [
    "rebalancing",
    "assignments changed",
    "first produced to during the epoch",
    "more new partitions than one late mark",
    // A high watermark that lags when everything stands still in synchronous mode.
    "past its end",
];

/// The admin API.
#[derive(Debug, Default)]
pub struct Admin {
    /// The epoch in progress.
    pub coordinator: Option<Coordinator>,
    /// The last epoch's number.
    pub epoch: u64,
    /// How many epochs were tried, restores' own left out.
    pub tried: usize,
    /// Why the epoch in progress quiesces.
    pub purpose: Purpose,
    /// When the epoch in progress began.
    pub began: u64,
    timer: Option<u64>,
    pairs: i16,
}

impl World {
    /// An epoch is due.
    pub fn epoch(&mut self) {
        if self.settling || self.restore.is_some() {
            return;
        }
        if self.admin.tried >= self.plan.epochs {
            self.after(1, Event::Settle);
            return;
        }
        if self.admin.coordinator.is_none() {
            self.admin.tried += 1;
            self.start_epoch(Purpose::Checkpoint, Default::default());
        }
    }

    /// Starts an epoch over everybody who is connected.
    pub fn start_epoch(&mut self, purpose: Purpose, stopped: BTreeSet<ServiceName>) {
        self.admin.epoch += 1;
        self.admin.purpose = purpose;
        self.admin.timer = None;
        self.admin.began = self.now;
        let config = CoordinatorConfig {
            epoch: Epoch(self.admin.epoch),
            mode: self.plan.mode,
            purpose,
            stopped,
            limits: self.plan.limits,
            timeout: Duration::from_millis(1_500),
            prepare_timeout: Duration::from_millis(600),
            rules: self.rules,
        };
        let view = self.view();
        self.tell(|| {
            format!(
                "epoch {} {:?} {:?}",
                self.admin.epoch, self.plan.mode, purpose
            )
        });
        self.admin.coordinator = Some(Coordinator::new(self.moment(), config, view));
        self.stats.tried(self.plan.mode);
        if self.chance(self.plan.faults.abort) {
            let delay = self.rng.random_range(1..100_000);
            self.after(delay, Event::Ask(self.admin.epoch, Ask::Abort));
        }
        self.drain_admin();
    }

    fn view(&self) -> ViewSnapshot {
        let connected = |id: &SidecarId| {
            let inst = self.inst_of(id);
            inst.is_some_and(|inst| self.insts[inst].sidecar.up)
        };
        let sidecars = self.registered.iter().filter(|(id, _)| connected(id));
        let mut idle = BTreeMap::new();
        for (number, service) in self.services.iter().enumerate() {
            let lives = |i: &super::world::Instance| i.service == number && !i.gone;
            if !self.insts.iter().any(lives) {
                let groups = service.groups.iter();
                let groups = groups.map(|group| self.broker.groups[*group].name.clone());
                let has_state = self.plan.services[number].has_state;
                let groups = groups.collect();
                idle.insert(service.name.clone(), IdleService { groups, has_state });
            }
        }
        ViewSnapshot {
            view: Default::default(),
            sidecars: sidecars
                .map(|(id, run)| (id.clone(), run.clone()))
                .collect(),
            idle,
            outputs: self.outputs.clone(),
            groups: self.known_groups(),
        }
    }

    /// Groups are in the control topic before their first member may join.
    fn known_groups(&self) -> BTreeMap<ServiceName, BTreeSet<GroupId>> {
        let groups = self
            .broker
            .groups
            .iter()
            .filter(|group| group.generation > 0);
        let mut known: BTreeMap<ServiceName, BTreeSet<GroupId>> = BTreeMap::new();
        for group in groups {
            let service = self.services[group.service].name.clone();
            known.entry(service).or_default().insert(group.name.clone());
        }
        known
    }

    /// Carries out what the coordinator asks for.
    pub fn drain_admin(&mut self) {
        while let Some(output) = self
            .admin
            .coordinator
            .as_mut()
            .and_then(Coordinator::poll_output)
        {
            self.carry_out_admin(output);
        }
        let due = self
            .admin
            .coordinator
            .as_ref()
            .and_then(Coordinator::poll_timeout);
        let due = due.map(|at| u64::try_from(at.0.as_micros()).expect("a schedule is short"));
        if let Some(at) = due.filter(|at| self.admin.timer.is_none_or(|set| *at < set)) {
            self.admin.timer = Some(at);
            self.at(at, Event::Ask(self.admin.epoch, Ask::Timer));
        }
    }

    fn carry_out_admin(&mut self, output: CoordinatorOutput) {
        let (epoch, wire) = (self.admin.epoch, self.wire());
        let later = |world: &mut Self, ask| world.after(wire, Event::Ask(epoch, ask));
        match output {
            CoordinatorOutput::Send(id, message) => self.send_down(&id, message),
            CoordinatorOutput::ReadTopology { groups, topics } => {
                later(self, Ask::ReadTopology(groups, topics));
            }
            CoordinatorOutput::TakeBarrierPair => later(self, Ask::Pair),
            CoordinatorOutput::WriteBarriers(partitions) => later(self, Ask::Barriers(partitions)),
            CoordinatorOutput::ReadIdle(groups) => later(self, Ask::ReadIdle(groups)),
            CoordinatorOutput::ListEnds(topics) => {
                // The danger lies between the confirmations and the listing.
                let slow = self.plan.danger == Danger::EndsAfterConfirmations;
                let delay = if slow { self.delay(15_000) } else { wire };
                self.after(delay, Event::Ask(epoch, Ask::ListEnds(topics)));
            }
            CoordinatorOutput::ReadControl => later(self, Ask::ReadControl),
            CoordinatorOutput::Commit(cut) => later(self, Ask::Create(cut)),
            CoordinatorOutput::Fail(_) => later(self, Ask::Fail),
            CoordinatorOutput::Done(outcome) => self.epoch_over(&outcome),
        }
    }

    fn send_down(&mut self, id: &SidecarId, message: ToSidecar) {
        let Some(inst) = self.inst_of(id) else { return };
        let mut copies = self.copies(inst, 1);
        let late = matches!(
            self.plan.danger,
            Danger::NoArmBarrier | Danger::NoArmBarrierAddedUp
        );
        if late && matches!(message, ToSidecar::Arm { .. }) {
            // Some are armed late; what follows on the same link waits behind.
            let late = self.rng.random_range(0..30_000);
            copies.iter_mut().for_each(|at| *at += late);
            self.insts[inst].link[1] += late;
        }
        for at in copies {
            self.at(at, Event::Down(id.clone(), Box::new(message.clone())));
        }
    }

    /// A sidecar's message arrives.
    pub fn up(&mut self, id: &SidecarId, message: FromSidecar) {
        let now = self.moment();
        if let Some(coordinator) = &mut self.admin.coordinator {
            coordinator.handle_message(now, id, message);
            self.drain_admin();
        }
    }

    /// Something the shell started for an epoch is done.
    pub fn ask(&mut self, epoch: u64, ask: Ask) {
        if epoch != self.admin.epoch || self.admin.coordinator.is_none() {
            return;
        }
        match ask {
            Ask::ReadTopology(groups, topics) => {
                let topology = self.describe(&groups, &topics);
                self.later(Ask::Topology(Box::new(topology)));
            }
            Ask::Barriers(partitions) => {
                let marker = self.barrier_pair();
                let marking = self.start_marking(marker, &partitions);
                self.later(Ask::SettleBarriers(marking, partitions));
            }
            Ask::SettleBarriers(marking, partitions) => self.settle_barriers(marking, partitions),
            Ask::ReadIdle(groups) => {
                let mut offsets = BTreeMap::new();
                for (service, group) in groups {
                    let committed = &self.broker.groups[self.broker.group(&group)].committed;
                    for (part, at) in committed {
                        let key = (service.clone(), group.clone(), self.tp(*part));
                        offsets.insert(key, Some(Offset(*at)));
                    }
                }
                self.later(Ask::Idle(offsets));
            }
            Ask::ListEnds(topics) => {
                let ends = self.list_ends(&topics);
                self.later(Ask::Ends(ends));
            }
            Ask::ReadControl => {
                let registered = self.registered.iter();
                let registrations = registered.map(|(sidecar, incarnation)| Registration {
                    sidecar: sidecar.clone(),
                    incarnation: incarnation.clone(),
                });
                let registrations = registrations.collect();
                self.later(Ask::Control(registrations));
            }
            Ask::Create(cut) => self.create(&cut),
            other => self.tell_coordinator(other),
        }
        self.drain_admin();
    }

    fn later(&mut self, ask: Ask) {
        let delay = self.wire();
        self.after(delay, Event::Ask(self.admin.epoch, ask));
    }

    fn barrier_pair(&self) -> MarkerId {
        MarkerId {
            producer_id: 999_999,
            producer_epoch: self.admin.pairs,
        }
    }

    fn tell_coordinator(&mut self, ask: Ask) {
        let now = self.moment();
        if matches!(ask, Ask::Pair) {
            self.admin.pairs += 1;
        }
        let pair = self.barrier_pair();
        let coordinator = self
            .admin
            .coordinator
            .as_mut()
            .expect("looked at by the caller");
        match ask {
            Ask::Timer => {
                self.admin.timer = None;
                coordinator.handle_timeout(now);
            }
            Ask::Topology(topology) => coordinator.handle_topology(now, Ok(*topology)),
            Ask::Pair => coordinator.handle_barrier_pair(now, Ok(pair)),
            Ask::Idle(offsets) => coordinator.handle_idle(now, Ok(offsets)),
            Ask::Ends(ends) => coordinator.handle_ends(now, Ok(ends)),
            Ask::Control(registrations) => {
                coordinator.handle_control_read(now, Ok(registrations));
            }
            Ask::Fail => coordinator.handle_manifest(ManifestAnswer::Created),
            Ask::LinkLost(id) => coordinator.handle_sidecar_lost(&id),
            Ask::Abort => coordinator.abort("given up"),
            _ => unreachable!("carried out by the caller"),
        }
    }

    fn settle_barriers(&mut self, marking: u64, partitions: Vec<TopicPartition>) {
        let landed = !self.broker.markings.contains_key(&marking);
        let marker = self.barrier_pair();
        let found = landed.then(|| self.locate(marker, &partitions)).flatten();
        let Some(found) = found else {
            self.after(
                500,
                Event::Ask(self.admin.epoch, Ask::SettleBarriers(marking, partitions)),
            );
            return;
        };
        let now = self.moment();
        let offsets = found
            .into_iter()
            .map(|at| (at.partition, at.offset))
            .collect();
        if let Some(coordinator) = &mut self.admin.coordinator {
            coordinator.handle_barriers(now, Ok(offsets));
        }
    }

    fn describe(&self, groups: &BTreeSet<GroupId>, topics: &BTreeSet<TopicName>) -> Topology {
        let mut topology = Topology::default();
        for name in groups {
            let group = self.broker.group(name);
            let this = &self.broker.groups[group];
            let members = this.members.keys().map(|member| MemberAssignment {
                member: member.clone(),
                partitions: self
                    .broker
                    .assigned_to(group, member)
                    .map(|p| self.tp(p))
                    .collect(),
            });
            let assignment = GroupAssignment {
                group: name.clone(),
                stable: this.stable,
                members: members.collect(),
            };
            topology.groups.insert(name.clone(), assignment);
        }
        for log in self.broker.logs.iter().filter(|log| log.exists) {
            if topics.contains(&log.name.topic) {
                *topology
                    .partitions
                    .entry(log.name.topic.clone())
                    .or_default() += 1;
            }
        }
        topology
    }

    fn list_ends(&self, topics: &BTreeSet<TopicName>) -> BTreeMap<TopicPartition, End> {
        let asked = self.broker.logs.iter();
        let asked = asked.filter(|log| log.exists && topics.contains(&log.name.topic));
        let end = |high| End {
            offset: Offset(high),
            leader_epoch: 0,
        };
        asked.map(|log| (log.name.clone(), end(log.high))).collect()
    }

    /// The manifest's conditional create.
    fn create(&mut self, cut: &Cut) {
        let now_and_then = self.chance(self.plan.faults.store);
        let answer = if now_and_then {
            match self.rng.random_range(0..2) {
                0 => ManifestAnswer::Taken,
                _ => ManifestAnswer::Unknown("the store is away".to_owned()),
            }
        } else {
            self.commit(cut);
            ManifestAnswer::Created
        };
        if let Some(coordinator) = &mut self.admin.coordinator {
            coordinator.handle_manifest(answer);
        }
    }

    fn epoch_over(&mut self, outcome: &EpochOutcome) {
        self.tell(|| format!("epoch {} over: {}", self.admin.epoch, brief(outcome)));
        self.admin.coordinator = None;
        let completed = matches!(outcome, EpochOutcome::Completed(_));
        match outcome {
            EpochOutcome::Completed(_) => self.stats.completed(self.plan.mode),
            EpochOutcome::Failed(reason) => {
                self.stats.failed(reason);
                let excused = EXCUSES.iter().any(|excuse| reason.contains(excuse));
                if self.plan.calm && self.restore.is_none() && !excused {
                    self.violate(format!("nothing went wrong and yet: {reason}"));
                }
            }
        }
        if self.restore.is_some() {
            self.restore_epoch_over(completed);
            return;
        }
        let tried = self.admin.tried;
        if self.plan.restores.contains(&tried.saturating_sub(1)) && self.begin_restore() {
            return;
        }
        let pause = self.rng.random_range(5_000..60_000);
        self.after(pause, Event::Epoch);
    }
}
