//! The admin API of Cutline: the control plane's shell.
//!
//! It drives the protocol's coordinator for one epoch at a time, keeps the registry of sidecars, answers the REST
//! interface and runs restores. What it knows about finished work it reads from the store; what sidecars must obey
//! without it stands in the control topic. It holds no rule of the protocol.

pub mod access;
pub mod app;
pub mod busy;
pub mod config;
pub mod coordination;
pub mod dashboard;
pub mod detail;
pub mod diagnosis;
pub mod events;
pub mod expiry;
pub mod history;
pub mod inject;
pub mod lag;
pub mod leader;
pub mod link;
pub mod metrics;
pub mod peer;
pub mod problem;
pub mod ready;
pub mod registry;
pub mod restore;
pub mod routes;
pub mod run;
mod serve;
pub mod settings;
pub mod shared;
pub mod table;
pub mod tls;
