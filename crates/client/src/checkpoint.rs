//! Checkpoints as the REST interface shows them.
//!
//! Durations are in the unit their field names, sizes in bytes, times in RFC 3339.

use std::fmt;

use cutline_model::{Capture, Epoch, Guarantee, Mode, Scope, Timeline, View};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Restorable;

/// Asks for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRequest {
    /// How input is held; the configured mode when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "aligned")]
    pub mode: Option<Mode>,
    /// A name: it makes the checkpoint a savepoint, which retention keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
}

/// A checkpoint was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointAccepted {
    /// Its epoch: the first attempt's. Its detail names the attempt that follows, should it fail.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Where it stands: TRIGGERED, or further when an earlier request with the same Idempotency-Key began it.
    pub status: CheckpointStatus,
    /// How input is held.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// Its name, for a savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
}

/// Where a checkpoint stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CheckpointStatus {
    /// Accepted; nobody was asked to prepare yet.
    Triggered,
    /// Under way.
    InProgress,
    /// Its manifest stands.
    Completed,
    /// It counts for nothing.
    Failed,
    /// It is being deleted.
    Deleting,
}

impl CheckpointStatus {
    /// True when nothing more will happen by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Triggered => "TRIGGERED",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Deleting => "DELETING",
        }
    }
}

impl fmt::Display for CheckpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `GET /v1/checkpoints` is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckpointQuery {
    /// Only checkpoints that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub status: Option<CheckpointStatus>,
    /// At most so many in the history; 50 when absent, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only epochs below this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// What `GET /v1/checkpoints/latest` is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LatestQuery {
    /// The last checkpoint that stands so; COMPLETED when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub status: Option<CheckpointStatus>,
}

/// One checkpoint in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointView {
    /// The attempt's number.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Where it stands.
    pub status: CheckpointStatus,
    /// What the coordinator is doing, while in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Its name, for a savepoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
    /// How input was held.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// When it was triggered.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// From the trigger to the end, or until now.
    pub duration_ms: u64,
    /// The longest pause of any process.
    pub pause_ms_max: f64,
    /// Bytes of state in all its parts.
    pub state_size: u64,
    /// Bytes that had to be written to the store for it.
    pub bytes_uploaded: u64,
    /// How many processes it is of.
    pub process_count: usize,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The attempt that follows this failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub retried_as: Option<Epoch>,
    /// The timeline it was taken on.
    #[schema(value_type = u64)]
    pub timeline: Timeline,
    /// The trace of the attempt, as 32 hexadecimal digits; log lines have it as `correlationId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Whether Kafka still has what it needs, and for how long; absent until that was looked at, and unless COMPLETED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restorable: Option<Restorable>,
}

/// One checkpoint with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub checkpoint: CheckpointView,
    /// The membership it was taken in.
    #[schema(value_type = u64)]
    pub view: View,
    /// The weakest guarantee of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub guarantee: Option<Guarantee>,
    /// Each process.
    pub processes: Vec<ProcessView>,
    /// Positions of groups that nobody was a member of.
    pub idle_positions: Vec<PositionView>,
    /// The coordinator's markers on source partitions.
    pub barriers: Vec<OffsetView>,
    /// The listed ends.
    pub ends: Vec<OffsetView>,
    /// Every topic it speaks of.
    pub topics: Vec<TopicView>,
    /// The Kafka cluster it was taken on.
    pub kafka_cluster_id: String,
}

