//! What people install: the Helm charts and the compose file, rendered as they would be and judged by the real tools.
//!
//! Nothing of it needs a cluster or a Docker engine.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod alerts;
mod chart;
mod render;
mod settings;
mod sidecar;
mod values;
