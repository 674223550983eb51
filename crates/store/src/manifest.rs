//! The manifest: what a checkpoint is, and the commit of it. One object, created once, never changed.
//!
//! It holds everything a restore needs besides the state itself, by relative references only. These types are the
//! stored form, version [`crate::FORMAT`]: adding an optional field is compatible, anything else is a new format.

use cutline_model::{
    Capture, Epoch, GroupId, Guarantee, Incarnation, InstanceName, Mode, Offset, PartRef,
    ProcessId, RangeSet, Scope, ServiceName, SidecarId, Timeline, Timings, TopicName, View,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::FORMAT;

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// All parts are there and the cut is consistent.
    Completed,
    /// It counts for nothing.
    Failed,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub format: u32,
    /// The attempt.
    pub epoch: Epoch,
    /// How it ended.
    pub status: Outcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name its user gave it; one that has a name is kept by retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
    /// The trace of the attempt, as 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// How input was held.
    pub mode: Mode,
    /// The membership it was taken in.
    #[serde(default)]
    pub view: View,
    /// The timeline it was taken on.
    #[serde(default)]
    pub timeline: Timeline,
    /// When it was triggered.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Timestamp,
    /// The id of the Kafka cluster.
    #[serde(default)]
    pub kafka_cluster_id: String,
    /// Every topic it speaks of.
    #[serde(default)]
    pub topics: Vec<TopicRecord>,
    /// Every process, with its state.
    #[serde(default)]
    pub processes: Vec<ProcessRecord>,
    /// c(g,p) of every group and partition.
    #[serde(default)]
    pub positions: Vec<PositionRecord>,
    /// Every sidecar's own markers.
    #[serde(default)]
    pub markers: Vec<SidecarMarker>,
    /// The coordinator's markers.
    #[serde(default)]
    pub barriers: Vec<Barrier>,
    /// Markers of partitions first produced to while the epoch was open.
    #[serde(default)]
    pub late_marks: Vec<SidecarMarker>,
    /// The listed ends.
    #[serde(default)]
    pub ends: Vec<End>,
    /// What each sidecar's application produced between a partition's first process marker and its own.
    #[serde(default)]
    pub ranges: Vec<RangeRecord>,
    /// Every topic each service ever produced to.
    #[serde(default)]
    pub outputs: Vec<OutputRecord>,
    /// The masks in force when it was taken.
    #[serde(default)]
    pub masks: Vec<MaskRecord>,
    /// Compacted partitions that were copied whole, as they were at the cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableRecord>,
}

impl Manifest {
    /// A manifest of an epoch that began at `started_at` and ends now, with nothing in it yet.
    #[must_use]
    pub fn new(epoch: Epoch, status: Outcome, mode: Mode, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            epoch,
            status,
            reason: None,
            savepoint: None,
            trace_id: None,
            mode,
            view: View::default(),
            timeline: Timeline::default(),
            started_at,
            completed_at: Timestamp::now(),
            kafka_cluster_id: String::new(),
            topics: Vec::new(),
            processes: Vec::new(),
            positions: Vec::new(),
            markers: Vec::new(),
            barriers: Vec::new(),
            late_marks: Vec::new(),
            ends: Vec::new(),
            ranges: Vec::new(),
            outputs: Vec::new(),
            masks: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// A record of an epoch that failed for `reason`.
    #[must_use]
    pub fn failed(
        epoch: Epoch,
        mode: Mode,
        started_at: Timestamp,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::new(epoch, Outcome::Failed, mode, started_at)
        }
    }

    /// Bytes of state in all parts.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let parts = self.parts().map(|(_, part)| part.state_bytes);
        parts.fold(0, u64::saturating_add)
    }

    /// Bytes that were written to the store for it.
    #[must_use]
    pub fn uploaded_bytes(&self) -> u64 {
        let parts = self.parts().map(|(_, part)| part.uploaded_bytes);
        parts.fold(0, u64::saturating_add)
    }

    /// Every process that has state, with its part, and every table under the name its part is kept by.
    pub fn parts(&self) -> impl Iterator<Item = (&ProcessId, &PartRef)> {
        let states = self.processes.iter();
        let states =
            states.filter_map(|record| record.part.as_ref().map(|part| (&record.process, part)));
        let tables = self
            .tables
            .iter()
            .map(|table| (&table.process, &table.part));
        states.chain(tables)
    }

    /// The part of a process, or of a table under its name.
    #[must_use]
    pub fn part(&self, process: &ProcessId) -> Option<&PartRef> {
        let mut all = self.parts();
        all.find(|(of, _)| *of == process).map(|(_, part)| part)
    }

    /// The record of a process.
    #[must_use]
    pub fn process(&self, process: &ProcessId) -> Option<&ProcessRecord> {
        self.processes
            .iter()
            .find(|record| record.process == *process)
    }
}

