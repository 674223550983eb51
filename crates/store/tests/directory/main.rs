//! A repository in a directory: the suite of every backend, and what only a directory does.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod backend;
mod disk;
mod formats;
mod scratch;
#[path = "../suite/mod.rs"]
mod suite;
#[path = "../world/mod.rs"]
mod world;
