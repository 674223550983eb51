//! From *prepare* to the last report, but for arming: what is asked, who records when, what is in (1-protocol §4.1 to §4.5).

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Epoch, GroupId, Mode, Offset, PreparedSidecar, Purpose, Report, Role, ServiceName, SidecarId,
    ToSidecar, TopicName, TopicPartition,
};

use super::{Coordinator, CoordinatorOutput, IdleOffsets, Phase};
use crate::{moment::Moment, topology::Topology};

impl Coordinator {
    pub(super) fn prepared(&mut self, now: Moment, from: &SidecarId, prepared: PreparedSidecar) {
        if self.phase != Phase::Preparing {
            return;
        }
        if self.config.rules.see_restarts
            && self.view.sidecars.get(from) != Some(&prepared.incarnation)
        {
            self.fail(format!("the sidecar {from} restarted"));
            return;
        }
        if let Some(member) = self.members.get_mut(from) {
            member.prepared = Some(prepared);
        }
        if self
            .members
            .values()
            .all(|member| member.prepared.is_some())
        {
            self.read_topology(now);
        }
    }

    pub(super) fn read_topology(&mut self, _now: Moment) {
        self.phase = Phase::ReadingTopology;
        self.outputs = self.view.outputs.clone();
        for (id, member) in &self.members {
            let known = member
                .prepared
                .iter()
                .flat_map(|prepared| prepared.outputs.iter().cloned());
            self.outputs
                .entry(id.service.clone())
                .or_default()
                .extend(known);
        }
        let (groups, topics) = self.asks();
        self.queue
            .push_back(CoordinatorOutput::ReadTopology { groups, topics });
    }

    /// What a topology has to tell: groups behind sidecars and of idle services, topics written.
    pub(super) fn asks(&self) -> (BTreeSet<GroupId>, BTreeSet<TopicName>) {
        let here = self
            .prepared_sidecars()
            .flat_map(|(_, prepared)| prepared.groups.iter().map(|g| g.group.clone()));
        let known = self.known_groups().map(|(_, group)| group);
        (
            here.chain(known).collect(),
            self.outputs.values().flatten().cloned().collect(),
        )
    }

    pub(super) fn prepared_sidecars(&self) -> impl Iterator<Item = (&SidecarId, &PreparedSidecar)> {
        self.members
            .iter()
            .filter_map(|(id, member)| Some((id, member.prepared.as_ref()?)))
    }

    /// Groups and partition counts, read for arming or, after the confirmations, read again.
    pub fn handle_topology(&mut self, _now: Moment, answer: Result<Topology, String>) {
        let topology = match answer {
            Ok(topology) => topology,
            Err(reason) => return self.fail(format!("the topology could not be read: {reason}")),
        };
        match self.phase {
            Phase::ReadingTopology => self.arm(topology),
            Phase::Rereading => self.reread(&topology),
            _ => {}
        }
    }

    fn go(&mut self, epoch: Epoch) {
        self.phase = Phase::Running;
        self.deadline = self.deadline.max(self.timeout_at);
        self.tell_all(&ToSidecar::Go { epoch });
        if self.barrier_pair.is_some() {
            self.queue.push_back(CoordinatorOutput::WriteBarriers(
                self.wants_barriers.clone(),
            ));
        }
        self.check_reported();
    }

    /// Everyone is armed. Positions that nobody will report are read before anybody is told to go: a member that joins
    /// after this fails the epoch at its sidecar, as long as that has not reported.
    pub(super) fn read_idle(&mut self) {
        if std::mem::replace(&mut self.idle_asked, true) {
            return;
        }
        let idle: Vec<(ServiceName, GroupId)> = self.idle_groups();
        if idle.is_empty() {
            self.idle = Some(BTreeMap::new());
            self.go(self.config.epoch);
        } else {
            self.queue.push_back(CoordinatorOutput::ReadIdle(idle));
        }
    }

    /// Groups of the services that take part, and of those at zero instances, as the control topic knows them.
    fn known_groups(&self) -> impl Iterator<Item = (ServiceName, GroupId)> {
        let takes_part =
            |service: &ServiceName| self.members.keys().any(|id| id.service == *service);
        let live = self.view.groups.iter().filter(move |(s, _)| takes_part(s));
        let idle = self
            .view
            .idle
            .iter()
            .map(|(service, idle)| (service, &idle.groups));
        live.chain(idle).flat_map(|(service, groups)| {
            groups.iter().map(|group| (service.clone(), group.clone()))
        })
    }

