//! A repository in a real S3: the suite of every backend, and what only S3 does.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod backend;
mod encryption;
mod faults;
#[path = "../../../crates/store/tests/suite/mod.rs"]
mod suite;
#[path = "../../../crates/store/tests/world/mod.rs"]
mod world;
