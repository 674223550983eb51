//! What outsiders send is read or refused: no panic, no memory by what it claims, nothing wrong taken for right.
//!
//! Each test is one target; CONTRIBUTING.md says how to run one for longer. `seeds` writes the corpus anew.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod hook;
mod records;
mod requests;
mod seeds;
mod store;
mod text;
