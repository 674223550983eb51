//! What an epoch agreed on, and the arithmetic that makes it a consistent cut (1-protocol §4.7).
//!
//! A cut knows offsets, markers and who owns them. It knows nothing of how they were found, or of the store.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, Epoch, GroupId, Guarantee, Incarnation, Mode, Offset, PartRef, ProcessId, RangeSet,
    Scope, ServiceName, SidecarId, Timings, TopicName, TopicPartition, View,
};

use crate::rules::Rules;

/// The end of a partition as the coordinator listed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The high watermark.
    pub offset: Offset,
    /// The leader epoch it was listed under.
    pub leader_epoch: i32,
}

/// One sidecar's share of a cut.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarPart {
    /// The run that reported.
    pub incarnation: Incarnation,
    /// How it captured.
    pub capture: Capture,
    /// Where its markers are, late ones included.
    pub markers: BTreeMap<TopicPartition, Offset>,
    /// Which of them were late.
    pub late: BTreeSet<TopicPartition>,
    /// Where its Produces landed since *prepare*, before its cut.
    pub ranges: BTreeMap<TopicPartition, RangeSet>,
    /// Positions of what was assigned to it.
    pub positions: BTreeMap<(GroupId, TopicPartition), Option<Offset>>,
    /// True when it was cut unaligned.
    pub unaligned: bool,
    /// How long it took.
    pub timings: Timings,
}

/// One process's share of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPart {
    /// Whose state is one state.
    pub scope: Scope,
    /// What it is good for.
    pub guarantee: Guarantee,
    /// Its sidecars.
    pub sidecars: BTreeSet<SidecarId>,
    /// Its state, when it has any.
    pub part: Option<PartRef>,
}

/// A rule of the arithmetic that does not hold: a manifest must not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two sidecars reported the same (group, partition).
    #[error("{group} on {partition} was reported by {first} and by {second}")]
    TwoPositions {
        /// The group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// One reporter.
        first: SidecarId,
        /// The other.
        second: SidecarId,
    },
    /// An assigned partition was not reported.
    #[error("{sidecar} reported no position of {group} on {partition}, which is assigned to it")]
    NoPosition {
        /// The group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// Who should have.
        sidecar: SidecarId,
    },
    /// A position lies past a process marker: something outside a sender's cut is inside a receiver's.
    #[error(
        "the position {position} of {group} on {partition} lies past the first marker {marker}"
    )]
    PastMarker {
        /// The group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// c(g,p).
        position: Offset,
        /// The first process marker.
        marker: Offset,
    },
    /// A position lies past the listed end.
    #[error("the position {position} of {group} on {partition} lies past its end {end}")]
    PastEnd {
        /// The group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// c(g,p).
        position: Offset,
        /// The listed end.
        end: Offset,
    },
    /// What a writer was told had landed lies past the listed end: the list is stale.
    #[error("{sidecar} had {acknowledged} acknowledged on {partition}, past its end {end}")]
    StaleEnd {
        /// Whose Produce.
        sidecar: SidecarId,
        /// The partition.
        partition: TopicPartition,
        /// One past the highest acknowledged offset.
        acknowledged: Offset,
        /// The listed end.
        end: Offset,
    },
    /// A marker lies past the listed end: the list is stale.
    #[error("the marker {marker} of {sidecar} on {partition} lies past its end {end}")]
    MarkerPastEnd {
        /// Whose marker.
        sidecar: SidecarId,
        /// The partition.
        partition: TopicPartition,
        /// Where.
        marker: Offset,
        /// The listed end.
        end: Offset,
    },
}

/// A cut over all processes of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The epoch that made it.
    pub epoch: Epoch,
    /// The view it is bound to.
    pub view: View,
    /// How it was asked for.
    pub mode: Mode,
    /// Processes with their states.
    pub processes: BTreeMap<ProcessId, ProcessPart>,
    /// Sidecars with positions and markers.
    pub sidecars: BTreeMap<SidecarId, SidecarPart>,
    /// What was assigned, by sidecar.
    pub assignments: BTreeMap<SidecarId, BTreeSet<(GroupId, TopicPartition)>>,
    /// Positions of groups nobody is a member of: services at zero instances, unassigned partitions.
    pub idle: BTreeMap<(ServiceName, GroupId, TopicPartition), Option<Offset>>,
    /// The coordinator's barriers. They set positions, never a bound.
    pub barriers: BTreeMap<TopicPartition, Offset>,
    /// Listed ends.
    pub ends: BTreeMap<TopicPartition, End>,
    /// What each service ever produced to.
    pub outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
}

impl Cut {
    /// c(g,p) of every group and partition.
    pub fn positions(&self) -> impl Iterator<Item = (&GroupId, &TopicPartition, Option<Offset>)> {
        let live = self
            .sidecars
            .values()
            .flat_map(|part| part.positions.iter().map(|((g, p), o)| (g, p, *o)));
        live.chain(self.idle.iter().map(|((_, g, p), o)| (g, p, *o)))
    }

    /// The process marker of `sidecar` on `partition`.
    #[must_use]
    pub fn marker_of(&self, sidecar: &SidecarId, partition: &TopicPartition) -> Option<Offset> {
        self.sidecars.get(sidecar)?.markers.get(partition).copied()
    }

