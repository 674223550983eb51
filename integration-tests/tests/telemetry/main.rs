//! What the programs tell of themselves, heard by the real thing: traces by OpenTelemetry's own receiver, metrics by Prometheus, and
//! log lines by anybody who reads JSON.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod away;
mod dashboard;
mod lines;
mod traces;
mod world;
