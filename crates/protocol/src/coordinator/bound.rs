//! Bound and commit (1-protocol §4.6 and §4.7), in the order that the argument needs.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Guarantee, Incarnation, Offset, PartitionOffset, ProcessId, Purpose, SidecarId, ToSidecar,
    TopicName, TopicPartition,
};

use super::{Coordinator, CoordinatorOutput, EpochOutcome, Member, Phase, Registration};
use crate::{
    cut::{Cut, End, ProcessPart, SidecarPart, Violation},
    moment::Moment,
    topology::Topology,
};

impl Coordinator {
    pub(super) fn list_ends(&mut self) {
        let read = self
            .assignments
            .values()
            .flatten()
            .map(|(_, partition)| partition.topic.clone());
        let written = self.outputs.values().flatten().cloned();
        let idle = self
            .idle
            .iter()
            .flatten()
            .map(|((_, _, partition), _)| partition.topic.clone());
        // Topics first produced to since *prepare*: whoever did has told by now where its markers are.
        let reports = self
            .members
            .values()
            .filter_map(|member| member.report.as_ref());
        let marked = reports.flat_map(|report| &report.markers);
        let marked = marked.map(|marker| marker.partition.topic.clone());
        let topics: BTreeSet<TopicName> = read.chain(written).chain(idle).chain(marked).collect();
        self.queue.push_back(CoordinatorOutput::ListEnds(topics));
    }

    /// The listed ends of every partition of the topics asked for. A list below what was acknowledged, or below a
    /// position, is stale (it answers with the high watermark) and is asked for again.
    pub fn handle_ends(
        &mut self,
        _now: Moment,
        answer: Result<BTreeMap<TopicPartition, End>, String>,
    ) {
        let synchronous = self.phase == Phase::Running && self.releases_sent;
        if self.ends_listed || !(self.phase == Phase::Listing || synchronous) {
            return;
        }
        match answer {
            Err(reason) => self.fail(format!("the ends could not be listed: {reason}")),
            Ok(ends) if self.is_stale(&ends) => self.list_ends(),
            Ok(ends) => {
                self.ends = ends;
                self.ends_listed = true;
                if synchronous {
                    self.tell_all(&self.epoch_message(|epoch| ToSidecar::Release { epoch }));
                } else if self.config.rules.list_before_confirm {
                    self.ask_confirmations();
                } else {
                    self.read_control();
                }
            }
        }
    }

    fn is_stale(&self, ends: &BTreeMap<TopicPartition, End>) -> bool {
        let below = |partition: &TopicPartition, least: Offset| {
            ends.get(partition).is_some_and(|end| end.offset < least)
        };
        self.members
            .values()
            .filter_map(|member| member.report.as_ref())
            .any(|report| {
                report
                    .acknowledged
                    .iter()
                    .any(|acked| below(&acked.partition, acked.offset))
                    || report
                        .positions
                        .iter()
                        .any(|p| p.offset.is_some_and(|c| below(&p.partition, c)))
                    || report
                        .markers
                        .iter()
                        .any(|marker| below(&marker.partition, marker.offset.next()))
            })
    }

    pub(super) fn ask_confirmations(&mut self) {
        self.phase = Phase::Confirming;
        self.tell_all(&self.epoch_message(|epoch| ToSidecar::Confirm { epoch }));
        self.check_confirmed();
    }

    pub(super) fn confirmed(
        &mut self,
        from: &SidecarId,
        incarnation: &Incarnation,
        held: bool,
        late_marks: Vec<PartitionOffset>,
    ) {
        if self.phase != Phase::Confirming {
            return;
        }
        let same = self.view.sidecars.get(from) == Some(incarnation);
        if !same && self.config.rules.see_restarts {
            self.fail(format!("the sidecar {from} restarted"));
        } else if same && !held {
            self.fail(format!("{from} no longer stands by its report"));
        } else if let Some(member) = self.members.get_mut(from) {
            member.confirmed = true;
            member.late_marks = late_marks
                .into_iter()
                .map(|mark| (mark.partition, mark.offset))
                .collect();
            self.check_confirmed();
        }
    }

    fn check_confirmed(&mut self) {
        if !self.members.values().all(|member| member.confirmed) {
            return;
        }
        if self.ends_listed || self.config.purpose == Purpose::Stop {
            self.read_control();
        } else {
            self.phase = Phase::Listing;
            self.list_ends();
        }
    }

    fn read_control(&mut self) {
        self.phase = Phase::ReadingControl;
        self.queue.push_back(CoordinatorOutput::ReadControl);
    }

    /// Every registration in the control topic up to our own record.
    pub fn handle_control_read(&mut self, _now: Moment, answer: Result<Vec<Registration>, String>) {
        if self.phase != Phase::ReadingControl {
            return;
        }
        let registrations = match answer {
            Ok(registrations) => registrations,
            Err(reason) => {
                return self.fail(format!("the control topic could not be read: {reason}"));
            }
        };
        let rules = self.config.rules;
        let unseen = registrations
            .iter()
            .find(|r| match self.view.sidecars.get(&r.sidecar) {
                None => rules.see_joins,
                Some(incarnation) => rules.see_restarts && *incarnation != r.incarnation,
            });
        if let Some(new) = unseen {
            let reason = format!(
                "the sidecar {} joined or restarted during the epoch",
                new.sidecar
            );
            return self.fail(reason);
        }
        self.phase = Phase::Rereading;
        let (groups, topics) = self.asks();
        self.queue
            .push_back(CoordinatorOutput::ReadTopology { groups, topics });
    }

