//! The checks of a plan, one method each, and what a user has to know when they hold.
//!
//! Each looks at one kind of fact and answers every problem of that kind.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    GroupId, Offset, ProcessId, Scope, ServiceName, SidecarId, TopicName, TopicPartition,
};

use super::{Facts, Notice, Problem, StateTarget, problem::scope_word};
use crate::cut::ProcessPart;

impl Facts {
    /// c(g,p) of every group of the restored services.
    pub(super) fn restored_positions(
        &self,
    ) -> impl Iterator<Item = (&GroupId, &TopicPartition, Option<Offset>)> {
        let sidecars = self.cut.sidecars.iter();
        let live = sidecars
            .filter(|(id, _)| self.restored.contains(&id.service))
            .flat_map(|(_, part)| part.positions.iter().map(|((g, p), o)| (g, p, *o)));
        let idle = self.cut.idle.iter();
        let idle = idle.filter(|((service, ..), _)| self.restored.contains(service));
        live.chain(idle.map(|((_, g, p), o)| (g, p, *o)))
    }

    /// Restored processes that have state.
    fn with_state(&self) -> impl Iterator<Item = (&ProcessId, &ProcessPart)> {
        let all = self.cut.processes.iter();
        all.filter(|(id, part)| self.restored.contains(&id.service) && part.part.is_some())
    }

    /// Connected sidecars of `service`.
    fn sidecars_of<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a SidecarId> {
        self.sidecars
            .keys()
            .filter(move |id| id.service == *service)
    }

    /// Who may put the state of `process` back.
    fn restorers(&self, process: &ProcessId) -> BTreeSet<SidecarId> {
        let fits = |id: &&SidecarId| process.instance.as_ref().is_none_or(|i| *i == id.instance);
        self.sidecars_of(&process.service)
            .filter(fits)
            .cloned()
            .collect()
    }

    pub(super) fn states(&self) -> BTreeMap<ProcessId, StateTarget> {
        let target = |(id, part): (&ProcessId, &ProcessPart)| {
            let part = part.part.clone()?;
            let sidecars = self.restorers(id);
            Some((id.clone(), StateTarget { part, sidecars }))
        };
        self.with_state().filter_map(target).collect()
    }

