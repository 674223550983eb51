//! Other Kafka clients through a sidecar: the same job done directly and through it gives the same.
//!
//! `CUTLINE_CLIENTS=full` also tries the oldest Kafka and writes the tables in docs/clients.md.

mod drain;
mod driver;
mod idle;
mod log;
mod matrix;
mod page;
mod records;
mod same;
mod survive;
mod tools;
