//! The plan of a restore: every check of 1-protocol §6.1 on facts, and what is to be done when all of them hold.
//!
//! Every problem is found in one go, so that nobody has to plan again to meet the next one.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Epoch, GroupId, Offset, PartRef, ProcessId, ServiceName, SidecarId, TopicPartition,
};

use super::{
    Contamination, Facts, Notice, Problem, changed, contaminated, holds, masks_of,
    reach::holds_problem, table::table_problems,
};
use crate::{Cut, mask::Masks};

/// What a group's committed offsets become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTarget {
    /// Whose it is.
    pub service: ServiceName,
    /// What is committed. Every other offset of the group is deleted.
    pub offsets: BTreeMap<TopicPartition, Offset>,
}

/// A state and who may put it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTarget {
    /// The part.
    pub part: PartRef,
    /// Any one of these does it.
    pub sidecars: BTreeSet<SidecarId>,
}

/// What a restore does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The checkpoint.
    pub epoch: Epoch,
    /// The services.
    pub services: BTreeSet<ServiceName>,
    /// Their groups.
    pub groups: BTreeMap<GroupId, GroupTarget>,
    /// Their states.
    pub states: BTreeMap<ProcessId, StateTarget>,
    /// Where unrestored readers are held meanwhile.
    pub holds: BTreeMap<TopicPartition, Offset>,
    /// Where a fence marker is written.
    pub fences: BTreeSet<TopicPartition>,
    /// Compacted partitions: what is masked on them is replaced by what the checkpoint had.
    pub tables: BTreeSet<TopicPartition>,
    /// The masks there would be if the services stood still now.
    pub masks: Masks,
    /// Who has seen what is rolled back; not empty only where it was allowed.
    pub contaminated: Vec<Contamination>,
    /// What the user has to know.
    pub notices: BTreeSet<Notice>,
}

/// Judges a restore.
///
/// # Errors
/// Every problem found, in the order of their codes.
pub fn plan(facts: &Facts) -> Result<Plan, Vec<Problem>> {
    let mut problems = facts.services_problems();
    problems.extend(facts.part_problems());
    problems.extend(facts.topic_problems());
    problems.extend(facts.log_problems());
    problems.extend(facts.sidecar_problems());
    problems.extend(facts.member_problems());
    problems.extend(facts.instance_problems());
    problems.extend(facts.history_problems());
    problems.extend(holds_problem(facts));
    let ends = present_ends(facts);
    let mut reach = None;
    match masks_of(facts, &ends, &facts.writers) {
        Ok(masks) => {
            let changes = changed(facts, &masks, &facts.writers);
            problems.extend(table_problems(facts, &masks));
            let seen = contaminated(facts, &changes);
            if !facts.allow_contaminated {
                problems.extend(seen.iter().cloned().map(Problem::Contaminated));
            }
            reach = Some((masks, holds(facts, &changes), seen));
        }
        Err(found) => problems.extend(found),
    }
    problems.sort_by_key(Problem::code);
    match (problems.is_empty(), reach) {
        (true, Some((masks, holds, contaminated))) => Ok(make(facts, masks, holds, contaminated)),
        _ => Err(problems),
    }
}

fn make(
    facts: &Facts,
    masks: Masks,
    holds: BTreeMap<TopicPartition, Offset>,
    contaminated: Vec<Contamination>,
) -> Plan {
    let registered = facts.groups_now.iter();
    let known = registered.map(|(group, now)| (group.clone(), now.service.clone()));
    let mut notices = facts.notices();
    notices.extend(contaminated.iter().cloned().map(Notice::Contaminated));
    Plan {
        epoch: facts.cut.epoch,
        services: facts.restored.clone(),
        groups: group_targets(&facts.cut, &facts.restored, known),
        states: facts.states(),
        holds,
        fences: facts.restored_partitions(),
        tables: facts.tables_of_restored(),
        masks,
        contaminated,
        notices,
    }
}

/// What the groups of `restored` go back to: those the checkpoint knows, and those of `known`, which it may not.
#[must_use]
pub fn group_targets(
    cut: &Cut,
    restored: &BTreeSet<ServiceName>,
    known: impl IntoIterator<Item = (GroupId, ServiceName)>,
) -> BTreeMap<GroupId, GroupTarget> {
    let mut targets: BTreeMap<GroupId, GroupTarget> = BTreeMap::new();
    let mut of = |group: &GroupId, service: &ServiceName, at: Option<(&TopicPartition, Offset)>| {
        if restored.contains(service) {
            let target = targets.entry(group.clone()).or_insert_with(|| GroupTarget {
                service: service.clone(),
                offsets: BTreeMap::new(),
            });
            target
                .offsets
                .extend(at.map(|(partition, offset)| (partition.clone(), offset)));
        }
    };
    for (group, service) in known {
        of(&group, &service, None);
    }
    for (sidecar, part) in &cut.sidecars {
        for ((group, partition), offset) in &part.positions {
            of(group, &sidecar.service, offset.map(|o| (partition, o)));
        }
    }
    for ((service, group, partition), offset) in &cut.idle {
        of(group, service, offset.map(|o| (partition, o)));
    }
    targets
}

fn present_ends(facts: &Facts) -> BTreeMap<TopicPartition, Offset> {
    let partitions = facts.restored_partitions().into_iter();
    partitions
        .filter_map(|p| facts.partition_now(&p).map(|now| (p, now.end)))
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
