//! Restoring on a real Kafka behind real sidecars: what was rolled back is gone, what belongs to the cut is there, once.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod brokers;
mod changes;
mod crash;
mod exactly_once;
mod hard;
mod keeper;
mod ledger;
mod points;
mod refused;
mod shared;
mod store_down;
mod subset;
mod tables;
mod transaction;
mod whole;
mod world;
