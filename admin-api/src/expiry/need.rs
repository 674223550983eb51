//! What one checkpoint needs of Kafka's logs: from where on each partition is read again, and which tables it relies on.
//!
//! Kept for every checkpoint there is, so it is small. It knows manifests, not the logs.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, TopicName, TopicPartition};
use cutline_store::Manifest;

/// What a checkpoint needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// When the cut was begun, in milliseconds.
    pub cut_ms: i64,
    /// Its topics with Kafka's ids; positions and tables refer to them by index.
    pub topics: Vec<(TopicName, String)>,
    /// The lowest position on each partition.
    pub positions: Vec<Position>,
    /// Compacted topics that are not in the checkpoint as a whole.
    pub tables: Vec<Table>,
}

/// From where on a partition is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Index into [`Need::topics`].
    pub topic: usize,
    /// The partition's index.
    pub partition: i32,
    /// Nothing from here on may be gone.
    pub offset: Offset,
    /// The highest timestamp at or before the record there, in milliseconds, as far as it is known. What comes after the
    /// cut is not older than the cut.
    pub since_ms: Option<i64>,
}

/// A compacted topic on whose cleaner being behind a restore relies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Index into [`Need::topics`].
    pub topic: usize,
    /// `min.compaction.lag.ms` at the checkpoint.
    pub lag_ms: i64,
}

impl Need {
    /// What the checkpoint of `manifest` needs.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let topics: Vec<(TopicName, String)> = manifest
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.id.clone()))
            .collect();
        let indexes: BTreeMap<&TopicName, usize> = manifest
            .topics
            .iter()
            .enumerate()
            .map(|(index, topic)| (&topic.name, index))
            .collect();
        let cut_ms = manifest.started_at.as_millisecond();
        let positions = positions(manifest, &indexes, cut_ms);
        let tables = tables(manifest, &indexes);
        Self {
            cut_ms,
            topics,
            positions,
            tables,
        }
    }

    /// A position's partition.
    #[must_use]
    pub fn partition(&self, position: &Position) -> TopicPartition {
        TopicPartition::new(self.topics[position.topic].0.clone(), position.partition)
    }
}

fn positions(
    manifest: &Manifest,
    indexes: &BTreeMap<&TopicName, usize>,
    cut_ms: i64,
) -> Vec<Position> {
    let mut least: BTreeMap<(usize, i32), Offset> = BTreeMap::new();
    for record in &manifest.positions {
        if let (Some(offset), Some(index)) = (record.offset, indexes.get(&record.topic)) {
            let found = least.entry((*index, record.partition)).or_insert(offset);
            *found = offset.min(*found);
        }
    }
    let first_after = first_after(manifest, indexes);
    let position = |((topic, partition), offset): ((usize, i32), Offset)| {
        let after = first_after.get(&(topic, partition));
        let is_caught_up = after.is_some_and(|after| offset >= *after);
        Position {
            topic,
            partition,
            offset,
            since_ms: is_caught_up.then_some(cut_ms),
        }
    };
    least.into_iter().map(position).collect()
}

/// Where on each partition the records begin that came after the cut was begun: its first marker, else its listed end.
fn first_after(
    manifest: &Manifest,
    indexes: &BTreeMap<&TopicName, usize>,
) -> BTreeMap<(usize, i32), Offset> {
    let mut first: BTreeMap<(usize, i32), Offset> = BTreeMap::new();
    let mut note = |topic: &TopicName, partition: i32, offset: Offset| {
        if let Some(index) = indexes.get(topic) {
            let found = first.entry((*index, partition)).or_insert(offset);
            *found = offset.min(*found);
        }
    };
    for marker in manifest.markers.iter().chain(&manifest.late_marks) {
        note(&marker.topic, marker.partition, marker.offset);
    }
    for barrier in &manifest.barriers {
        note(&barrier.topic, barrier.partition, barrier.offset);
    }
    for end in &manifest.ends {
        note(&end.topic, end.partition, end.offset);
    }
    first
}

fn tables(manifest: &Manifest, indexes: &BTreeMap<&TopicName, usize>) -> Vec<Table> {
    let written: BTreeSet<&TopicName> = manifest
        .outputs
        .iter()
        .flat_map(|output| &output.topics)
        .collect();
    let embedded: BTreeSet<&TopicName> = manifest.tables.iter().map(|table| &table.topic).collect();
    let relied_on = manifest
        .topics
        .iter()
        .filter(|topic| written.contains(&topic.name) && !embedded.contains(&topic.name));
    let table = relied_on.filter_map(|topic| {
        Some(Table {
            topic: *indexes.get(&topic.name)?,
            lag_ms: topic.min_compaction_lag_ms?,
        })
    });
    table.collect()
}

#[cfg(test)]
mod tests {
    use cutline_model::{Epoch, Mode};
    use cutline_store::{Barrier, End, Outcome, PositionRecord, TopicRecord};
    use jiff::Timestamp;

    use super::*;

    fn position(group: &str, partition: i32, offset: Option<i64>) -> PositionRecord {
        PositionRecord {
            service: "bank".into(),
            instance: None,
            group: group.into(),
            topic: "t".into(),
            partition,
            offset: offset.map(Offset),
        }
    }

    #[test]
    fn the_slowest_group_counts_and_only_a_backlog_is_of_unknown_age() {
        let at = Timestamp::from_second(1_000).unwrap();
        let mut manifest = Manifest::new(Epoch(1), Outcome::Completed, Mode::Aligned, at);
        manifest.topics.push(TopicRecord {
            name: "t".into(),
            id: "id".to_owned(),
            partitions: 3,
            min_compaction_lag_ms: None,
        });
        manifest.positions = vec![
            position("fast", 0, Some(20)),
            position("slow", 0, Some(7)),
            position("fast", 1, Some(20)),
            position("fast", 2, None),
        ];
        for partition in 0..3 {
            manifest.barriers.push(Barrier {
                topic: "t".into(),
                partition,
                offset: Offset(20),
            });
            manifest.ends.push(End {
                topic: "t".into(),
                partition,
                offset: Offset(25),
                leader_epoch: 0,
            });
        }
        let need = Need::of(&manifest);
        let found: Vec<_> = need
            .positions
            .iter()
            .map(|p| (p.partition, p.offset.0, p.since_ms))
            .collect();
        assert_eq!(found, [(0, 7, None), (1, 20, Some(1_000_000))]);
    }
}
