//! What changes, as server-sent events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kind of the event that says: events before this one are no longer had. Read the present state again.
pub const EVENT_RESET: &str = "reset";

/// Something changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its id, for `Last-Event-ID`.
    pub id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What kind of change, such as `checkpoint.completed`.
    pub kind: String,
    /// What belongs to it: epoch, restore, sidecar, …
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}
