//! Arming: who is assigned what, which sidecars make a process, where barriers go (1-protocol §4.2).
//!
//! What cannot be accounted for fails the epoch here, before anybody is asked to stand still.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, GroupId, InputPartition, MarkerId, Mode, ProcessId, Purpose, Role, Scope, ServiceName,
    SidecarId, ToSidecar, TopicName, TopicPartition,
};

use super::{Coordinator, CoordinatorOutput, Phase};
use crate::{
    moment::Moment,
    topology::{Topology, barrier_topics},
};

/// What was assigned to whom.
type Assignments = BTreeMap<SidecarId, BTreeSet<(GroupId, TopicPartition)>>;

impl Coordinator {
    /// With this topology: who is assigned what, who records, and where barriers go; then everyone is told.
    pub(super) fn arm(&mut self, topology: Topology) {
        match self.assign(&topology).and_then(|assignments| {
            self.check_loose_readers(&assignments)?;
            Ok(assignments)
        }) {
            Ok(assignments) => self.assignments = assignments,
            Err(reason) => return self.fail(reason),
        }
        if let Err(reason) = self.form_processes() {
            return self.fail(reason);
        }
        self.wants_barriers = self.barrier_partitions();
        self.topology = Some(topology);
        self.phase = Phase::Arming;
        if self.wants_barriers.is_empty() {
            self.barriers = Some(BTreeMap::new());
            self.send_arm();
        } else {
            self.queue.push_back(CoordinatorOutput::TakeBarrierPair);
        }
    }

    /// Which sidecar each assigned partition is behind. A member behind none of them fails the epoch.
    pub(super) fn assign(&self, topology: &Topology) -> Result<Assignments, String> {
        let mut owners: BTreeMap<(&GroupId, &str), &SidecarId> = BTreeMap::new();
        for (id, prepared) in self.prepared_sidecars() {
            for group in &prepared.groups {
                owners.extend(
                    group
                        .members
                        .iter()
                        .map(|member| ((&group.group, member.as_str()), id)),
                );
            }
        }
        let mut assignments: Assignments = self
            .members
            .keys()
            .map(|id| (id.clone(), BTreeSet::new()))
            .collect();
        for group in topology.groups.values() {
            if !group.stable && !group.members.is_empty() {
                return Err(format!("group {} is rebalancing", group.group));
            }
            for member in &group.members {
                let Some(&owner) = owners.get(&(&group.group, member.member.as_str())) else {
                    return Err(format!(
                        "member {} of group {} is outside every sidecar: run it behind one, or stop it",
                        member.member, group.group
                    ));
                };
                let here = assignments
                    .get_mut(owner)
                    .expect("owners are members of the view");
                here.extend(
                    member
                        .partitions
                        .iter()
                        .map(|partition| (group.group.clone(), partition.clone())),
                );
            }
        }
        Ok(assignments)
    }

    /// A partition that a sidecar reads but no group of its own is assigned has no position anybody records.
    fn check_loose_readers(&self, assignments: &Assignments) -> Result<(), String> {
        for (id, prepared) in self.prepared_sidecars() {
            // A partition that a rebalance gave to another member of the same group was read here until a moment ago.
            let groups: BTreeSet<&GroupId> =
                prepared.groups.iter().map(|here| &here.group).collect();
            let assigned: BTreeSet<&TopicPartition> = assignments
                .values()
                .flatten()
                .filter(|(group, _)| groups.contains(group))
                .map(|(_, partition)| partition)
                .collect();
            let loose = prepared
                .loose_readers
                .iter()
                .find(|partition| !assigned.contains(partition));
            if let Some(partition) = loose.filter(|_| prepared.capture == Capture::Commit) {
                return Err(format!(
                    "{id} reads {partition} without a group: declare its topic rebuildable, or use the hook"
                ));
            }
        }
        Ok(())
    }