/// A topic as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its name.
    pub name: TopicName,
    /// Kafka's topic id (a UUID): a topic deleted and made again has another.
    pub id: String,
    /// How many partitions it had.
    pub partitions: i32,
    /// `min.compaction.lag.ms` of a compacted topic, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_compaction_lag_ms: Option<i64>,
}

/// A compacted partition as it was at the cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// The name its part is kept by; no process has it.
    pub process: ProcessId,
    /// The topic.
    pub topic: TopicName,
    /// Kafka's id of the topic (a UUID).
    pub topic_id: String,
    /// The partition's index.
    pub partition: i32,
    /// Everything of the cut lies below.
    pub bound: Offset,
    /// How many keys it had.
    pub records: u64,
    /// Its rows.
    pub part: PartRef,
}

/// A process and its part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Which.
    pub process: ProcessId,
    /// The sidecars it had.
    pub sidecars: Vec<SidecarRecord>,
    /// How it learned that work was finished.
    pub capture: Capture,
    /// Whose state it is.
    pub scope: Scope,
    /// What the part is good for.
    pub guarantee: Guarantee,
    /// True when alignment timed out.
    #[serde(default)]
    pub unaligned: bool,
    /// Its state, when it has any to keep.
    #[serde(default)]
    pub part: Option<PartRef>,
    /// How long it took; of several sidecars the longest of each.
    #[serde(default)]
    pub timings: Timings,
    /// How long copying and uploading took after the pause, in milliseconds.
    #[serde(default)]
    pub async_ms: u64,
}

/// A sidecar that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarRecord {
    /// Which.
    pub id: SidecarId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// Where a group stood on a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRecord {
    /// The service the group belongs to.
    pub service: ServiceName,
    /// The instance that had the partition assigned, if any had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// The group.
    pub group: GroupId,
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// The offset of the next record; `None` where the group had no position.
    pub offset: Option<Offset>,
}

/// A marker of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarMarker {
    /// The sidecar's service.
    pub service: ServiceName,
    /// Its instance.
    pub instance: InstanceName,
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Where it is.
    pub offset: Offset,
}

/// A marker of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// Where it is.
    pub offset: Offset,
}

/// The listed end of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// The offset after the last record.
    pub offset: Offset,
    /// The leader epoch the end was listed under; −1 where the broker tells none.
    pub leader_epoch: i32,
}

/// What an application produced after the partition's first process marker and before its own cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRecord {
    /// The writer's service.
    pub service: ServiceName,
    /// The writer's instance.
    pub instance: InstanceName,
    /// The topic.
    pub topic: TopicName,
    /// The partition's index.
    pub partition: i32,
    /// The offsets.
    pub ranges: RangeSet,
}

/// What a service writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The service.
    pub service: ServiceName,
    /// Every topic it ever produced to.
    pub topics: Vec<TopicName>,
}

/// Offsets of one writer that a restored world must never see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskRecord {
    /// The writer that was rolled back.
    pub service: ServiceName,
    /// The topic.
    pub topic: TopicName,
    /// Kafka's id of the topic (a UUID).
    pub topic_id: String,
    /// The partition's index.
    pub partition: i32,
    /// The offsets.
    pub ranges: RangeSet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_of_the_same_format_are_tolerated() {
        let manifest = Manifest::failed(Epoch(3), Mode::Unaligned, Timestamp::UNIX_EPOCH, "x");
        let mut value = serde_json::to_value(&manifest).unwrap();
        value["added_later"] = serde_json::json!({"a": 1});
        assert_eq!(value["status"], "FAILED");
        assert_eq!(value["mode"], "unaligned");
        assert_eq!(value["started_at"], "1970-01-01T00:00:00Z");
        assert_eq!(serde_json::from_value::<Manifest>(value).unwrap(), manifest);
    }

    #[test]
    fn a_position_that_is_none_is_written_as_null() {
        let position = PositionRecord {
            service: "bank".into(),
            instance: None,
            group: "g".into(),
            topic: "t".into(),
            partition: 0,
            offset: None,
        };
        let value = serde_json::to_value(&position).unwrap();
        assert!(value["offset"].is_null() && value.get("offset").is_some());
    }
}
