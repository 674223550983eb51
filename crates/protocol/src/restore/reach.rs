//! How far a restore reaches: what is masked, what becomes visible again, who has seen it, where readers are held.
//!
//! Arithmetic over offsets and names. A range counts only where data lies in it: a control batch tells nobody anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cutline_model::{
    GroupId, Offset, OffsetRange, RangeSet, ServiceName, TopicName, TopicPartition,
};

use super::{Facts, Problem, Writers};
use crate::{
    Cut, Rules,
    mask::{Masks, mask_start, new_mask},
};

/// The largest list of masks or of holds, in bytes as the control topic writes it: a record there is limited to 8 MiB.
pub const LIST_BYTES_MAX: usize = 8_000_000;
/// What an entry of such a list takes beside its names, and a range in it: the JSON around them, numbers at their longest.
const ENTRY_BYTES: usize = 160;
const RANGE_BYTES: usize = 64;

/// Somebody who is not restored has seen what is rolled back, or has missed what comes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contamination {
    /// Whose.
    pub service: ServiceName,
    /// The group; `None` for a reader without one.
    pub group: Option<GroupId>,
    /// Where.
    pub partition: TopicPartition,
    /// The first such record.
    pub first: Offset,
    /// How far it was delivered.
    pub delivered: Offset,
}

impl fmt::Display for Contamination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, partition) = (&self.service, &self.partition);
        match &self.group {
            Some(group) => write!(f, "{service} (group {group})")?,
            None => write!(f, "{service}")?,
        }
        let (first, delivered) = (self.first, self.delivered);
        write!(
            f,
            " is not restored and has read {partition} up to {delivered}, records from {first} on are rolled back"
        )
    }
}

/// From where on each partition has to be looked at: where a mask may begin or end by this restore. Those of
/// partitions the restored services write, and those they read whose other writers were restored in between.
#[must_use]
pub fn scan_from(facts: &Facts) -> BTreeMap<TopicPartition, Offset> {
    let mut from: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    let mut note = |partition: &TopicPartition, offset: Offset| {
        let at = from.entry(partition.clone()).or_insert(offset);
        *at = (*at).min(offset);
    };
    for (writer, partition) in restored_writes(facts) {
        let only = BTreeSet::from([writer]);
        note(
            &partition,
            mask_start(&facts.cut, &partition, &only, &Rules::default()),
        );
    }
    let read: BTreeSet<&TopicPartition> = facts.restored_positions().map(|(_, p, _)| p).collect();
    for writer in facts.masks_writers() {
        for (partition, differing) in facts.differing_masks(&writer) {
            let matters = facts.restored.contains(&writer) || read.contains(&partition);
            if let Some(first) = differing.ranges().first().filter(|_| matters) {
                note(&partition, first.start);
            }
        }
    }
    from
}