    /// Every group: partitions nobody is assigned may have committed offsets too, which a restore has to put back.
    fn idle_groups(&self) -> Vec<(ServiceName, GroupId)> {
        let live = self.prepared_sidecars().flat_map(|(id, prepared)| {
            prepared
                .groups
                .iter()
                .map(|group| (id.service.clone(), group.group.clone()))
        });
        live.chain(self.known_groups())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Committed offsets of the groups asked for with `ReadIdle`; those of assigned partitions are ignored.
    pub fn handle_idle(&mut self, _now: Moment, answer: Result<IdleOffsets, String>) {
        if self.idle.is_some() {
            return;
        }
        match answer {
            Ok(mut offsets) => {
                let assigned: BTreeSet<&(GroupId, TopicPartition)> =
                    self.assignments.values().flatten().collect();
                offsets.retain(|(_, group, partition), _| {
                    !assigned.contains(&(group.clone(), partition.clone()))
                });
                self.idle = Some(offsets);
                if self.phase == Phase::Arming {
                    self.go(self.config.epoch);
                }
            }
            Err(reason) => self.fail(format!("committed offsets could not be read: {reason}")),
        }
    }

    /// The barriers are in the log, at these offsets.
    pub fn handle_barriers(
        &mut self,
        _now: Moment,
        answer: Result<BTreeMap<TopicPartition, Offset>, String>,
    ) {
        if self.barriers.is_some() {
            return;
        }
        match answer {
            Ok(offsets) => {
                self.barriers = Some(offsets);
                self.check_reported();
            }
            Err(reason) => self.fail(format!("the barriers could not be written: {reason}")),
        }
    }

    fn peers(&self, of: &SidecarId) -> BTreeSet<SidecarId> {
        self.processes
            .values()
            .find(|sidecars| sidecars.contains(of))
            .cloned()
            .unwrap_or_default()
    }

    /// A shared process records when all its instances are quiet.
    pub(super) fn check_shared(&mut self, from: &SidecarId) {
        let epoch = self.config.epoch;
        let peers = self.peers(from);
        if peers.iter().all(|id| self.members[id].quiesced)
            && let Some(elected) = peers
                .iter()
                .find(|id| self.members[*id].role == Role::Elected)
        {
            self.queue.push_back(CoordinatorOutput::Send(
                elected.clone(),
                ToSidecar::Record { epoch },
            ));
        }
        self.check_releasable();
    }

    /// A shared process marks when its elected sidecar has recorded.
    pub(super) fn check_recorded(&mut self, from: &SidecarId) {
        let epoch = self.config.epoch;
        if self.config.mode == Mode::Synchronous {
            self.check_releasable();
            return;
        }
        for id in self.peers(from) {
            let member = self
                .members
                .get_mut(&id)
                .expect("processes are made of members");
            if !std::mem::replace(&mut member.told_to_mark, true) {
                self.queue
                    .push_back(CoordinatorOutput::Send(id, ToSidecar::Mark { epoch }));
            }
        }
    }

    /// `synchronous`: when all have recorded, the ends are listed while everything stands still.
    fn check_releasable(&mut self) {
        let still = self
            .members
            .values()
            .all(|m| m.recorded || (m.role == Role::Follower && m.quiesced));
        if self.config.mode == Mode::Synchronous
            && self.phase == Phase::Running
            && still
            && !self.releases_sent
        {
            self.releases_sent = true;
            self.list_ends();
        }
    }

    pub(super) fn reported(&mut self, from: &SidecarId, report: Report) {
        if self.config.rules.see_restarts
            && self.view.sidecars.get(from) != Some(&report.incarnation)
        {
            self.fail(format!("the sidecar {from} restarted"));
            return;
        }
        if let Some(member) = self.members.get_mut(from) {
            member.report = Some(report);
        }
        self.check_reported();
    }

    /// When everything of the epoch has happened, the bound is fixed.
    pub(super) fn check_reported(&mut self) {
        let all = self.members.values().all(|member| member.report.is_some());
        if self.phase != Phase::Running || !all || self.barriers.is_none() || self.idle.is_none() {
            return;
        }
        if let Err(reason) = self.check_unacknowledged() {
            self.fail(reason);
        } else if self.ends_listed || self.config.purpose == Purpose::Stop {
            self.ask_confirmations();
        } else if self.config.rules.list_before_confirm {
            self.phase = Phase::Listing;
            self.list_ends();
        } else {
            self.ask_confirmations();
        }
    }

    /// acks=0 tells nobody where records landed: fine for the only writer of a topic, not for one of several, and not
    /// without markers.
    fn check_unacknowledged(&self) -> Result<(), String> {
        for (id, member) in &self.members {
            for topic in member
                .report
                .iter()
                .flat_map(|report| &report.unacknowledged)
            {
                let writers = self.members.keys().filter(|other| {
                    self.outputs
                        .get(&other.service)
                        .is_some_and(|topics| topics.contains(topic))
                });
                if self.config.mode == Mode::Synchronous || writers.count() > 1 {
                    return Err(format!(
                        "{id} writes {topic} with acks=0, which this checkpoint cannot account for"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn epoch_message(&self, make: fn(Epoch) -> ToSidecar) -> ToSidecar {
        make(self.config.epoch)
    }
}
