//! The identity of a marker on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The producer id and epoch under which an empty transaction commits; its COMMIT control batch is the marker.
/// Used as the armed pair of one sidecar (or of the coordinator, for barriers) in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MarkerId {
    /// Kafka's producer id.
    pub producer_id: i64,
    /// Kafka's producer epoch; raised by each `InitProducerId`.
    pub producer_epoch: i16,
}

impl fmt::Display for MarkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer_id, self.producer_epoch)
    }
}