/// The masks after the restore, of all writers: those of the restored ones are the checkpoint's and what they appended
/// outside the cut up to `ends`; others' stay.
///
/// # Errors
/// When it cannot be told who wrote what, or when there would be too many ranges.
pub fn masks_of(
    facts: &Facts,
    ends: &BTreeMap<TopicPartition, Offset>,
    writers: &BTreeMap<TopicPartition, Writers>,
) -> Result<Masks, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut fresh: BTreeMap<ServiceName, BTreeMap<TopicPartition, RangeSet>> = facts
        .restored
        .iter()
        .map(|service| (service.clone(), facts.masks_then.of_writer(service)))
        .collect();
    let nobody = Writers::default();
    let mut by_partition: BTreeMap<TopicPartition, BTreeSet<ServiceName>> = BTreeMap::new();
    for (service, partition) in restored_writes(facts) {
        by_partition.entry(partition).or_default().insert(service);
    }
    for (partition, own) in &by_partition {
        let Some(&end) = ends.get(partition) else {
            problems.push(Problem::Unavailable(partition.clone()));
            continue;
        };
        let wrote = writers.get(partition).unwrap_or(&nobody);
        match masks_on(facts, partition, own, end, wrote) {
            Ok(masks) => {
                for (service, mask) in masks {
                    let of_service = fresh.entry(service).or_default();
                    of_service
                        .entry(partition.clone())
                        .or_default()
                        .union(&mask);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut masks = facts.masks_now.clone();
    for (service, ranges) in fresh {
        masks.replace(&service, ranges);
    }
    forget_removed(facts, &mut masks);
    let entry = |(service, partition, set): (&ServiceName, &TopicPartition, &RangeSet)| {
        let names = service.as_str().len() + partition.topic.as_str().len();
        ENTRY_BYTES + names + RANGE_BYTES * set.ranges().len()
    };
    problems.extend(too_large("masks", masks.iter().map(entry).sum()));
    if problems.is_empty() {
        Ok(masks)
    } else {
        Err(problems)
    }
}

/// Nobody can read any more what the log has lost at its beginning.
fn forget_removed(facts: &Facts, masks: &mut Masks) {
    let below: BTreeMap<TopicPartition, Offset> = masks
        .iter()
        .filter_map(|(_, partition, set)| {
            let log_start = facts.partition_now(partition)?.log_start;
            let first = set.ranges().first()?;
            (first.start < log_start).then(|| (partition.clone(), log_start))
        })
        .collect();
    for (partition, log_start) in below {
        masks.forget_below(&partition, log_start);
    }
}

/// What stands against holds on every partition that a restored service reads or writes.
#[must_use]
pub(super) fn holds_problem(facts: &Facts) -> Option<Problem> {
    let written = facts.restored_outputs().into_values().flatten();
    let read = facts.restored_positions().map(|(_, p, _)| p.topic.clone());
    let topics: BTreeSet<TopicName> = written.chain(read).collect();
    let bytes = topics.iter().map(|topic| {
        let now = facts.topics_now.get(topic);
        let partitions = now.map_or(0, |now| now.partitions.len());
        partitions * (ENTRY_BYTES + topic.as_str().len())
    });
    too_large("holds", bytes.sum())
}

fn too_large(what: &'static str, bytes: usize) -> Option<Problem> {
    let limit = LIST_BYTES_MAX;
    (bytes > limit).then_some(Problem::TooLarge { what, bytes, limit })
}

/// The new masks on one partition, by writer of `own`.
fn masks_on(
    facts: &Facts,
    partition: &TopicPartition,
    own: &BTreeSet<ServiceName>,
    end: Offset,
    wrote: &Writers,
) -> Result<Vec<(ServiceName, RangeSet)>, Problem> {
    let (cut, rules) = (&facts.cut, Rules::default());
    let start = mask_start_of(cut, partition, own);
    let affected = wrote.within(OffsetRange::new(start, end));
    let Some(unknown) = affected.anonymous.ranges().first() else {
        let mask = |service: &ServiceName| {
            let only = BTreeSet::from([service.clone()]);
            let others = wrote.not_by(service);
            new_mask(cut, partition, &only, end, &others, &rules)
        };
        return Ok(own.iter().map(|s| (s.clone(), mask(s))).collect());
    };
    let others = affected.known_others(own);
    let mut names: BTreeSet<String> = facts
        .other_writers(&partition.topic)
        .map(ToString::to_string)
        .collect();
    if !others.is_empty() {
        names.insert("producers behind no sidecar or of another service".to_owned());
    }
    if !names.is_empty() {
        return Err(Problem::NotTold {
            partition: partition.clone(),
            others: names.into_iter().collect::<Vec<_>>().join(", "),
            from: unknown.start,
        });
    }
    // Whose of them a record is cannot be told, and need not: all are restored. Each carries the whole, so that none of
    // it is lifted while one of them stays.
    let mask = new_mask(cut, partition, own, end, &others, &rules);
    Ok(own.iter().map(|s| (s.clone(), mask.clone())).collect())
}

/// What changes for a reader of each partition when `after` replaces the masks in force, where data lies.
#[must_use]
pub fn changed(
    facts: &Facts,
    after: &Masks,
    writers: &BTreeMap<TopicPartition, Writers>,
) -> BTreeMap<TopicPartition, RangeSet> {
    let before = &facts.masks_now;
    let partitions: BTreeSet<&TopicPartition> = before
        .iter()
        .chain(after.iter())
        .map(|(_, p, _)| p)
        .collect();
    let mut changes = BTreeMap::new();
    for partition in partitions {
        let mut change = difference(before.of(partition), after.of(partition));
        if let Some(wrote) = writers.get(partition) {
            change = common(&change, &wrote.data());
        }
        if !change.is_empty() {
            changes.insert(partition.clone(), change);
        }
    }
    changes
}

/// Everybody not restored who was delivered something of `changes`.
#[must_use]
pub fn contaminated(
    facts: &Facts,
    changes: &BTreeMap<TopicPartition, RangeSet>,
) -> Vec<Contamination> {
    let mut found = BTreeSet::new();
    let mut look = |service: &ServiceName, group: Option<&GroupId>, partition, delivered| {
        let first = changes
            .get(partition)
            .and_then(|change: &RangeSet| change.ranges().first());
        if let Some(first) = first.filter(|first| first.start < delivered) {
            found.insert(Contamination {
                service: service.clone(),
                group: group.cloned(),
                partition: partition.clone(),
                first: first.start,
                delivered,
            });
        }
    };
    for (group, now) in &facts.groups_now {
        if !facts.restored.contains(&now.service) {
            for (partition, &committed) in &now.committed {
                look(&now.service, Some(group), partition, committed);
            }
        }
    }
    for (sidecar, now) in &facts.sidecars {
        if !facts.restored.contains(&sidecar.service) {
            for (partition, &delivered) in &now.delivered {
                look(&sidecar.service, None, partition, delivered);
            }
        }
    }
    found.into_iter().collect()
}

/// Where unrestored readers are held until the new masks are in force: at the first offset that may change for them,
/// on every partition the restored services write and on every one where an older mask is lifted.
#[must_use]
pub fn holds(
    facts: &Facts,
    changes: &BTreeMap<TopicPartition, RangeSet>,
) -> BTreeMap<TopicPartition, Offset> {
    let mut held = BTreeMap::new();
    for (service, partition) in restored_writes(facts) {
        let only = BTreeSet::from([service]);
        let start = mask_start_of(&facts.cut, &partition, &only);
        let at = held.entry(partition).or_insert(start);
        *at = start.min(*at);
    }
    for (partition, change) in changes {
        if let Some(first) = change.ranges().first() {
            let at = held.entry(partition.clone()).or_insert(first.start);
            *at = first.start.min(*at);
        }
    }
    held
}

/// Every restored writer with each partition there is now of a topic it ever produced to.
fn restored_writes(facts: &Facts) -> Vec<(ServiceName, TopicPartition)> {
    let partitions = |topic: &TopicName| {
        let now = facts.topics_now.get(topic);
        let indexes: Vec<i32> = now
            .into_iter()
            .flat_map(|now| now.partitions.keys().copied())
            .collect();
        indexes
    };
    let mut writes = Vec::new();
    for (service, topics) in facts.restored_outputs() {
        for topic in topics {
            let found = partitions(&topic).into_iter();
            writes.extend(
                found.map(|index| (service.clone(), TopicPartition::new(topic.clone(), index))),
            );
        }
    }
    writes
}

pub(super) fn mask_start_of(
    cut: &Cut,
    partition: &TopicPartition,
    own: &BTreeSet<ServiceName>,
) -> Offset {
    // Each writer's own start: one that never marked begins at the listed end, however early another's marker is.
    let starts = own.iter().map(|service| {
        let only = BTreeSet::from([service.clone()]);
        mask_start(cut, partition, &only, &Rules::default())
    });
    starts.min().unwrap_or(Offset(0))
}

/// What is in exactly one of the two.
fn difference(one: Option<&RangeSet>, other: Option<&RangeSet>) -> RangeSet {
    let (one, other) = (one.cloned(), other.cloned());
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    let mut sum = one.clone();
    sum.subtract(&other);
    let mut rest = other;
    rest.subtract(&one);
    sum.union(&rest);
    sum
}

/// What is in both.
fn common(one: &RangeSet, other: &RangeSet) -> RangeSet {
    let mut both = RangeSet::default();
    let (mut left, mut right) = (
        one.ranges().iter().peekable(),
        other.ranges().iter().peekable(),
    );
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        both.insert(OffsetRange::new(a.start.max(b.start), a.end.min(b.end)));
        if a.end < b.end {
            left.next();
        } else {
            right.next();
        }
    }
    both
}

impl Facts {
    /// Every service that has or had a mask.
    pub(super) fn masks_writers(&self) -> BTreeSet<ServiceName> {
        let all = self.masks_then.iter().chain(self.masks_now.iter());
        all.map(|(service, ..)| service.clone()).collect()
    }

    /// Where the masks of `writer` were others at the checkpoint than now.
    pub(super) fn differing_masks(
        &self,
        writer: &ServiceName,
    ) -> BTreeMap<TopicPartition, RangeSet> {
        let (then, now) = (
            self.masks_then.of_writer(writer),
            self.masks_now.of_writer(writer),
        );
        let partitions: BTreeSet<&TopicPartition> = then.keys().chain(now.keys()).collect();
        let differing = |p: &TopicPartition| difference(then.get(p), now.get(p));
        partitions
            .into_iter()
            .map(|p| (p.clone(), differing(p)))
            .filter(|(_, set)| !set.is_empty())
            .collect()
    }

    /// Of `ranges` on `partition`, what data lies in; all of it where nobody looked.
    pub(super) fn with_data(&self, partition: &TopicPartition, ranges: &RangeSet) -> RangeSet {
        match self.writers.get(partition) {
            Some(wrote) => common(ranges, &wrote.data()),
            None => ranges.clone(),
        }
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
