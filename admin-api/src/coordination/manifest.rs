//! The manifest of a cut: everything a restore needs besides the state itself.

use std::collections::BTreeSet;

use cutline_control::ControlState;
use cutline_model::{Timings, TopicName};
use cutline_protocol::{Cut, ProcessPart, SidecarPart};
use cutline_store::{
    Barrier, End, Manifest, MaskRecord, Outcome, OutputRecord, PositionRecord, ProcessRecord,
    RangeRecord, SidecarMarker, SidecarRecord, TopicRecord,
};
use cutline_wire::client::Metadata;
use jiff::Timestamp;

/// What stands in a manifest besides the cut.
pub struct Surroundings<'a> {
    /// When it was triggered.
    pub started_at: Timestamp,
    /// A savepoint's name.
    pub savepoint: Option<String>,
    /// Its trace.
    pub trace_id: Option<String>,
    /// The cluster, refreshed when the ends were listed.
    pub metadata: &'a Metadata,
    /// Timeline and masks in force.
    pub control: &'a ControlState,
}

/// The manifest of `cut`, completed now.
#[must_use]
pub fn manifest_of(cut: &Cut, around: Surroundings<'_>) -> Manifest {
    let mut manifest = Manifest::new(cut.epoch, Outcome::Completed, cut.mode, around.started_at);
    manifest.savepoint = around.savepoint;
    manifest.trace_id = around.trace_id;
    manifest.view = cut.view;
    manifest.timeline = around.control.timeline;
    manifest.kafka_cluster_id = around.metadata.cluster_id.clone().unwrap_or_default();
    manifest.topics = topics(cut, around.metadata);
    manifest.processes = processes(cut);
    manifest.positions = positions(cut);
    (manifest.markers, manifest.late_marks) = markers(cut);
    manifest.barriers = barriers(cut);
    manifest.ends = ends(cut);
    manifest.ranges = ranges(cut);
    manifest.outputs = outputs(cut);
    manifest.masks = masks(around.control);
    manifest
}

fn topics(cut: &Cut, metadata: &Metadata) -> Vec<TopicRecord> {
    let listed = cut.ends.keys().map(|partition| &partition.topic);
    let read = cut.positions().map(|(_, partition, _)| &partition.topic);
    let written = cut.outputs.values().flatten();
    let names: BTreeSet<&TopicName> = listed.chain(read).chain(written).collect();
    let records = names.into_iter().filter_map(|name| {
        let info = metadata.topics.get(name)?;
        Some(TopicRecord {
            name: name.clone(),
            id: uuid::Uuid::from_bytes(info.id).to_string(),
            partitions: i32::try_from(info.partitions.len()).unwrap_or(i32::MAX),
            min_compaction_lag_ms: None,
        })
    });
    records.collect()
}

fn processes(cut: &Cut) -> Vec<ProcessRecord> {
    let record = |(process, part): (&cutline_model::ProcessId, &ProcessPart)| {
        let sidecars: Vec<(_, &SidecarPart)> = part
            .sidecars
            .iter()
            .filter_map(|id| Some((id, cut.sidecars.get(id)?)))
            .collect();
        ProcessRecord {
            process: process.clone(),
            sidecars: sidecars
                .iter()
                .map(|(id, sidecar)| SidecarRecord {
                    id: (*id).clone(),
                    incarnation: sidecar.incarnation.clone(),
                })
                .collect(),
            capture: sidecars
                .first()
                .map(|(_, sidecar)| sidecar.capture)
                .unwrap_or_default(),
            scope: part.scope,
            guarantee: part.guarantee,
            unaligned: sidecars.iter().any(|(_, sidecar)| sidecar.unaligned),
            part: part.part.clone(),
            timings: longest(sidecars.iter().map(|(_, sidecar)| sidecar.timings)),
            async_ms: part.part.as_ref().map_or(0, |part| part.async_ms),
        }
    };
    cut.processes.iter().map(record).collect()
}

fn longest(all: impl Iterator<Item = Timings>) -> Timings {
    all.fold(Timings::default(), |a, b| Timings {
        start_delay_ms: a.start_delay_ms.max(b.start_delay_ms),
        alignment_ms: a.alignment_ms.max(b.alignment_ms),
        quiesce_ms: a.quiesce_ms.max(b.quiesce_ms),
        sync_ms: a.sync_ms.max(b.sync_ms),
        mark_ms: a.mark_ms.max(b.mark_ms),
        pause_ms: a.pause_ms.max(b.pause_ms),
    })
}

fn positions(cut: &Cut) -> Vec<PositionRecord> {
    let live = cut.sidecars.iter().flat_map(|(id, part)| {
        let positions = part.positions.iter();
        positions.map(move |((group, partition), offset)| PositionRecord {
            service: id.service.clone(),
            instance: Some(id.instance.clone()),
            group: group.clone(),
            topic: partition.topic.clone(),
            partition: partition.partition,
            offset: *offset,
        })
    });
    let idle = cut
        .idle
        .iter()
        .map(|((service, group, partition), offset)| PositionRecord {
            service: service.clone(),
            instance: None,
            group: group.clone(),
            topic: partition.topic.clone(),
            partition: partition.partition,
            offset: *offset,
        });
    live.chain(idle).collect()
}

