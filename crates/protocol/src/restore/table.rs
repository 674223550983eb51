//! Tables: compacted topics, of which the last record of each key counts (1-protocol §6.5).
//!
//! A mask alone does not bring a table back. Kafka's cleaner knows nothing of masks: for it a masked record replaces the
//! one before like any other. So for each key whose last record is masked, what the cut had is appended again: the value,
//! or a tombstone where there was none. Two things are decided here: what has to be appended, and whether what was
//! replaced can be relied on to be there still. How a log is read or appended to is a shell's business.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, RangeSet, ServiceName, TopicName, TopicPartition};

use super::{Facts, Problem, reach::mask_start_of};
use crate::{Rules, mask::Masks};

/// How much sooner than `min.compaction.lag.ms` the cleaner is taken to come, in milliseconds: clocks of brokers and of
/// the admin API differ, and a log takes a while to be read.
pub const LAG_MARGIN_MS: i64 = 5_000;

/// One record of a key, seen in a log below the fence marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<V> {
    /// Where.
    pub offset: Offset,
    /// True when the restored world must not see it.
    pub masked: bool,
    /// Its value; `None` for a tombstone.
    pub value: Option<V>,
}

/// What is known of one key: its last record, and its last visible one. Records may be noted in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<V> {
    /// The last masked record.
    masked: Option<Offset>,
    /// The last visible record.
    visible: Option<(Offset, Option<V>)>,
}

/// What is appended for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair<V> {
    /// What the cut had.
    Value(V),
    /// The cut had nothing.
    Tombstone,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self {
            masked: None,
            visible: None,
        }
    }
}

impl<V> Row<V> {
    /// Takes a record into account.
    pub fn note(&mut self, seen: Seen<V>) {
        if seen.masked {
            self.masked = self.masked.max(Some(seen.offset));
        } else if self
            .visible
            .as_ref()
            .is_none_or(|(at, _)| *at < seen.offset)
        {
            self.visible = Some((seen.offset, seen.value));
        }
    }

    /// The last visible record.
    #[must_use]
    pub fn visible(&self) -> Option<&(Offset, Option<V>)> {
        self.visible.as_ref()
    }

    /// Where the last masked record is.
    #[must_use]
    pub fn masked(&self) -> Option<Offset> {
        self.masked
    }

    /// The last visible record.
    #[must_use]
    pub fn into_visible(self) -> Option<(Offset, Option<V>)> {
        self.visible
    }

    /// What the key needs when the log is relied on to have what was replaced. A key whose last record is visible needs
    /// nothing: the cleaner keeps it, and every reader sees it last.
    #[must_use]
    pub fn repair(self, rules: &Rules) -> Option<Repair<V>> {
        let replaced = self.masked > self.visible.as_ref().map(|(at, _)| *at);
        if !replaced {
            return None;
        }
        match self.visible.and_then(|(_, value)| value) {
            Some(value) => Some(Repair::Value(value)),
            None => rules.tombstones.then_some(Repair::Tombstone),
        }
    }

    /// What the key needs when its value stands in the checkpoint and the log is not relied on. What the checkpoint has is
    /// appended whatever the log shows: a value that was read a moment ago may be gone the next. What it has not, and the
    /// log has in whatever form, is deleted.
    #[must_use]
    pub fn repair_from(self, embedded: Option<V>, rules: &Rules) -> Option<Repair<V>> {
        let known = self.masked.is_some() || self.visible.is_some_and(|(_, value)| value.is_some());
        match embedded {
            Some(value) => Some(Repair::Value(value)),
            None => (known && rules.tombstones).then_some(Repair::Tombstone),
        }
    }
}

/// What has to be appended to a table after `seen`, everything that a scan saw of it, in any order. `embedded` is the
/// table as the checkpoint has it, where the log cannot be relied on.
#[must_use]
pub fn repairs<K: Ord, V>(
    seen: impl IntoIterator<Item = (K, Seen<V>)>,
    embedded: Option<BTreeMap<K, V>>,
    rules: &Rules,
) -> BTreeMap<K, Repair<V>> {
    let mut rows: BTreeMap<K, Row<V>> = BTreeMap::new();
    for (key, record) in seen {
        // The broken rule: the last value in the log is the value, whoever may see it.
        let masked = record.masked && rules.visible_values_only;
        let row = rows.entry(key).or_default();
        if record.masked && !masked {
            row.masked = row.masked.max(Some(record.offset.next()));
        }
        row.note(Seen { masked, ..record });
    }
    let from_log = |(key, row): (K, Row<V>)| Some((key, row.repair(rules)?));
    let Some(mut embedded) = embedded else {
        return rows.into_iter().filter_map(from_log).collect();
    };
    let mut all = BTreeMap::new();
    for (key, row) in rows {
        let value = embedded.remove(&key);
        all.extend(row.repair_from(value, rules).map(|repair| (key, repair)));
    }
    all.extend(
        embedded
            .into_iter()
            .map(|(key, value)| (key, Repair::Value(value))),
    );
    all
}

