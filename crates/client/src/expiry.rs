//! Whether a checkpoint can still be restored, as far as Kafka's logs are concerned, and for how long.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a checkpoint stands with the logs that it refers to, as they were when they were last looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restorable {
    /// Whether it can be restored.
    pub state: RestorableState,
    /// When Kafka is estimated to remove what it needs; absent: no limit is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The partition that comes first, as `topic-0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// What removes it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a checkpoint can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestorableState {
    /// Everything it needs is in the log.
    Yes,
    /// It is, and will not be for long.
    Expiring,
    /// Something is gone.
    No,
}

impl RestorableState {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Expiring => "expiring",
            Self::No => "no",
        }
    }
}

impl fmt::Display for RestorableState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
