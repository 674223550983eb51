//! The mask: what stands on the wire in place of a batch that a restored world must never see.
//!
//! It is a COMMIT control batch without a producer over the same offsets. Clients pass over control batches and go on
//! after their last offset; having no producer, it ends nobody's transaction.

use bytes::Bytes;

use crate::batch::{Batch, CRC_AT, CRC_COVERS_FROM};

/// Bytes of a mask, whatever it covers.
pub const MASK_BYTES: usize = 78;

// Transactional and control, uncompressed: what a transaction's end looks like.
const ATTRIBUTES: i16 = 0x30;
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;
const NO_SEQUENCE: i32 = -1;
const MAGIC: u8 = 2;
const LENGTH_COVERS_FROM: usize = 12;
// Length 16; no attributes; no deltas; key of 4: version 0, type COMMIT; value of 6: version 0, coordinator epoch 0;
// no headers. Lengths are zigzag varints.
const RECORD: [u8; 17] = [0x20, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0];

/// The mask over the offsets of `batch`.
#[must_use]
pub fn mask(batch: &Batch) -> Bytes {
    let span = i32::try_from(batch.last_offset.0 - batch.base_offset.0)
        .expect("a batch's last offset is its base plus an i32");
    let timestamp = batch.max_timestamp.max(0);
    let mut bytes = Vec::with_capacity(MASK_BYTES);
    bytes.extend(batch.base_offset.0.to_be_bytes());
    bytes.extend(((MASK_BYTES - LENGTH_COVERS_FROM) as i32).to_be_bytes());
    bytes.extend(batch.leader_epoch.to_be_bytes());
    bytes.push(MAGIC);
    bytes.extend([0; 4]);
    bytes.extend(ATTRIBUTES.to_be_bytes());
    bytes.extend(span.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(NO_PRODUCER_ID.to_be_bytes());
    bytes.extend(NO_PRODUCER_EPOCH.to_be_bytes());
    bytes.extend(NO_SEQUENCE.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(RECORD);
    let checksum = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]).to_be_bytes();
    bytes[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&checksum);
    debug_assert_eq!(bytes.len(), MASK_BYTES, "a mask has one size");
    bytes.into()
}
