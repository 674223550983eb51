//! Redis: keys as state, and what admin APIs share through it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod coordination;
mod expiry;
mod keys;
mod refusals;
mod rollback;
mod world;
