//! What outsiders and insiders of a Cutline installation say to its admin API: REST types with their HTTP client, and
//! the conversation between sidecar and admin API.
//!
//! Types only, and one thin client: no rule of the protocol and no knowledge of how the admin API does its work. Requests
//! refuse fields they do not know; answers may gain fields, which readers ignore.

pub mod link;

mod checkpoint;
mod cluster;
mod diagnosis;
mod event;
mod expiry;
mod http;
mod problem;
mod prune;
mod restore;
mod schedule;
mod whoami;

pub use checkpoint::{
    CheckpointAccepted, CheckpointCounts, CheckpointDetail, CheckpointList, CheckpointQuery,
    CheckpointRequest, CheckpointStatus, CheckpointView, LatestCheckpoints, LatestQuery,
    MarkerView, OffsetView, PositionView, ProcessView, Spread, Summary, TopicView, VerifyReport,
};
pub use cluster::{
    EvictedView, GroupLag, GroupView, MemberView, PartitionLag, ServiceView, SidecarState,
    SidecarView, TopicLink, TopologyView,
};
pub use diagnosis::{DiagnosisView, Finding, Verdict};
pub use event::{EVENT_RESET, Event};
pub use expiry::{Restorable, RestorableState};
pub use http::{AdminClient, AdminError, EventStream};
pub use problem::ProblemDetails;
pub use prune::{GarbageView, PruneEntry, PruneReport, PruneRequest};
pub use restore::{
    Contamination, PlanProblem, PlannedMask, PlannedPosition, PlannedService, PlannedState,
    RestoreAnswer, RestoreJournalEntry, RestorePlan, RestoreRequest, RestoreStatus, RestoreView,
};
pub use schedule::{ScheduleRequest, ScheduleView};
pub use whoami::WhoamiView;
