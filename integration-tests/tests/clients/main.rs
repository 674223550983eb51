//! Other Kafka clients through a sidecar: the same job done directly and through it gives the same.
//!
//! `CUTLINE_CLIENTS=full` also tries the oldest Kafka and Java client supported, and writes the table in docs/clients.md.

mod driver;
mod idle;
mod log;
mod matrix;
mod records;
mod same;
mod survive;
mod tools;
