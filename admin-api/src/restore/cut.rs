//! A manifest read back as what the core speaks of: the cut, its topics, its masks.
//!
//! The stored form is the manifest's; nothing is judged here.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    Capture, Offset, RangeSet, ServiceName, SidecarId, Timings, TopicName, TopicPartition,
};
use cutline_protocol::{Cut, End, ProcessPart, SidecarPart, mask::Masks};
use cutline_store::{Manifest, MaskRecord, ProcessRecord};

/// The cut that `manifest` describes.
#[must_use]
pub fn cut_of(manifest: &Manifest) -> Cut {
    let mut sidecars: BTreeMap<SidecarId, SidecarPart> = BTreeMap::new();
    for process in &manifest.processes {
        for sidecar in &process.sidecars {
            let part = empty_part(process, sidecar.incarnation.clone());
            sidecars.insert(sidecar.id.clone(), part);
        }
    }
    let late = manifest.late_marks.iter().map(|marker| (marker, true));
    for (marker, is_late) in manifest.markers.iter().map(|m| (m, false)).chain(late) {
        let id = SidecarId::new(marker.service.clone(), marker.instance.clone());
        if let Some(part) = sidecars.get_mut(&id) {
            let partition = TopicPartition::new(marker.topic.clone(), marker.partition);
            part.markers.insert(partition.clone(), marker.offset);
            if is_late {
                part.late.insert(partition);
            }
        }
    }
    for range in &manifest.ranges {
        let id = SidecarId::new(range.service.clone(), range.instance.clone());
        if let Some(part) = sidecars.get_mut(&id) {
            let partition = TopicPartition::new(range.topic.clone(), range.partition);
            part.ranges.insert(partition, range.ranges.clone());
        }
    }
    let idle = positions(manifest, &mut sidecars);
    Cut {
        epoch: manifest.epoch,
        view: manifest.view,
        mode: manifest.mode,
        processes: manifest
            .processes
            .iter()
            .map(|record| (record.process.clone(), process_part(record)))
            .collect(),
        sidecars,
        assignments: BTreeMap::new(),
        idle,
        barriers: BTreeMap::new(),
        ends: ends(manifest),
        outputs: manifest
            .outputs
            .iter()
            .map(|record| {
                (
                    record.service.clone(),
                    record.topics.iter().cloned().collect(),
                )
            })
            .collect(),
    }
}

/// Kafka's id of every topic of the checkpoint.
#[must_use]
pub fn topics_of(manifest: &Manifest) -> BTreeMap<TopicName, String> {
    let topics = manifest.topics.iter();
    topics
        .map(|topic| (topic.name.clone(), topic.id.clone()))
        .collect()
}

/// Stored masks, without those of topics whose id is another now. `topic_now` answers the present id.
#[must_use]
pub fn masks_of(records: &[MaskRecord], topic_now: impl Fn(&TopicName) -> Option<String>) -> Masks {
    let mut by_writer: BTreeMap<ServiceName, BTreeMap<TopicPartition, RangeSet>> = BTreeMap::new();
    for record in records {
        if topic_now(&record.topic).is_some_and(|id| id == record.topic_id) {
            let partition = TopicPartition::new(record.topic.clone(), record.partition);
            let of_writer = by_writer.entry(record.service.clone()).or_default();
            of_writer
                .entry(partition)
                .or_default()
                .union(&record.ranges);
        }
    }
    let mut masks = Masks::default();
    for (service, ranges) in by_writer {
        masks.replace(&service, ranges);
    }
    masks
}

/// Masks as they are stored; those of topics that do not exist are left out.
#[must_use]
pub fn mask_records(
    masks: &Masks,
    topic_now: impl Fn(&TopicName) -> Option<String>,
) -> Vec<MaskRecord> {
    let record = |(service, partition, ranges): (&ServiceName, &TopicPartition, &RangeSet)| {
        Some(MaskRecord {
            service: service.clone(),
            topic: partition.topic.clone(),
            topic_id: topic_now(&partition.topic)?,
            partition: partition.partition,
            ranges: ranges.clone(),
        })
    };
    masks.iter().filter_map(record).collect()
}

type Idle = BTreeMap<(ServiceName, cutline_model::GroupId, TopicPartition), Option<Offset>>;

/// Gives every position to its sidecar; answers those that belong to none.
fn positions(manifest: &Manifest, sidecars: &mut BTreeMap<SidecarId, SidecarPart>) -> Idle {
    let mut idle = BTreeMap::new();
    for position in &manifest.positions {
        let partition = TopicPartition::new(position.topic.clone(), position.partition);
        let owner = position
            .instance
            .as_ref()
            .map(|instance| SidecarId::new(position.service.clone(), instance.clone()))
            .and_then(|id| sidecars.get_mut(&id));
        match owner {
            Some(part) => {
                let key = (position.group.clone(), partition);
                part.positions.insert(key, position.offset);
            }
            None => {
                let key = (position.service.clone(), position.group.clone(), partition);
                idle.insert(key, position.offset);
            }
        }
    }
    idle
}

fn ends(manifest: &Manifest) -> BTreeMap<TopicPartition, End> {
    let end = |end: &cutline_store::End| {
        let at = End {
            offset: end.offset,
            leader_epoch: end.leader_epoch,
        };
        (TopicPartition::new(end.topic.clone(), end.partition), at)
    };
    manifest.ends.iter().map(end).collect()
}

fn process_part(record: &ProcessRecord) -> ProcessPart {
    ProcessPart {
        scope: record.scope,
        guarantee: record.guarantee,
        sidecars: record.sidecars.iter().map(|s| s.id.clone()).collect(),
        part: record.part.clone(),
    }
}

fn empty_part(record: &ProcessRecord, incarnation: cutline_model::Incarnation) -> SidecarPart {
    SidecarPart {
        incarnation,
        capture: Capture::default(),
        markers: BTreeMap::new(),
        late: BTreeSet::new(),
        ranges: BTreeMap::new(),
        positions: BTreeMap::new(),
        unaligned: record.unaligned,
        timings: Timings::default(),
    }
}
