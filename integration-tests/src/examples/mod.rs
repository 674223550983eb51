//! The examples beside the two banks: a mirror of one stream in two databases, and a pipeline with a join.
//!
//! Each is its services, the ways to look at their state, and what its auditor counts. The order of events is for tests and the demo.

mod crew;
mod cut;
mod mirror;
mod pipeline;

use std::time::Duration;

pub use crew::{Crew, CrewOptions, PARTITIONS, Role};
pub use cut::{Cut, Positions};
pub use mirror::{Mirror, MirrorCount};
pub use pipeline::{Pipeline, PipelineCount};

/// How long everything may take to settle after the load ended.
pub const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
