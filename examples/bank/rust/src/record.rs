//! What travels through the topics: an order from the outside, or a transfer from the other bank. Both have one shape.
//!
//! A record is named by who sent it, in which term, and where in that sender's sequence to this partition; no two sends share a name.

use serde::{Deserialize, Serialize};

/// One order or transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The shard, or the load, that sent it.
    pub from: String,
    /// The sender's term: new whenever it took up its state.
    pub term: String,
    /// Where it stands in the sender's sequence to this partition; goes on across terms.
    pub seq: u64,
    /// The account it concerns.
    pub account: usize,
    /// How much money.
    pub amount: i64,
    /// How often it may still be passed on.
    pub hops: u32,
}

/// A record on its way into a partition of the other bank's transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The partition of the other bank's transfers.
    pub partition: i32,
    /// The record.
    pub record: Record,
}
