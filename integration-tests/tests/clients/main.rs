//! Other Kafka clients through a sidecar: the same job done directly and through it gives the same.

mod driver;
mod idle;
mod log;
mod records;
mod same;
mod tools;
