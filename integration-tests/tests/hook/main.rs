//! Hooks: bank B's by itself, and the examples people begin with, one in each language, behind a sidecar.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod bank;
mod examples;
mod tally;