/// One process's share of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// `service/instance`, or `service` when its instances share one state.
    pub process: String,
    /// The service.
    pub service: String,
    /// The instance, when the state is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its sidecars, as `service/instance`.
    pub sidecars: Vec<String>,
    /// How it learned that work was finished.
    #[schema(value_type = String)]
    pub capture: Capture,
    /// Whose state it is.
    #[schema(value_type = String)]
    pub scope: Scope,
    /// What the part is good for.
    #[schema(value_type = String)]
    pub guarantee: Guarantee,
    /// True when it was cut unaligned.
    pub unaligned: bool,
    /// From *go* to the first hold.
    pub start_delay_ms: f64,
    /// From the first hold to the last.
    pub alignment_ms: f64,
    /// From the last hold to quiet.
    pub quiesce_ms: f64,
    /// Fixing the state, inside the pause.
    pub sync_ms: f64,
    /// Writing the markers, inside the pause.
    pub mark_ms: f64,
    /// Copying and uploading the state, after the pause.
    pub async_ms: f64,
    /// First hold to release: what the application paid.
    pub pause_ms: f64,
    /// Bytes of its state.
    pub state_size: u64,
    /// Bytes that had to be written to the store for it.
    pub bytes_uploaded: u64,
    /// The provider of its state, when it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where its groups stood.
    pub positions: Vec<PositionView>,
    /// Where its markers are.
    pub markers: Vec<MarkerView>,
}

/// Where a group stood on a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PositionView {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The offset of the next record; null where the group had none.
    pub offset: Option<i64>,
}

/// A marker of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkerView {
    /// The instance whose sidecar wrote it.
    pub instance: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// Where it is.
    pub offset: i64,
    /// True when it was written before a first Produce while the epoch was open.
    pub late: bool,
}

/// An offset on a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OffsetView {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A topic as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Kafka's id of it.
    pub id: String,
    /// How many partitions it had.
    pub partitions: i32,
}

/// All checkpoints at a glance, and the newest one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointList {
    /// How many there are.
    pub counts: CheckpointCounts,
    /// The last of each kind.
    pub latest: LatestCheckpoints,
    /// How COMPLETED ones were.
    pub summary: Summary,
    /// Newest first.
    pub history: Vec<CheckpointView>,
}

/// How many checkpoints there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointCounts {
    /// All that are not deleted.
    pub total: usize,
    /// Triggered or under way.
    pub in_progress: usize,
    /// Those that can be restored.
    pub completed: usize,
    /// Those that failed.
    pub failed: usize,
    /// Restores that completed.
    pub restored: usize,
}

/// The last checkpoint of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatestCheckpoints {
    /// The last that completed.
    pub completed: Option<CheckpointView>,
    /// The last that failed.
    pub failed: Option<CheckpointView>,
    /// The last completed one with a name.
    pub savepoint: Option<CheckpointView>,
    /// The one restored last, if it is still there.
    pub restored: Option<CheckpointView>,
}

/// How COMPLETED checkpoints were, over all that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// From trigger to manifest.
    pub duration_ms: Spread,
    /// The longest pause of any process.
    pub pause_ms: Spread,
    /// Bytes of state.
    pub state_size: Spread,
    /// Bytes written to the store.
    pub bytes_uploaded: Spread,
}

/// How a quantity is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The mean.
    pub avg: f64,
    /// The median.
    pub p50: f64,
    /// What one in a hundred exceeds.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// How `values` are spread; all zero when there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        // The nearest rank: the least value that at least this share does not exceed.
        let rank = |share: f64| {
            let at = (share * values.len() as f64).ceil() as usize;
            values[at.clamp(1, values.len()) - 1]
        };
        Self {
            min,
            avg: values.iter().sum::<f64>() / values.len() as f64,
            p50: rank(0.5),
            p99: rank(0.99),
            max,
        }
    }
}

/// What reading a whole checkpoint found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReport {
    /// The checkpoint.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// True when it can be restored.
    pub whole: bool,
    /// Parts that were read.
    pub parts: u64,
    /// Chunks they are made of.
    pub chunks: u64,
    /// Bytes of state that were read and fit.
    pub state_bytes: u64,
    /// What does not fit.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            (spread.min, spread.p50, spread.p99, spread.max),
            (1.0, 100.0, 198.0, 200.0)
        );
        assert_eq!(Spread::of(Vec::new()), Spread::default());
        assert_eq!(Spread::of(vec![7.0]).p99, 7.0);
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        let refused = serde_json::from_str::<CheckpointRequest>(r#"{"mod":"aligned"}"#);
        assert!(refused.unwrap_err().to_string().contains("mod"));
    }
}