    fn form_processes(&mut self) -> Result<(), String> {
        let mut scopes: BTreeMap<ServiceName, Scope> = BTreeMap::new();
        let mut processes: BTreeMap<ProcessId, BTreeSet<SidecarId>> = BTreeMap::new();
        for (id, prepared) in self.prepared_sidecars() {
            if *scopes.entry(id.service.clone()).or_insert(prepared.scope) != prepared.scope {
                return Err(format!(
                    "instances of {} disagree on the scope of their state",
                    id.service
                ));
            }
            let instance = (prepared.scope == Scope::Instance).then(|| id.instance.clone());
            let process = ProcessId {
                service: id.service.clone(),
                instance,
            };
            processes.entry(process).or_default().insert(id.clone());
        }
        for sidecars in processes.values().filter(|sidecars| sidecars.len() > 1) {
            for (index, id) in sidecars.iter().enumerate() {
                let role = if index == 0 {
                    Role::Elected
                } else {
                    Role::Follower
                };
                self.members
                    .get_mut(id)
                    .expect("processes are made of members")
                    .role = role;
            }
        }
        self.processes = processes;
        Ok(())
    }

    fn barrier_partitions(&self) -> Vec<TopicPartition> {
        if self.config.mode != Mode::Aligned || self.config.purpose == Purpose::Stop {
            return Vec::new();
        }
        let mut reads: BTreeMap<ServiceName, BTreeSet<TopicName>> = BTreeMap::new();
        let mut partitions: BTreeSet<&TopicPartition> = BTreeSet::new();
        for (id, assigned) in &self.assignments {
            for (_, partition) in assigned {
                reads
                    .entry(id.service.clone())
                    .or_default()
                    .insert(partition.topic.clone());
                partitions.insert(partition);
            }
        }
        // A service without instances marks nothing: what only it writes is a source for now.
        let live: BTreeSet<&ServiceName> = self.members.keys().map(|id| &id.service).collect();
        let writes = self.outputs.iter().filter(|(s, _)| live.contains(s));
        let writes = writes.map(|(s, topics)| (s.clone(), topics.clone()));
        let topics = barrier_topics(&reads, &writes.collect());
        partitions
            .into_iter()
            .filter(|partition| topics.contains(&partition.topic))
            .cloned()
            .collect()
    }

    /// The pair asked for with `TakeBarrierPair`.
    pub fn handle_barrier_pair(&mut self, _now: Moment, answer: Result<MarkerId, String>) {
        if self.phase != Phase::Arming || self.barrier_pair.is_some() {
            return;
        }
        match answer {
            Ok(pair) => {
                self.barrier_pair = Some(pair);
                self.send_arm();
            }
            Err(reason) => self.fail(format!("no marker pair for the barriers: {reason}")),
        }
    }

    fn send_arm(&mut self) {
        let epoch = self.config.epoch;
        let pairs = self
            .prepared_sidecars()
            .flat_map(|(_, prepared)| [prepared.marker, prepared.spare])
            .flatten();
        let markers: Vec<MarkerId> = pairs.chain(self.barrier_pair).collect();
        let topology = self.topology.clone().unwrap_or_default();
        let ids: Vec<SidecarId> = self.members.keys().cloned().collect();
        for id in ids {
            let inputs =
                self.assignments
                    .get(&id)
                    .into_iter()
                    .flatten()
                    .map(|(group, partition)| InputPartition {
                        group: group.clone(),
                        partition: partition.clone(),
                    });
            let outputs = self.outputs.get(&id.service).into_iter().flatten();
            let arm = ToSidecar::Arm {
                epoch,
                markers: markers.clone(),
                inputs: inputs.collect(),
                outputs: topology.partitions_of(outputs).collect(),
                role: self.members[&id].role,
            };
            self.queue.push_back(CoordinatorOutput::Send(id, arm));
        }
        if !self.config.rules.arm_barrier || self.members.is_empty() {
            self.read_idle();
        }
    }

    pub(super) fn check_armed(&mut self) {
        if self.phase == Phase::Arming && self.members.values().all(|member| member.armed) {
            self.read_idle();
        }
    }
}