    pub(super) fn reread(&mut self, topology: &Topology) {
        match self.assign(topology) {
            Err(reason) => self.fail(reason),
            Ok(assignments) if assignments != self.assignments => {
                self.fail("assignments changed during the epoch".to_owned());
            }
            Ok(_) => {
                self.phase = Phase::Storing;
                self.check_stored();
            }
        }
    }

    pub(super) fn check_stored(&mut self) {
        let stop = self.config.purpose == Purpose::Stop;
        if self.phase != Phase::Storing
            || !(stop || self.members.values().all(|member| member.stored))
        {
            return;
        }
        let cut = Box::new(self.make_cut());
        if stop {
            // Nothing is recorded and nothing is written: the processes stand still, which is all that was asked for.
            self.phase = Phase::Committing;
            self.finish(EpochOutcome::Completed(cut));
            return;
        }
        let rules = self.config.rules;
        match cut.check().and(self.check_acknowledged()) {
            Err(violation) if rules.arithmetic => self.fail(format!(
                "the parts do not make a consistent cut: {violation}"
            )),
            _ => {
                self.phase = Phase::Committing;
                self.cut = Some(cut.clone());
                self.queue.push_back(CoordinatorOutput::Commit(cut));
            }
        }
    }

    /// A list that is stale where nobody has a marker bounds a writer's part too low: what it lacks would be masked.
    /// With markers the list was taken again until it was fresh; without, it stands as it was taken.
    fn check_acknowledged(&self) -> Result<(), Violation> {
        for (sidecar, member) in &self.members {
            for acked in member.report.iter().flat_map(|report| &report.acknowledged) {
                let end = self.ends.get(&acked.partition).map(|end| end.offset);
                let late = member.late_marks.contains_key(&acked.partition);
                if let Some(end) = end.filter(|end| *end < acked.offset && !late) {
                    return Err(Violation::StaleEnd {
                        sidecar: sidecar.clone(),
                        partition: acked.partition.clone(),
                        acknowledged: acked.offset,
                        end,
                    });
                }
            }
        }
        Ok(())
    }

    fn make_cut(&self) -> Cut {
        let mut cut = Cut {
            epoch: self.config.epoch,
            view: self.view.view,
            mode: self.config.mode,
            processes: self
                .processes
                .iter()
                .map(|(id, ids)| (id.clone(), self.process_part(ids)))
                .collect(),
            sidecars: self
                .members
                .iter()
                .filter_map(|(id, m)| Some((id.clone(), sidecar_part(m)?)))
                .collect(),
            assignments: self.assignments.clone(),
            idle: self.idle.clone().unwrap_or_default(),
            barriers: self.barriers.clone().unwrap_or_default(),
            ends: self.ends.clone(),
            outputs: self.outputs.clone(),
        };
        trim_ranges(&mut cut);
        cut
    }

    fn process_part(&self, ids: &BTreeSet<SidecarId>) -> ProcessPart {
        let members = || ids.iter().filter_map(|id| self.members.get(id));
        let prepared = || members().filter_map(|member| member.prepared.as_ref());
        ProcessPart {
            scope: prepared()
                .map(|prepared| prepared.scope)
                .next()
                .unwrap_or_default(),
            guarantee: prepared()
                .map(|prepared| prepared.guarantee)
                .max_by_key(weakness)
                .unwrap_or_default(),
            sidecars: ids.clone(),
            part: members().find_map(|member| member.part.clone()),
        }
    }

    /// Which process a sidecar is part of, once they are formed.
    #[must_use]
    pub fn process_of(&self, sidecar: &SidecarId) -> Option<&ProcessId> {
        self.processes
            .iter()
            .find(|(_, ids)| ids.contains(sidecar))
            .map(|(process, _)| process)
    }
}

fn weakness(guarantee: &Guarantee) -> u8 {
    match guarantee {
        Guarantee::Consistent => 0,
        Guarantee::PositionsOnly => 1,
    }
}

fn sidecar_part(member: &Member) -> Option<SidecarPart> {
    let (prepared, report) = (member.prepared.as_ref()?, member.report.as_ref()?);
    let mut markers: BTreeMap<TopicPartition, Offset> = member.late_marks.clone();
    markers.extend(
        report
            .markers
            .iter()
            .map(|marker| (marker.partition.clone(), marker.offset)),
    );
    Some(SidecarPart {
        incarnation: report.incarnation.clone(),
        capture: prepared.capture,
        markers,
        late: member.late_marks.keys().cloned().collect(),
        ranges: report
            .ranges
            .iter()
            .map(|ranges| (ranges.partition.clone(), ranges.ranges.clone()))
            .collect(),
        positions: report
            .positions
            .iter()
            .map(|p| ((p.group.clone(), p.partition.clone()), p.offset))
            .collect(),
        unaligned: report.unaligned,
        timings: report.timings,
    })
}

/// Only what lies between a partition's first process marker and a writer's own is not said by the markers alone.
fn trim_ranges(cut: &mut Cut) {
    let firsts: BTreeMap<TopicPartition, Offset> = {
        let partitions: BTreeSet<&TopicPartition> = cut
            .sidecars
            .values()
            .flat_map(|s| s.ranges.keys())
            .collect();
        partitions
            .into_iter()
            .filter_map(|p| Some((p.clone(), cut.first_marker(p)?)))
            .collect()
    };
    for part in cut.sidecars.values_mut() {
        let markers = &part.markers;
        part.ranges.retain(|partition, ranges| {
            let (Some(&from), Some(&own)) = (firsts.get(partition), markers.get(partition)) else {
                return false;
            };
            *ranges = ranges.intersect(cutline_model::OffsetRange::new(from, own));
            !ranges.is_empty()
        });
    }
}
