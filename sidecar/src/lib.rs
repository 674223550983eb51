//! The sidecar: everything an application says to Kafka passes through it, and what the core decides is done here.

pub mod config;
pub mod control;
mod desk;
pub mod epoch;
pub mod http;
pub mod link;
pub mod proxy;
pub mod run;
pub mod setup;
