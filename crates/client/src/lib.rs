//! What outsiders and insiders of a Cutline installation say to its admin API: REST types with their HTTP client, and
//! the conversation between sidecar and admin API.
//!
//! Types only, and one thin client: no rule of the protocol and no knowledge of how the admin API does its work.

pub mod link;
