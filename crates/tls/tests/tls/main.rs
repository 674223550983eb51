//! Certificates as they are read, shown, refused and replaced: whole handshakes, in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod authority;
mod files;
mod handshake;
mod replaced;
