//! Sets of offsets as sorted, disjoint, half-open ranges.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Offset;

/// The offsets from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first offset inside.
    pub start: Offset,
    /// The first offset after.
    pub end: Offset,
}

impl OffsetRange {
    /// The range `[start, end)`.
    #[must_use]
    pub fn new(start: Offset, end: Offset) -> Self {
        Self { start, end }
    }

    /// True when nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// True when `offset` is inside.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// A set of offsets. Its ranges are sorted, disjoint, non-empty and not adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<OffsetRange>", into = "Vec<OffsetRange>")]
pub struct RangeSet(Vec<OffsetRange>);

impl RangeSet {
    /// The ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[OffsetRange] {
        &self.0
    }

    /// True when the set holds no offset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `offset` is in the set.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        let after = self.0.partition_point(|range| range.start <= offset);
        after > 0 && self.0[after - 1].contains(offset)
    }

    /// True when some offset of `range` is in the set.
    #[must_use]
    pub fn overlaps(&self, range: OffsetRange) -> bool {
        let at = self.0.partition_point(|held| held.end <= range.start);
        !range.is_empty() && self.0.get(at).is_some_and(|held| held.start < range.end)
    }

    /// Adds `range`. Appending in ascending order costs constant time.
    pub fn insert(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|held| held.end < range.start);
        let last = self.0.partition_point(|held| held.start <= range.end);
        let mut merged = range;
        if first < last {
            merged.start = merged.start.min(self.0[first].start);
            merged.end = merged.end.max(self.0[last - 1].end);
        }
        self.0.splice(first..last, [merged]);
    }

    /// Takes every offset of `range` out.
    pub fn remove(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for held in &self.0 {
            let before = OffsetRange::new(held.start, held.end.min(range.start));
            let after = OffsetRange::new(held.start.max(range.end), held.end);
            kept.extend([before, after].into_iter().filter(|part| !part.is_empty()));
        }
        self.0 = kept;
    }

    /// Takes every offset of `other` out, in one pass over both.
    pub fn subtract(&mut self, other: &Self) {
        let mut kept = Vec::with_capacity(self.0.len());
        let mut first = 0;
        for held in &self.0 {
            while other.0.get(first).is_some_and(|out| out.end <= held.start) {
                first += 1;
            }
            let mut start = held.start;
            let within = other.0[first..].iter();
            for out in within.take_while(|out| out.start < held.end) {
                kept.push(OffsetRange::new(start, out.start));
                start = out.end.max(start);
            }
            kept.push(OffsetRange::new(start, held.end));
        }
        kept.retain(|part| !part.is_empty());
        self.0 = kept;
    }

    /// Adds every offset of `other`, in one pass over both.
    pub fn union(&mut self, other: &Self) {
        let mut all: Vec<OffsetRange> = self.0.iter().chain(&other.0).copied().collect();
        // Two sorted runs: the sort finds them and merges.
        all.sort();
        let mut merged: Vec<OffsetRange> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.0 = merged;
    }

    /// What of this set lies inside `range`.
    #[must_use]
    pub fn intersect(&self, range: OffsetRange) -> Self {
        self.0
            .iter()
            .map(|held| OffsetRange::new(held.start.max(range.start), held.end.min(range.end)))
            .filter(|part| !part.is_empty())
            .collect()
    }
}

impl FromIterator<OffsetRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = OffsetRange>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl From<Vec<OffsetRange>> for RangeSet {
    fn from(ranges: Vec<OffsetRange>) -> Self {
        ranges.into_iter().collect()
    }
}

impl From<RangeSet> for Vec<OffsetRange> {
    fn from(set: RangeSet) -> Self {
        set.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(i64, i64)]) -> RangeSet {
        ranges
            .iter()
            .map(|&(start, end)| OffsetRange::new(Offset(start), Offset(end)))
            .collect()
    }

    #[test]
    fn adjacent_and_overlapping_ranges_become_one() {
        assert_eq!(set(&[(0, 3), (5, 9), (3, 5)]), set(&[(0, 9)]));
        assert_eq!(set(&[(0, 3), (5, 9), (2, 6)]), set(&[(0, 9)]));
        assert_eq!(set(&[(5, 9), (0, 3), (7, 7)]).ranges().len(), 2);
    }

    #[test]
    fn sets_are_added_and_taken_away_as_their_ranges_one_by_one() {
        let sets = [
            set(&[]),
            set(&[(0, 10)]),
            set(&[(2, 4), (6, 8), (9, 30)]),
            set(&[(0, 2), (4, 6), (10, 12), (14, 40)]),
            set(&[(3, 4), (5, 6), (7, 8), (29, 31)]),
        ];
        for one in &sets {
            for other in &sets {
                let (mut sum, mut rest) = (one.clone(), one.clone());
                let (mut sum_slowly, mut rest_slowly) = (one.clone(), one.clone());
                sum.union(other);
                rest.subtract(other);
                for range in other.ranges() {
                    sum_slowly.insert(*range);
                    rest_slowly.remove(*range);
                }
                assert_eq!((sum, rest), (sum_slowly, rest_slowly), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn removing_splits_what_surrounds() {
        let mut kept = set(&[(0, 10)]);
        kept.remove(OffsetRange::new(Offset(3), Offset(5)));
        assert_eq!(kept, set(&[(0, 3), (5, 10)]));
        assert!(
            !kept.contains(Offset(4)) && kept.contains(Offset(5)) && !kept.contains(Offset(10))
        );
        assert!(kept.overlaps(OffsetRange::new(Offset(4), Offset(6))));
        assert!(!kept.overlaps(OffsetRange::new(Offset(3), Offset(5))));
    }
}
