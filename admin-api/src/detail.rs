//! A manifest as the REST interface shows it.

use cutline_client::{
    CheckpointDetail, CheckpointStatus, CheckpointView, MarkerView, OffsetView, PositionView,
    ProcessView, TopicView,
};
use cutline_model::{Guarantee, InstanceName, Mode, Offset, ServiceName, TopicName, View};
use cutline_store::{
    CheckpointStatus as Stored, CheckpointSummary, Manifest, PositionRecord, ProcessRecord,
};
use jiff::Timestamp;

use crate::{coordination::pause_ms_max, history::millis_between};

/// What a list shows of a stored checkpoint.
#[must_use]
pub fn view_of(found: &CheckpointSummary) -> CheckpointView {
    let claimed_at = found.owner.as_ref().map(|owner| owner.claimed_at);
    let mut view = match &found.manifest {
        Some(manifest) => of_manifest(manifest),
        None => without_manifest(found, claimed_at.unwrap_or(Timestamp::UNIX_EPOCH)),
    };
    view.status = match found.status {
        Stored::Incomplete => CheckpointStatus::InProgress,
        Stored::Completed => CheckpointStatus::Completed,
        // What cannot be read cannot be restored; the reason says that it was damaged, not that it failed.
        Stored::Failed | Stored::Damaged => CheckpointStatus::Failed,
        Stored::Deleting | Stored::Deleted => CheckpointStatus::Deleting,
    };
    view
}

fn of_manifest(manifest: &Manifest) -> CheckpointView {
    CheckpointView {
        epoch: manifest.epoch,
        status: CheckpointStatus::InProgress,
        phase: None,
        savepoint: manifest.savepoint.clone(),
        mode: manifest.mode,
        started_at: manifest.started_at,
        completed_at: Some(manifest.completed_at),
        duration_ms: millis_between(manifest.started_at, manifest.completed_at),
        pause_ms_max: pause_ms_max(manifest),
        state_size: manifest.state_bytes(),
        bytes_uploaded: manifest.uploaded_bytes(),
        process_count: manifest.processes.len(),
        reason: manifest.reason.clone(),
        retried_as: None,
        timeline: manifest.timeline,
        trace_id: manifest.trace_id.clone(),
        restorable: None,
    }
}

fn without_manifest(found: &CheckpointSummary, started_at: Timestamp) -> CheckpointView {
    CheckpointView {
        epoch: found.epoch,
        status: CheckpointStatus::InProgress,
        phase: None,
        savepoint: None,
        mode: Mode::default(),
        started_at,
        completed_at: None,
        duration_ms: 0,
        pause_ms_max: 0.0,
        state_size: 0,
        bytes_uploaded: 0,
        process_count: 0,
        reason: found.problem.as_ref().map(ToString::to_string),
        retried_as: None,
        timeline: cutline_model::Timeline::default(),
        trace_id: None,
        restorable: None,
    }
}

/// Everything known of a checkpoint.
#[must_use]
pub fn detail_of(checkpoint: CheckpointView, manifest: Option<&Manifest>) -> CheckpointDetail {
    let Some(manifest) = manifest else {
        return CheckpointDetail {
            checkpoint,
            view: View::default(),
            guarantee: None,
            processes: Vec::new(),
            idle_positions: Vec::new(),
            barriers: Vec::new(),
            ends: Vec::new(),
            topics: Vec::new(),
            kafka_cluster_id: String::new(),
        };
    };
    let idle = manifest
        .positions
        .iter()
        .filter(|position| position.instance.is_none());
    let barriers = manifest.barriers.iter();
    let ends = manifest.ends.iter();
    let topics = manifest.topics.iter().map(|topic| TopicView {
        name: topic.name.to_string(),
        id: topic.id.clone(),
        partitions: topic.partitions,
    });
    CheckpointDetail {
        checkpoint,
        view: manifest.view,
        guarantee: weakest(manifest),
        processes: manifest
            .processes
            .iter()
            .map(|record| process(manifest, record))
            .collect(),
        idle_positions: idle.map(position).collect(),
        barriers: barriers
            .map(|at| offset(&at.topic, at.partition, at.offset))
            .collect(),
        ends: ends
            .map(|at| offset(&at.topic, at.partition, at.offset))
            .collect(),
        topics: topics.collect(),
        kafka_cluster_id: manifest.kafka_cluster_id.clone(),
    }
}

fn weakest(manifest: &Manifest) -> Option<Guarantee> {
    let weakness = |guarantee: &Guarantee| match guarantee {
        Guarantee::Consistent => 0,
        Guarantee::PositionsOnly => 1,
    };
    let all = manifest.processes.iter().map(|record| record.guarantee);
    all.max_by_key(weakness)
}

fn process(manifest: &Manifest, record: &ProcessRecord) -> ProcessView {
    let owns = |service: &ServiceName, instance: Option<&InstanceName>| {
        let sidecars = &record.sidecars;
        sidecars
            .iter()
            .any(|s| s.id.service == *service && Some(&s.id.instance) == instance)
    };
    let positions = manifest.positions.iter();
    let marked = manifest.markers.iter().map(|marker| (marker, false));
    let late = manifest.late_marks.iter().map(|marker| (marker, true));
    let (timings, part) = (record.timings, record.part.as_ref());
    ProcessView {
        process: record.process.to_string(),
        service: record.process.service.to_string(),
        instance: record.process.instance.as_ref().map(ToString::to_string),
        sidecars: record.sidecars.iter().map(|s| s.id.to_string()).collect(),
        capture: record.capture,
        scope: record.scope,
        guarantee: record.guarantee,
        unaligned: record.unaligned,
        start_delay_ms: timings.start_delay_ms,
        alignment_ms: timings.alignment_ms,
        quiesce_ms: timings.quiesce_ms,
        sync_ms: timings.sync_ms,
        mark_ms: timings.mark_ms,
        async_ms: record.async_ms as f64,
        pause_ms: timings.pause_ms,
        state_size: part.map_or(0, |part| part.state_bytes),
        bytes_uploaded: part.map_or(0, |part| part.uploaded_bytes),
        provider: part.map(|part| part.provider.clone()),
        positions: positions
            .filter(|position| owns(&position.service, position.instance.as_ref()))
            .map(position)
            .collect(),
        markers: marked
            .chain(late)
            .filter(|(marker, _)| owns(&marker.service, Some(&marker.instance)))
            .map(|(marker, late)| MarkerView {
                instance: marker.instance.to_string(),
                topic: marker.topic.to_string(),
                partition: marker.partition,
                offset: marker.offset.0,
                late,
            })
            .collect(),
    }
}

fn position(record: &PositionRecord) -> PositionView {
    PositionView {
        group: record.group.to_string(),
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset.map(|offset| offset.0),
    }
}

fn offset(topic: &TopicName, partition: i32, offset: Offset) -> OffsetView {
    OffsetView {
        topic: topic.to_string(),
        partition,
        offset: offset.0,
    }
}