    pub(super) fn services_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.restored.is_empty() {
            problems.push(Problem::Nothing);
        }
        let mut known: BTreeSet<&ServiceName> = self.cut.outputs.keys().collect();
        known.extend(self.cut.processes.keys().map(|id| &id.service));
        known.extend(self.cut.idle.keys().map(|(service, ..)| service));
        let unknown = self.restored.iter().filter(|s| !known.contains(s));
        problems.extend(unknown.cloned().map(Problem::UnknownService));
        let (was, is) = (&self.cluster_then, &self.cluster_now);
        if !was.is_empty() && !is.is_empty() && was != is {
            let (was, is) = (was.clone(), is.clone());
            problems.push(Problem::OtherCluster { was, is });
        }
        problems
    }

    pub(super) fn part_problems(&self) -> Vec<Problem> {
        let damaged = self.with_state().filter_map(|(process, _)| {
            let detail = self.damaged.get(process)?.clone();
            let process = process.clone();
            Some(Problem::PartDamaged { process, detail })
        });
        let lonely = self
            .with_state()
            .filter(|(id, _)| self.restorers(id).is_empty());
        damaged
            .chain(lonely.map(|(id, _)| Problem::NoSidecar(id.clone())))
            .collect()
    }

    /// Topics that the restored services read or write, as the checkpoint knew them.
    fn topics_needed(&self) -> BTreeSet<TopicName> {
        let read = self.restored_positions().map(|(_, p, _)| p.topic.clone());
        let written = self.restored.iter().filter_map(|s| self.cut.outputs.get(s));
        read.chain(written.flatten().cloned()).collect()
    }

    pub(super) fn topic_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for topic in self.topics_needed() {
            let Some(now) = self.topics_now.get(&topic) else {
                problems.push(Problem::TopicGone(topic));
                continue;
            };
            let then = self.topics_then.get(&topic);
            if let Some(was) = then.filter(|id| **id != now.id) {
                let (was, is) = (was.clone(), now.id.clone());
                problems.push(Problem::TopicMadeAgain { topic, was, is });
            }
        }
        problems
    }

    /// True when the topic exists and is the one that the checkpoint knew.
    fn is_same_topic(&self, topic: &TopicName) -> bool {
        let then = self.topics_then.get(topic);
        let now = self.topics_now.get(topic);
        now.is_some_and(|now| then.is_none_or(|id| *id == now.id))
    }

    pub(super) fn log_problems(&self) -> Vec<Problem> {
        let exists = |p: &TopicPartition| self.is_same_topic(&p.topic);
        let mut problems = Vec::new();
        let mut needed: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for (group, partition, position) in self.restored_positions() {
            let Some(position) = position.filter(|_| exists(partition)) else {
                continue;
            };
            let least = needed.entry(partition).or_insert(position);
            *least = position.max(*least);
            let Some(now) = self.partition_now(partition) else {
                problems.push(Problem::Unavailable(partition.clone()));
                continue;
            };
            if position < now.log_start {
                let (group, partition) = (group.clone(), partition.clone());
                let log_start = now.log_start;
                problems.push(Problem::Gap {
                    group,
                    partition,
                    position,
                    log_start,
                });
            }
        }
        for (partition, bound) in self.restored_bounds() {
            if exists(partition) {
                let least = needed.entry(partition).or_insert(bound);
                *least = bound.max(*least);
            }
        }
        for (partition, needed) in needed {
            let end = self.partition_now(partition).and_then(|now| now.epoch_end);
            if let Some(end) = end.filter(|end| *end < needed) {
                let partition = partition.clone();
                problems.push(Problem::Truncated {
                    partition,
                    needed,
                    end,
                });
            }
        }
        problems
    }

    /// Everything of the restored services' cut lies below these.
    fn restored_bounds(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        let sidecars = self.cut.sidecars.iter();
        sidecars
            .filter(|(id, _)| self.restored.contains(&id.service))
            .flat_map(|(_, part)| part.markers.iter().map(|(p, o)| (p, *o)))
    }

    pub(super) fn sidecar_problems(&self) -> Vec<Problem> {
        self.away
            .iter()
            .cloned()
            .map(Problem::SidecarAway)
            .collect()
    }

    pub(super) fn member_problems(&self) -> Vec<Problem> {
        let groups = self.groups_now.iter();
        let restored = groups.filter(|(_, now)| self.restored.contains(&now.service));
        restored
            .flat_map(|(group, now)| {
                let outside = now.members.iter().filter(|m| m.sidecar.is_none());
                outside.map(|member| Problem::OutsideMember {
                    group: group.clone(),
                    member: member.id.clone(),
                })
            })
            .collect()
    }

    /// State of single instances goes back to the same instances with the same assignments.
    pub(super) fn instance_problems(&self) -> Vec<Problem> {
        let mut problems = self.scope_problems();
        for service in self.by_instance() {
            for sidecar in self.sidecars_of(service) {
                let process = ProcessId {
                    service: service.clone(),
                    instance: Some(sidecar.instance.clone()),
                };
                let stateless = !self.sidecars[sidecar].has_state;
                if !stateless && !self.cut.processes.contains_key(&process) {
                    let (service, instance) = (service.clone(), sidecar.instance.clone());
                    problems.push(Problem::UnknownInstance { service, instance });
                }
            }
            for (group, now) in self
                .groups_now
                .iter()
                .filter(|(_, g)| g.service == *service)
            {
                if !now.members.is_empty() {
                    problems.extend(self.assignment_problems(service, group));
                }
            }
        }
        problems
    }

    /// Restored services whose instances have state of their own.
    fn by_instance(&self) -> BTreeSet<&ServiceName> {
        self.with_state()
            .filter(|(id, _)| id.instance.is_some())
            .map(|(id, _)| &id.service)
            .collect()
    }

    fn scope_problems(&self) -> Vec<Problem> {
        let mut found = BTreeMap::new();
        for (process, part) in self.with_state() {
            let service = &process.service;
            let now = self.sidecars_of(service).map(|id| &self.sidecars[id]);
            for is in now.filter(|s| s.has_state && s.scope != part.scope) {
                found.insert(service.clone(), (part.scope, is.scope));
            }
        }
        let problem = |(service, (was, is)): (ServiceName, (Scope, Scope))| Problem::OtherScope {
            service,
            was: scope_word(was),
            is: scope_word(is),
        };
        found.into_iter().map(problem).collect()
    }

    fn assignment_problems(&self, service: &ServiceName, group: &GroupId) -> Vec<Problem> {
        let mut then: BTreeMap<&SidecarId, BTreeSet<&TopicPartition>> = BTreeMap::new();
        for (sidecar, part) in self
            .cut
            .sidecars
            .iter()
            .filter(|(id, _)| id.service == *service)
        {
            let of_group = part.positions.keys().filter(|(g, _)| g == group);
            then.entry(sidecar)
                .or_default()
                .extend(of_group.map(|(_, p)| p));
        }
        let mut now: BTreeMap<&SidecarId, BTreeSet<&TopicPartition>> = BTreeMap::new();
        for member in &self.groups_now[group].members {
            if let Some(sidecar) = &member.sidecar {
                // Partitions that came after the checkpoint belong to nobody's state.
                let known = member.partitions.iter().filter(|p| self.is_of_cut(p));
                now.entry(sidecar).or_default().extend(known);
            }
        }
        let sidecars: BTreeSet<&SidecarId> = then.keys().chain(now.keys()).copied().collect();
        let nothing = BTreeSet::new();
        let mut problems = Vec::new();
        for sidecar in sidecars {
            let (then, now) = (
                then.get(sidecar).unwrap_or(&nothing),
                now.get(sidecar).unwrap_or(&nothing),
            );
            if then != now {
                problems.push(Problem::OtherAssignment {
                    sidecar: sidecar.clone(),
                    group: group.clone(),
                    then: list(then),
                    now: list(now),
                });
            }
        }
        problems
    }

    /// True when the checkpoint knows the partition.
    fn is_of_cut(&self, partition: &TopicPartition) -> bool {
        let positions = || self.cut.positions().any(|(_, p, _)| p == partition);
        self.cut.end_of(partition).is_some() || positions()
    }

    /// What a restored state has read must not have been rolled back since by the restore of another, and what it will
    /// not read again must not have come back.
    pub(super) fn history_problems(&self) -> Vec<Problem> {
        let others = self.masks_writers();
        let others = others.iter().filter(|w| !self.restored.contains(*w));
        let mut problems = Vec::new();
        for writer in others {
            let differing = self.differing_masks(writer);
            for (group, partition, position) in self.restored_positions() {
                let (Some(position), Some(ranges)) = (position, differing.get(partition)) else {
                    continue;
                };
                let real = self.with_data(partition, ranges);
                let first = real.ranges().first().map(|range| range.start);
                if let Some(from) = first.filter(|from| *from < position) {
                    problems.push(Problem::OtherHistory {
                        group: group.clone(),
                        partition: partition.clone(),
                        from,
                        writer: writer.clone(),
                    });
                }
            }
        }
        problems
    }

    pub(super) fn notices(&self) -> BTreeSet<Notice> {
        let mut notices = BTreeSet::new();
        for topic in self.topics_needed() {
            let now = self.topics_now.get(&topic).into_iter();
            let partitions = now
                .flat_map(|now| now.partitions.keys())
                .map(|&index| TopicPartition::new(topic.clone(), index));
            notices.extend(
                partitions
                    .filter(|p| !self.is_of_cut(p))
                    .map(Notice::PartitionAdded),
            );
        }
        for (group, partition, position) in self.restored_positions() {
            if position.is_none() {
                let (group, partition) = (group.clone(), partition.clone());
                notices.insert(Notice::NoPosition { group, partition });
            }
        }
        for service in &self.restored {
            if self.sidecars_of(service).next().is_none() {
                notices.insert(Notice::Idle(service.clone()));
            }
        }
        self.group_notices(&mut notices);
        for (group, read) in &self.outside_readers {
            for (partition, &delivered) in read {
                let (group, partition) = (group.clone(), partition.clone());
                notices.insert(Notice::OutsideReader {
                    group,
                    partition,
                    delivered,
                });
            }
        }
        notices
    }

    fn group_notices(&self, notices: &mut BTreeSet<Notice>) {
        let then: BTreeSet<&GroupId> = self.cut.positions().map(|(group, ..)| group).collect();
        let by_instance = self.by_instance();
        let now = self.groups_now.iter();
        for (group, now) in now.filter(|(_, now)| self.restored.contains(&now.service)) {
            if !then.contains(group) {
                notices.insert(Notice::GroupSince(group.clone()));
            } else if !by_instance.contains(&now.service) {
                continue;
            } else if now.members.is_empty() {
                notices.insert(Notice::AssignmentUnknown(group.clone()));
            } else if now.members.len() > 1 && now.members.iter().any(|m| !m.is_static) {
                notices.insert(Notice::NotStatic(group.clone()));
            }
        }
    }
}

fn list(partitions: &BTreeSet<&TopicPartition>) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