/// A compacted partition as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableNow {
    /// `min.compaction.lag.ms`, the smaller of what it was at the checkpoint and what it is; 0 where unknown.
    pub lag_ms: i64,
    /// The batch that holds the first offset outside the cut, as far as the log has it: where it begins and its
    /// timestamp, in milliseconds.
    pub first: Option<(Offset, i64)>,
    /// True when the checkpoint has the table.
    pub embedded: bool,
}

impl TableNow {
    /// True when the cleaner cannot have used any record from `from` on, so that everything they replaced is there.
    ///
    /// It stops at the first segment with a record younger than the lag. So it is enough that the first record outside the
    /// cut is there and young: its segment has never been cleaned, nor has any after it, whatever timestamps they carry.
    #[must_use]
    pub fn is_guaranteed(&self, from: Offset, now_ms: i64, rules: &Rules) -> bool {
        if !rules.cleaner_is_behind {
            return true;
        }
        let young = |stamp: i64| now_ms.saturating_sub(stamp) + LAG_MARGIN_MS < self.lag_ms;
        self.first
            .is_some_and(|(base, stamp)| base <= from && young(stamp))
    }
}

/// Where the restored writers' cut ends on each table that something may have been appended to since: from there on
/// records are masked.
#[must_use]
pub fn touched_tables(facts: &Facts, masks: &Masks) -> BTreeMap<TopicPartition, Offset> {
    let mut touched = BTreeMap::new();
    for partition in facts.tables_of_restored() {
        let outside = outside_cut(facts, masks, &partition);
        // An offset that no control batch has either holds data or has lost it to the cleaner.
        let control = facts.writers.get(&partition).map(|wrote| &wrote.control);
        let mut written = outside.clone();
        control.into_iter().for_each(|set| written.subtract(set));
        if let Some(first) = outside.ranges().first().filter(|_| !written.is_empty()) {
            let own = facts.writers_of(&partition.topic);
            let start = mask_start_of(&facts.cut, &partition, &own);
            touched.insert(partition, start.min(first.start));
        }
    }
    touched
}

/// What stands against rolling the tables back, in the world that `masks` make.
#[must_use]
pub(super) fn table_problems(facts: &Facts, masks: &Masks) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (partition, from) in touched_tables(facts, masks) {
        problems.extend(facts.shared_table(&partition, from));
        let now = facts.tables.get(&partition).cloned().unwrap_or_default();
        if !now.embedded && !now.is_guaranteed(from, facts.now_ms, &Rules::default()) {
            let lag_ms = now.lag_ms;
            let age_ms = facts.now_ms.saturating_sub(facts.cut_ms);
            problems.push(Problem::CleanerAhead {
                partition,
                lag_ms,
                age_ms,
            });
        }
    }
    problems
}

/// What the restored world must not see and the checkpoint's could not see for another reason.
fn outside_cut(facts: &Facts, masks: &Masks, partition: &TopicPartition) -> RangeSet {
    let mut outside = masks.of(partition).cloned().unwrap_or_default();
    if let Some(then) = facts.masks_then.of(partition) {
        // Whatever was masked then had been repaired by then: a later record of the cut stands for it.
        outside.subtract(then);
    }
    outside
}

impl Facts {
    /// Every compacted partition that a restored service ever produced to.
    #[must_use]
    pub fn tables_of_restored(&self) -> BTreeSet<TopicPartition> {
        let is_table = |topic: &TopicName| self.topics_now.get(topic).is_some_and(|n| n.compacted);
        let all = self.restored_partitions().into_iter();
        all.filter(|partition| is_table(&partition.topic)).collect()
    }

    /// The restored services that ever produced to `topic`.
    #[must_use]
    pub fn writers_of(&self, topic: &TopicName) -> BTreeSet<ServiceName> {
        let outputs = self.restored_outputs().into_iter();
        let own = outputs.filter(|(_, topics)| topics.contains(topic));
        own.map(|(service, _)| service).collect()
    }

    /// Others' writes would race with what is appended, and lose to it.
    fn shared_table(&self, partition: &TopicPartition, from: Offset) -> Option<Problem> {
        let mut others: BTreeSet<String> = self
            .other_writers(&partition.topic)
            .map(ToString::to_string)
            .collect();
        let wrote = self.writers.get(partition);
        if wrote.is_some_and(|wrote| wrote.outside.ranges().iter().any(|r| r.end > from)) {
            others.insert("producers behind no sidecar".to_owned());
        }
        let partition = partition.clone();
        let others: Vec<String> = others.into_iter().collect();
        (!others.is_empty()).then(|| Problem::TableShared {
            partition,
            others: others.join(", "),
        })
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
