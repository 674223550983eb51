//! Kafka's bytes: frames, the record-batch scanner, masks, and a raw client.
//!
//! A frame stays opaque until someone needs it; on the data path record batches are never decompressed, decoded or
//! re-encoded, which [`records`] does, within limits, for whoever reads a log aside. The crate knows how things look on the
//! wire and what brokers answer. It holds no rule of the protocol: what a marker means and who may go on is decided elsewhere.

pub mod api;
pub mod append;
pub mod batch;
pub mod client;
mod decompress;
pub mod fetch;
pub mod frame;
pub mod login;
pub mod marker;
pub mod mask;
pub mod passing;
pub mod produce;
pub mod reader;
pub mod records;
pub mod stream;
