//! What was in flight when a checkpoint was cut: between where a reader stood and where its writers' part ends.

use std::collections::BTreeMap;

use cutline_model::{Offset, ServiceName, TopicName};
use cutline_store::Manifest;

use crate::metrics::Channel;

/// Offsets from each service's positions to the last bound of a process on the same partition, by topic. Sources, which no
/// process writes, have no such thing. Control records and what compaction removed count like records.
pub(super) fn in_flight(manifest: &Manifest) -> BTreeMap<Channel, u64> {
    let bounds = bounds(manifest);
    let mut channels = BTreeMap::new();
    for at in &manifest.positions {
        let bound = bounds.get(&(&at.topic, at.partition));
        let (Some(bound), Some(position)) = (bound, at.offset) else {
            continue;
        };
        let left = u64::try_from(bound.0 - position.0).unwrap_or_default();
        let channel = Channel {
            service: at.service.clone(),
            topic: at.topic.clone(),
        };
        *channels.entry(channel).or_default() += left;
    }
    channels
}

/// The last of the writers' first markers on each partition.
fn bounds(manifest: &Manifest) -> BTreeMap<(&TopicName, i32), Offset> {
    let mut firsts: BTreeMap<(&TopicName, i32, &ServiceName), Offset> = BTreeMap::new();
    for marker in &manifest.markers {
        let writer = (&marker.topic, marker.partition, &marker.service);
        let first = firsts.entry(writer).or_insert(marker.offset);
        *first = (*first).min(marker.offset);
    }
    let mut bounds = BTreeMap::new();
    for ((topic, partition, _), first) in firsts {
        let bound = bounds.entry((topic, partition)).or_insert(first);
        *bound = first.max(*bound);
    }
    bounds
}

#[cfg(test)]
mod tests {
    use cutline_model::{Epoch, Mode};
    use cutline_store::{Outcome, PositionRecord, SidecarMarker};
    use jiff::Timestamp;

    use super::*;

    fn marker(service: &str, partition: i32, offset: i64) -> SidecarMarker {
        SidecarMarker {
            service: service.into(),
            instance: "0".into(),
            topic: "t".into(),
            partition,
            offset: Offset(offset),
        }
    }

    fn position(topic: &str, partition: i32, offset: Option<i64>) -> PositionRecord {
        PositionRecord {
            service: "reader".into(),
            instance: None,
            group: "g".into(),
            topic: topic.into(),
            partition,
            offset: offset.map(Offset),
        }
    }

    #[test]
    fn what_no_reader_had_and_every_writer_sent_is_in_flight() {
        let started_at = Timestamp::UNIX_EPOCH;
        let mut manifest = Manifest::new(Epoch(1), Outcome::Completed, Mode::Unaligned, started_at);
        // Two writers on partition 0, of which one marked twice; nobody has read partition 1; nobody writes the source.
        manifest.markers = vec![
            marker("a", 0, 10),
            marker("a", 0, 40),
            marker("b", 0, 20),
            marker("a", 1, 7),
        ];
        manifest.positions = vec![
            position("t", 0, Some(5)),
            position("t", 1, None),
            position("source", 0, Some(3)),
        ];
        let channel = Channel {
            service: "reader".into(),
            topic: "t".into(),
        };
        assert_eq!(in_flight(&manifest), [(channel, 15)].into());
    }
}
