//! One record of the control topic: its key, which compaction keeps the last of, and its JSON value.
//!
//! A reader skips records it does not know (a newer version's) and keeps counting offsets past them.

use cutline_model::{
    GroupId, Incarnation, Offset, RangeSet, Scope, ServiceName, SidecarId, Timeline, TopicName,
    TopicPartition,
};
use serde::{Deserialize, Serialize};

/// The control topic's name for `deployment`.
#[must_use]
pub fn topic_name(deployment: &str) -> String {
    format!("__cutline.{deployment}")
}

/// A sidecar's registration: written before it forwards anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Who.
    pub sidecar: SidecarId,
    /// Which run.
    pub incarnation: Incarnation,
    /// Whose state is one state.
    pub scope: Scope,
    /// True when it has state to record.
    pub has_state: bool,
    /// True when this run is over: it said so, or was evicted after having been out of reach for longer than it may
    /// forward without the control topic.
    #[serde(default)]
    pub gone: bool,
}

/// Services whose applications are cut off while they are put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The restore.
    pub restore: String,
    /// The services.
    pub services: Vec<ServiceName>,
}

/// A partition that unrestored readers may not read past while a restore runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The partition.
    pub partition: TopicPartition,
    /// Nothing from here on is delivered.
    pub offset: Offset,
}

/// What is masked of one writer on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked {
    /// The writer.
    pub service: ServiceName,
    /// The partition.
    pub partition: TopicPartition,
    /// The topic's id; a topic of the same name with another id is another topic.
    pub topic_id: String,
    /// The offsets.
    pub ranges: RangeSet,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A sidecar runs, or no longer does.
    Sidecar(Registered),
    /// A service produces to a topic; written before its first Produce there passes.
    Output {
        /// The service.
        service: ServiceName,
        /// The topic.
        topic: TopicName,
    },
    /// A producer id belongs to a service; written before the response that carries it is passed on.
    Producer {
        /// The service.
        service: ServiceName,
        /// Kafka's producer id.
        producer_id: i64,
        /// The transactional id, for transactional producers.
        transactional_id: Option<String>,
    },
    /// A group belongs to a service, also when no instance runs.
    Group {
        /// The service.
        service: ServiceName,
        /// The group.
        group: GroupId,
    },
    /// A service that had no instances is none any more. Void when it has.
    Forgotten {
        /// The service.
        service: ServiceName,
    },
    /// The fence in force, or none.
    Fence {
        /// What is fenced.
        fence: Option<Fence>,
    },
    /// The holds at a bound in force, or none.
    Holds {
        /// For which restore.
        restore: String,
        /// The holds.
        holds: Vec<Hold>,
    },
    /// The timeline and every mask in force on it: replaces all masks before.
    Timeline {
        /// Its number.
        timeline: Timeline,
        /// The masks.
        masks: Vec<Masked>,
    },
    /// Written to be read past.
    Probe {
        /// By whom.
        by: String,
    },
}

/// A value that is no record of this version.
#[derive(Debug, thiserror::Error)]
#[error("not a control record of this version: {0}")]
pub struct RecordError(#[from] serde_json::Error);

impl Record {
    /// The key: the last record of a key is the one that counts.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Sidecar(registered) => format!("sidecar/{}", registered.sidecar),
            Self::Output { service, topic } => format!("output/{service}/{topic}"),
            Self::Producer {
                service,
                producer_id,
                ..
            } => format!("producer/{service}/{producer_id}"),
            Self::Group { service, group } => format!("group/{service}/{group}"),
            Self::Forgotten { service } => format!("forgotten/{service}"),
            Self::Fence { .. } => "fence".to_owned(),
            Self::Holds { .. } => "holds".to_owned(),
            Self::Timeline { .. } => "timeline".to_owned(),
            Self::Probe { by } => format!("probe/{by}"),
        }
    }

    /// The value.
    ///
    /// # Panics
    /// Never: every record has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain data with string keys")
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When it is no record of this version.
    pub fn from_json(value: &[u8]) -> Result<Self, RecordError> {
        Ok(serde_json::from_slice(value)?)
    }
}
