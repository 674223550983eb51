//! Masks: offsets that a restored world must never see, kept per writer and partition (1-protocol §6).
//!
//! A mask is plain arithmetic over offsets by the time it gets here: who wrote what was settled when it was made. It
//! knows nothing of how a masked batch looks on the wire.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, OffsetRange, RangeSet, ServiceName, SidecarId, TopicPartition};

use crate::{Cut, Rules};

/// Masks by writing service and partition, with the union by partition for the data path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    by_writer: BTreeMap<(ServiceName, TopicPartition), RangeSet>,
    union: BTreeMap<TopicPartition, RangeSet>,
}

impl Masks {
    /// What is masked on `partition`, if anything is.
    #[must_use]
    pub fn of(&self, partition: &TopicPartition) -> Option<&RangeSet> {
        self.union.get(partition)
    }

    /// Replaces everything masked of `writer` by `ranges`; other writers' masks stay.
    pub fn replace(&mut self, writer: &ServiceName, ranges: BTreeMap<TopicPartition, RangeSet>) {
        self.by_writer.retain(|(service, _), _| service != writer);
        for (partition, set) in ranges {
            if !set.is_empty() {
                self.by_writer.insert((writer.clone(), partition), set);
            }
        }
        self.rebuild();
    }

    /// Drops what lies below a partition's log start: nobody can read it any more.
    pub fn forget_below(&mut self, partition: &TopicPartition, log_start: Offset) {
        let gone = OffsetRange::new(Offset(i64::MIN), log_start);
        for ((_, masked), set) in &mut self.by_writer {
            if masked == partition {
                set.remove(gone);
            }
        }
        self.by_writer.retain(|_, set| !set.is_empty());
        self.rebuild();
    }

    /// Every (writer, partition) with its masked ranges.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &TopicPartition, &RangeSet)> {
        self.by_writer
            .iter()
            .map(|((service, partition), set)| (service, partition, set))
    }

    /// The masks of one writer.
    #[must_use]
    pub fn of_writer(&self, writer: &ServiceName) -> BTreeMap<TopicPartition, RangeSet> {
        self.iter()
            .filter(|(service, ..)| *service == writer)
            .map(|(_, p, set)| (p.clone(), set.clone()))
            .collect()
    }

    /// True when nothing is masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.union.is_empty()
    }

    fn rebuild(&mut self) {
        self.union.clear();
        for ((_, partition), set) in &self.by_writer {
            self.union.entry(partition.clone()).or_default().union(set);
        }
    }
}

/// What one data batch in the log tells a mask's maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The batch's offsets.
    pub span: OffsetRange,
    /// True when one of the restored services wrote it.
    pub by_restored: bool,
}

/// Where masking starts on `partition` when the writers in `restored` go back to `cut`: at their first process marker or
/// the listed end, whichever comes first. Whoever has no marker there, or only a late one, appended nothing inside its cut
/// since the epoch began, and what it appended outside lies past the listed end. A partition that was not listed did not
/// exist, or nobody of the cut wrote it, unless they marked it on time.
#[must_use]
pub fn mask_start(
    cut: &Cut,
    partition: &TopicPartition,
    restored: &BTreeSet<ServiceName>,
    rules: &Rules,
) -> Offset {
    let end = cut.end_of(partition);
    let on_time = cut.is_marked_on_time(partition, restored);
    if end.is_none() && !on_time {
        return Offset(0);
    }
    let marks = cut.markers_on(partition, restored);
    let mark = if rules.mask_from_first_marker {
        marks.min()
    } else {
        marks.max()
    };
    let barrier = cut.barriers.get(partition).copied();
    let barrier = barrier.filter(|_| !rules.barrier_is_no_bound);
    let bounds = mark.into_iter().chain(end).chain(barrier);
    bounds.min().unwrap_or(Offset(0))
}

/// What stays although it lies above the first process marker: each restored writer's own ranges up to its own marker.
#[must_use]
pub fn kept_ranges(
    cut: &Cut,
    partition: &TopicPartition,
    restored: &BTreeSet<ServiceName>,
    rules: &Rules,
) -> RangeSet {
    let mut kept = RangeSet::default();
    if !rules.keep_ranges {
        return kept;
    }
    for (sidecar, ranges) in cut
        .ranges_on(partition)
        .filter(|(sidecar, _)| restored.contains(&sidecar.service))
    {
        let until = cut
            .marker_of(sidecar, partition)
            .or_else(|| cut.end_of(partition))
            .unwrap_or(Offset(0));
        kept.union(&ranges.intersect(OffsetRange::new(Offset(0), until)));
    }
    kept
}

/// The new mask of one partition: from where the restored writers' cut ends up to `fence`, the fence marker's offset,
/// without what stays. `others` are spans written by services that are not restored.
#[must_use]
pub fn new_mask(
    cut: &Cut,
    partition: &TopicPartition,
    restored: &BTreeSet<ServiceName>,
    fence: Offset,
    others: &RangeSet,
    rules: &Rules,
) -> RangeSet {
    let mut mask = RangeSet::default();
    mask.insert(OffsetRange::new(
        mask_start(cut, partition, restored, rules),
        fence,
    ));
    mask.subtract(&kept_ranges(cut, partition, restored, rules));
    mask.subtract(others);
    mask
}

/// True when a group of an unrestored service that was delivered up to `delivered` has seen something that `mask` hides.
#[must_use]
pub fn is_contaminated(mask: &RangeSet, delivered: Offset) -> bool {
    mask.ranges()
        .first()
        .is_some_and(|first| first.start < delivered)
}

/// Sidecars of `services` in a list.
pub fn sidecars_of<'a>(
    sidecars: impl IntoIterator<Item = &'a SidecarId>,
    services: &'a BTreeSet<ServiceName>,
) -> impl Iterator<Item = &'a SidecarId> {
    sidecars
        .into_iter()
        .filter(|sidecar| services.contains(&sidecar.service))
}
