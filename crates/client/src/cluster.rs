//! What is running: sidecars, services, and who reads and writes what.

use std::fmt;

use cutline_model::{Capture, Scope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a sidecar stands to this admin API.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SidecarState {
    /// Registered and connected.
    Connected,
    /// Connected and cut off by a restore.
    Fenced,
    /// Connected, and its registration was not read yet.
    Unregistered,
    /// Registered and out of reach.
    Lost,
}

impl SidecarState {
    /// The word on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Fenced => "fenced",
            Self::Unregistered => "unregistered",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for SidecarState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SidecarView {
    /// Its service.
    pub service: String,
    /// Its instance.
    pub instance: String,
    /// Which run.
    pub incarnation: String,
    /// How it stands.
    pub state: SidecarState,
    /// Whose state is one state.
    #[schema(value_type = String)]
    pub scope: Scope,
    /// How it captures; absent when it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub capture: Option<Capture>,
    /// The providers of its state.
    pub providers: Vec<String>,
    /// Where it listens for its application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The version of its program, where it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Since when it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub connected_at: Option<Timestamp>,
    /// Open connections of its application.
    pub app_connections: u32,
    /// The last record of the control topic that it has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<i64>,
    /// Group members behind it.
    pub groups: Vec<GroupView>,
    /// Partitions its application reads, as `topic-partition`.
    pub reads: Vec<String>,
    /// Topics its service produces to.
    pub writes: Vec<String>,
}

/// A group, or the part of it that is behind one sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// The group.
    pub group: String,
    /// Its members.
    pub members: Vec<MemberView>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// Kafka's member id.
    pub member: String,
    /// The sidecar it is behind, as `service/instance`; absent: behind none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<String>,
    /// What is assigned to it, as `topic-partition`; empty where it was not asked for.
    #[serde(default)]
    pub assignment: Vec<String>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Its name.
    pub service: String,
    /// Instances that run.
    pub instances: Vec<String>,
    /// True when it has state to record.
    pub has_state: bool,
    /// True while a restore has it cut off.
    pub fenced: bool,
    /// Its groups.
    pub groups: Vec<String>,
    /// Topics its groups and instances read.
    pub reads: Vec<String>,
    /// Topics it ever produced to.
    pub writes: Vec<String>,
}

/// Who reads and writes what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopologyView {
    /// Every service.
    pub services: Vec<ServiceView>,
    /// Every topic some service reads or writes.
    pub topics: Vec<TopicLink>,
    /// Every group of a service, as the broker describes it.
    pub groups: Vec<GroupView>,
    /// The timeline in force.
    pub timeline: u64,
    /// How many partitions have masks in force.
    pub masked_partitions: usize,
    /// How far behind the groups are that have committed anything, as of a few seconds ago at most.
    #[serde(default)]
    pub lag: Vec<GroupLag>,
    /// Why `lag` could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_problem: Option<String>,
}

/// How far behind a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// Offsets between what it has committed and the ends, over all partitions. Markers of transactions have offsets too.
    pub lag: u64,
    /// Each partition it has committed on.
    pub partitions: Vec<PartitionLag>,
}

/// How far behind a group is on one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
    /// The offset of the next record, as committed.
    pub committed: i64,
    /// The end: one past the last replicated record.
    pub end: i64,
    /// What lies between.
    pub lag: u64,
}

/// One topic between services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicLink {
    /// Its name.
    pub topic: String,
    /// How many partitions it has; 0 when it does not exist.
    pub partitions: usize,
    /// Services that write it.
    pub writers: Vec<String>,
    /// Services that read it.
    pub readers: Vec<String>,
}

/// A sidecar that was evicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvictedView {
    /// Its service.
    pub service: String,
    /// Its instance.
    pub instance: String,
    /// The run that is over.
    pub incarnation: String,
    /// How long it may take until it has surely stopped; no checkpoint begins before.
    pub settles_in_ms: u64,
}
