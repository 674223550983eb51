//! The schedule of periodic checkpoints.

use cutline_model::Mode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Replaces the schedule. What is absent becomes as configured, except the interval: without one nothing is scheduled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// From one trigger to the next; null: no periodic checkpoints.
    #[serde(default)]
    pub interval_ms: Option<u64>,
    /// The least time from the end of one checkpoint to the next trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_pause_ms: Option<u64>,
    /// How input is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mode: Option<Mode>,
}

/// The schedule in force. It holds until the admin API restarts, or with Redis until that is emptied; what shall last belongs into its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// From one trigger to the next; null: no periodic checkpoints.
    pub interval_ms: Option<u64>,
    /// The least time from the end of one checkpoint to the next trigger.
    pub min_pause_ms: u64,
    /// How input is held.
    #[schema(value_type = String)]
    pub mode: Mode,
    /// When the next one is triggered, at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// Scheduled checkpoints that failed since the last success.
    pub failures: u32,
}