/// Markers written with the state, and those written late.
fn markers(cut: &Cut) -> (Vec<SidecarMarker>, Vec<SidecarMarker>) {
    let mut on_time = Vec::new();
    let mut late = Vec::new();
    for (id, part) in &cut.sidecars {
        for (partition, offset) in &part.markers {
            let marker = SidecarMarker {
                service: id.service.clone(),
                instance: id.instance.clone(),
                topic: partition.topic.clone(),
                partition: partition.partition,
                offset: *offset,
            };
            if part.late.contains(partition) {
                late.push(marker);
            } else {
                on_time.push(marker);
            }
        }
    }
    (on_time, late)
}

fn barriers(cut: &Cut) -> Vec<Barrier> {
    let barriers = cut.barriers.iter().map(|(partition, offset)| Barrier {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: *offset,
    });
    barriers.collect()
}

fn ends(cut: &Cut) -> Vec<End> {
    let ends = cut.ends.iter().map(|(partition, end)| End {
        topic: partition.topic.clone(),
        partition: partition.partition,
        offset: end.offset,
        leader_epoch: end.leader_epoch,
    });
    ends.collect()
}

fn ranges(cut: &Cut) -> Vec<RangeRecord> {
    let ranges = cut.sidecars.iter().flat_map(|(id, part)| {
        let ranges = part.ranges.iter();
        ranges.map(move |(partition, ranges)| RangeRecord {
            service: id.service.clone(),
            instance: id.instance.clone(),
            topic: partition.topic.clone(),
            partition: partition.partition,
            ranges: ranges.clone(),
        })
    });
    ranges.collect()
}

fn outputs(cut: &Cut) -> Vec<OutputRecord> {
    let outputs = cut.outputs.iter().map(|(service, topics)| OutputRecord {
        service: service.clone(),
        topics: topics.iter().cloned().collect(),
    });
    outputs.collect()
}

fn masks(control: &ControlState) -> Vec<MaskRecord> {
    let masks = control.masks.iter().map(|masked| MaskRecord {
        service: masked.service.clone(),
        topic: masked.partition.topic.clone(),
        topic_id: masked.topic_id.clone(),
        partition: masked.partition.partition,
        ranges: masked.ranges.clone(),
    });
    masks.collect()
}

/// The longest pause of any process.
#[must_use]
pub fn pause_ms_max(manifest: &Manifest) -> f64 {
    let pauses = manifest
        .processes
        .iter()
        .map(|record| record.timings.pause_ms);
    pauses.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cutline_model::{Epoch, Mode, Offset, PartRef, ProcessId, SidecarId, TopicPartition, View};
    use cutline_wire::client::{PartitionInfo, TopicInfo};

    use super::*;

    fn sidecar(pause_ms: f64) -> SidecarPart {
        let partition = TopicPartition::new("orders", 0);
        SidecarPart {
            incarnation: "run".into(),
            capture: cutline_model::Capture::Hook,
            markers: BTreeMap::from([
                (TopicPartition::new("paid", 0), Offset(7)),
                (TopicPartition::new("paid", 1), Offset(9)),
            ]),
            late: BTreeSet::from([TopicPartition::new("paid", 1)]),
            ranges: BTreeMap::new(),
            positions: BTreeMap::from([(("group".into(), partition), Some(Offset(4)))]),
            unaligned: false,
            timings: Timings {
                pause_ms,
                ..Timings::default()
            },
        }
    }

    fn cut() -> Cut {
        let ids = ["0", "1"].map(|instance| SidecarId::new("bank", instance));
        let process = ProcessId {
            service: "bank".into(),
            instance: None,
        };
        let part = PartRef {
            key: "k".into(),
            hash: "h".into(),
            state_bytes: 10,
            uploaded_bytes: 5,
            provider: "dir".into(),
            async_ms: 33,
        };
        let part = ProcessPart {
            scope: cutline_model::Scope::Service,
            guarantee: cutline_model::Guarantee::Consistent,
            sidecars: ids.iter().cloned().collect(),
            part: Some(part),
        };
        Cut {
            epoch: Epoch(3),
            view: View(8),
            mode: Mode::Aligned,
            processes: BTreeMap::from([(process, part)]),
            sidecars: ids.into_iter().zip([sidecar(5.0), sidecar(8.0)]).collect(),
            assignments: BTreeMap::new(),
            idle: BTreeMap::new(),
            barriers: BTreeMap::new(),
            ends: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    #[test]
    fn a_manifest_holds_what_the_cut_holds() {
        let mut metadata = Metadata::default();
        let info = TopicInfo {
            id: [1; 16],
            is_internal: false,
            partitions: BTreeMap::from([(
                0,
                PartitionInfo {
                    leader: Some(1),
                    leader_epoch: 0,
                    replicas: 1,
                    in_sync: 1,
                },
            )]),
        };
        metadata.topics.insert("orders".into(), info);
        let around = Surroundings {
            started_at: Timestamp::UNIX_EPOCH,
            savepoint: Some("before".to_owned()),
            trace_id: None,
            metadata: &metadata,
            control: &ControlState::default(),
        };
        let manifest = manifest_of(&cut(), around);
        assert_eq!((manifest.markers.len(), manifest.late_marks.len()), (2, 2));
        assert_eq!(manifest.positions.len(), 2);
        assert_eq!(manifest.topics.len(), 1);
        let process = &manifest.processes[0];
        assert_eq!((process.timings.pause_ms, process.async_ms), (8.0, 33));
        assert_eq!(pause_ms_max(&manifest), 8.0);
        assert_eq!(manifest.savepoint.as_deref(), Some("before"));
    }
}
