//! A Kafka that asks who one is: TLS, SASL and its own authorizer, real ones.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

mod app;
mod certificates;
mod cluster;
mod lacking;
mod names;
mod refused;
mod renewed;
mod rights;
mod rollback;
mod world;
