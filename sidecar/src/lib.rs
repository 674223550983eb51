//! The sidecar: everything an application says to Kafka passes through it, and what the core decides is done here.

pub mod config;
pub mod http;
pub mod proxy;
pub mod control;
pub mod epoch;
pub mod link;
pub mod run;
pub mod setup;