    /// The process markers that sidecars of `services` have on `partition`.
    pub fn markers_on<'a>(
        &'a self,
        partition: &'a TopicPartition,
        services: &'a BTreeSet<ServiceName>,
    ) -> impl Iterator<Item = Offset> + Clone + 'a {
        let of_services = self
            .sidecars
            .iter()
            .filter(move |(id, _)| services.contains(&id.service));
        of_services.filter_map(move |(_, part)| part.markers.get(partition).copied())
    }

    /// True when a sidecar of `services` marked `partition` at its cut, and not only late.
    #[must_use]
    pub fn is_marked_on_time(
        &self,
        partition: &TopicPartition,
        services: &BTreeSet<ServiceName>,
    ) -> bool {
        self.sidecars.iter().any(|(id, part)| {
            services.contains(&id.service)
                && part.markers.contains_key(partition)
                && !part.late.contains(partition)
        })
    }

    /// The first process marker on `partition`, whoever's it is.
    #[must_use]
    pub fn first_marker(&self, partition: &TopicPartition) -> Option<Offset> {
        self.sidecars
            .values()
            .filter_map(|part| part.markers.get(partition).copied())
            .min()
    }

    /// The listed end of `partition`; `None` when it did not exist.
    #[must_use]
    pub fn end_of(&self, partition: &TopicPartition) -> Option<Offset> {
        self.ends.get(partition).map(|end| end.offset)
    }

    /// bound(P,p): where P's part of the cut ends on `partition`: the first marker by any of its sidecars, else the listed
    /// end, else zero. A barrier is not a bound.
    #[must_use]
    pub fn bound(&self, process: &ProcessId, partition: &TopicPartition, rules: &Rules) -> Offset {
        let sidecars = self.processes.get(process).map(|part| &part.sidecars);
        let own = sidecars
            .into_iter()
            .flatten()
            .filter_map(|id| self.marker_of(id, partition))
            .min();
        let barrier = self
            .barriers
            .get(partition)
            .copied()
            .filter(|_| !rules.barrier_is_no_bound);
        barrier
            .into_iter()
            .chain(own)
            .min()
            .or_else(|| self.end_of(partition))
            .unwrap_or(Offset(0))
    }

    /// Every sidecar's ranges on `partition`.
    pub fn ranges_on<'a>(
        &'a self,
        partition: &'a TopicPartition,
    ) -> impl Iterator<Item = (&'a SidecarId, &'a RangeSet)> {
        self.sidecars
            .iter()
            .filter_map(move |(id, part)| part.ranges.get(partition).map(|ranges| (id, ranges)))
    }

    /// The arithmetic of §4.7. The first rule that does not hold is the answer.
    ///
    /// # Errors
    /// Names the rule, the group, the partition and the offsets.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_one_position_each()?;
        for (group, partition, position) in self.positions() {
            let Some(position) = position else { continue };
            if let Some(marker) = self
                .first_marker(partition)
                .filter(|marker| position > *marker)
            {
                let (group, partition) = (group.clone(), partition.clone());
                return Err(Violation::PastMarker {
                    group,
                    partition,
                    position,
                    marker,
                });
            }
            if let Some(end) = self.end_of(partition).filter(|end| position > *end) {
                let (group, partition) = (group.clone(), partition.clone());
                return Err(Violation::PastEnd {
                    group,
                    partition,
                    position,
                    end,
                });
            }
        }
        for (sidecar, part) in &self.sidecars {
            // A late mark may have been written after the ends were listed.
            let on_time = |entry: &(&TopicPartition, &Offset)| !part.late.contains(entry.0);
            for (partition, &marker) in part.markers.iter().filter(on_time) {
                if let Some(end) = self.end_of(partition).filter(|end| marker >= *end) {
                    let (sidecar, partition) = (sidecar.clone(), partition.clone());
                    return Err(Violation::MarkerPastEnd {
                        sidecar,
                        partition,
                        marker,
                        end,
                    });
                }
            }
        }
        Ok(())
    }

    fn check_one_position_each(&self) -> Result<(), Violation> {
        let mut seen: BTreeMap<(&GroupId, &TopicPartition), &SidecarId> = BTreeMap::new();
        for (sidecar, part) in &self.sidecars {
            for (group, partition) in part.positions.keys() {
                if let Some(first) = seen.insert((group, partition), sidecar) {
                    let (group, partition) = (group.clone(), partition.clone());
                    let (first, second) = (first.clone(), sidecar.clone());
                    return Err(Violation::TwoPositions {
                        group,
                        partition,
                        first,
                        second,
                    });
                }
            }
        }
        for (sidecar, assigned) in &self.assignments {
            for (group, partition) in assigned {
                if seen.get(&(group, partition)) != Some(&sidecar) {
                    let (group, partition, sidecar) =
                        (group.clone(), partition.clone(), sidecar.clone());
                    return Err(Violation::NoPosition {
                        group,
                        partition,
                        sidecar,
                    });
                }
            }
        }
        Ok(())
    }
}
