//! What people install and are told to type: the Helm charts and the compose file, rendered as they would be and judged by the
//! real tools; and the README's walk, on a real Kafka.
//!
//! Nothing of it needs a cluster or a Docker engine.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod alerts;
mod by_hand;
mod chart;
mod codes;
mod commands;
mod compose;
mod dependencies;
mod inject;
mod promises;
mod readme;
mod render;
mod sbom;
mod settings;
mod sidecar;
mod tls;
mod values;
