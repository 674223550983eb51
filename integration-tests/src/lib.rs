//! The harness: real parts, started and stopped as a test needs them.
//!
//! It promises that nothing it started outlives the test process, however that ends, that every wait has a deadline, and that the
//! logs of a failed run are kept and named. It knows no rule of the protocol, and mocks nothing.
//!
//! Everything here panics when a part does not come up: that is a failed test, and the message says where the logs are.

pub mod admin;
pub mod apart;
pub mod bank;
pub mod binaries;
pub mod browser;
pub mod certificates;
pub mod checkpoints;
pub mod clock;
pub mod disk;
pub mod docker;
pub mod events;
pub mod examples;
pub mod flow;
pub mod front;
pub mod groups;
pub mod http;
pub mod https;
pub mod kafka;
pub mod kubernetes;
pub mod naive;
pub mod narrator;
pub mod otlp;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod readme;
pub mod redis;
pub mod restores;
pub mod run;
pub mod s3;
pub mod services;
pub mod sidecar;
pub mod tokens;
pub mod topics;
pub mod toxiproxy;
pub mod wait;

pub use admin::{Admin, AdminOptions};
pub use bank::{Bank, BankOptions};
pub use browser::Browser;
pub use clock::Clock;
pub use disk::Disk;
pub use docker::Docker;
pub use front::{Front, Trouble};
pub use kafka::{Kafka, KafkaOptions};
pub use kubernetes::Kubernetes;
pub use narrator::{Narrator, Verdict};
pub use otlp::{OtlpReceiver, ReceivedSpan};
pub use postgres::Postgres;
pub use process::{Process, ProcessSpec};
pub use prometheus::Prometheus;
pub use redis::{Redis, RedisOptions};
pub use run::Run;
pub use s3::S3;
pub use services::Services;
pub use sidecar::{Sidecar, SidecarOptions};
pub use tokens::Tokens;
pub use topics::Topics;
pub use toxiproxy::{Toxic, Toxiproxy};
pub use wait::{wait_at_most, wait_for, wait_until};
