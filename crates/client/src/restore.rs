//! Restores as the REST interface shows them: the request, the plan, and one that runs or ran.

use std::fmt;

use cutline_model::{Epoch, Timeline};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{OffsetView, PositionView};

/// Asks for services to be put back to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The checkpoint.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Which services; all of the checkpoint's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// True: answer the plan and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// True (default): take a checkpoint of the present state first, so that this restore can be undone.
    #[serde(default = "yes")]
    pub safety_checkpoint: bool,
    /// True: go on although unrestored services have read what will be masked.
    #[serde(default)]
    pub allow_contamination: bool,
}

fn yes() -> bool {
    true
}

impl RestoreRequest {
    /// Asks for everything of `epoch` to be put back, after a safety checkpoint.
    #[must_use]
    pub fn of(epoch: Epoch) -> Self {
        Self {
            epoch,
            services: None,
            dry_run: false,
            safety_checkpoint: true,
            allow_contamination: false,
        }
    }
}

/// Where a restore stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestoreStatus {
    /// Planned and journaled; nothing stands still yet.
    Planned,
    /// Processes are stopped and cut off.
    Fencing,
    /// State and offsets are put back; from here on it only rolls forward.
    Restoring,
    /// Done.
    Completed,
    /// It could not be done; nothing was put back.
    Failed,
    /// The user ended it before anything was put back.
    Aborted,
}

impl RestoreStatus {
    /// True when nothing more will happen by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Aborted)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Fencing => "FENCING",
            Self::Restoring => "RESTORING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }
}

impl fmt::Display for RestoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a restore would do, or why it cannot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RestorePlan {
    /// The checkpoint.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// True when nothing stands against it.
    pub feasible: bool,
    /// What stands against it; empty when feasible.
    pub problems: Vec<PlanProblem>,
    /// What the user should know all the same.
    pub warnings: Vec<String>,
    /// The timeline it would leave.
    #[schema(value_type = u64)]
    pub timeline: Timeline,
    /// The services that would be put back.
    pub services: Vec<PlannedService>,
    /// Partitions that unrestored readers would be held on, and where.
    pub holds: Vec<OffsetView>,
    /// What would be masked, as far as it can be told before anything stands still.
    pub masks: Vec<PlannedMask>,
    /// Unrestored groups that have read what would be masked.
    pub contaminated: Vec<Contamination>,
}

/// A reason why a restore cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanProblem {
    /// The stable code.
    pub code: String,
    /// What stands against it, and what to do.
    pub detail: String,
}

/// One service of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedService {
    /// The service.
    pub service: String,
    /// State that would be put back.
    pub state: Vec<PlannedState>,
    /// Positions that would be committed.
    pub positions: Vec<PlannedPosition>,
}

/// State that would be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedState {
    /// Whose.
    pub process: String,
    /// The provider that puts it back.
    pub provider: String,
    /// Bytes of it.
    pub state_size: u64,
}

/// A position that would be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedPosition {
    /// Where to.
    #[serde(flatten)]
    pub position: PositionView,
    /// What is committed now; null where nothing is.
    pub committed_now: Option<i64>,
}

/// What would be masked of one writer on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedMask {
    /// The writer.
    pub service: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last, as things are now.
    pub to: i64,
}

/// An unrestored group that has read what would be masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contamination {
    /// Its service, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// What it should not have read begins here.
    pub from: i64,
    /// It has read up to here.
    pub delivered: i64,
}

/// The answer to `POST /v1/restores`: a restore that was begun, or the plan of a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RestoreAnswer {
    /// It was begun.
    Started(Box<RestoreView>),
    /// It was a dry run.
    Plan(Box<RestorePlan>),
}

/// One restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RestoreView {
    /// Its id.
    pub id: String,
    /// The checkpoint.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Where it stands.
    pub status: RestoreStatus,
    /// The last step it reached.
    pub step: String,
    /// The services put back.
    pub services: Vec<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// From the begin to the end, or until now.
    pub duration_ms: u64,
    /// Why it failed or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The checkpoint of the state it replaced, when one was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub safety_epoch: Option<Epoch>,
    /// The timeline it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub timeline: Option<Timeline>,
    /// Bytes of state put back.
    #[serde(default)]
    pub state_size: u64,
    /// Offsets that are masked by it.
    #[serde(default)]
    pub masked_offsets: u64,
    /// Unrestored groups that have read what is masked now.
    #[serde(default)]
    pub contaminated: Vec<Contamination>,
    /// What the user should know, such as effects that cannot be rolled back.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Its trace, as 32 hexadecimal digits; log lines have it as `correlationId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Every step; only in the detail of one restore.
    #[serde(default)]
    pub journal: Vec<RestoreJournalEntry>,
}

/// A step of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreJournalEntry {
    /// Its place.
    pub seq: u64,
    /// When it was reached.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was reached.
    pub step: String,
}
