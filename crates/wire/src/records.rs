//! Records inside batches: decoding and encoding.
//!
//! For whoever reads a log aside, such as a restore of a table. Nothing on the data path comes here: there batches are
//! never decompressed. Headers keep their order and may repeat. A batch takes memory for what is in it, never for what it
//! claims, and that within limits.

use bytes::{BufMut, Bytes, BytesMut};
use cutline_model::{MarkerId, Offset};
use thiserror::Error;

use crate::{
    batch::{Batch, COMPRESSION, CRC_AT, HEADER_BYTES, OVERHEAD_BYTES, TRANSACTIONAL},
    decompress::decompress,
    reader::Malformed,
};

pub use crate::decompress::BATCH_RECORDS_BYTES_MAX;

const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const LOG_APPEND_TIME: i16 = 0x08;
/// The most records and headers that one batch may have: each takes some hundred bytes here, and as few as two there.
pub const BATCH_PARTS_MAX: usize = 2_000_000;

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub key: Bytes,
    /// Its value, or null.
    pub value: Option<Bytes>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands; not written, the broker gives one.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key, or null.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

/// Why the records of a batch cannot be had.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// The bytes are not records.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The message formats 0 and 1.
    #[error("the batch is of message format {0}: rewrite the topic in format 2")]
    OldFormat(i8),
    /// A codec that nobody knows, or bytes that it does not take.
    #[error("the batch cannot be decompressed (codec {codec}): {detail}")]
    Compression {
        /// Kafka's number of it.
        codec: i16,
        /// What is wrong.
        detail: String,
    },
}

/// The records of `batch`, whose bytes are `bytes`; those of a control batch too.
///
/// # Errors
/// When they cannot be read.
pub fn decode(batch: &Batch, bytes: &Bytes) -> Result<Vec<LogRecord>, RecordsError> {
    if batch.magic < 2 {
        return Err(RecordsError::OldFormat(batch.magic));
    }
    let malformed = |what| Malformed { what, at: 0 };
    if bytes.len() < HEADER_BYTES {
        return Err(malformed("batch header").into());
    }
    let number = |at: usize, count: usize| {
        let wide = bytes[at..at + count].iter();
        wide.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let attributes = number(ATTRIBUTES_AT, 2) as i16;
    let base_timestamp = number(BASE_TIMESTAMP_AT, 8) as i64;
    let codec = attributes & COMPRESSION;
    let records = decompress(codec, bytes.slice(HEADER_BYTES..))
        .map_err(|detail| RecordsError::Compression { codec, detail })?;
    let count = usize::try_from(batch.record_count).map_err(|_| malformed("record count"))?;
    let mut cursor = Cursor {
        bytes: &records,
        at: 0,
        parts: 0,
    };
    let mut decoded = Vec::new();
    for _ in 0..count {
        let mut record = cursor.record(batch.base_offset, base_timestamp)?;
        if attributes & LOG_APPEND_TIME != 0 {
            record.timestamp_ms = batch.max_timestamp;
        }
        decoded.push(record);
    }
    Ok(decoded)
}

/// A batch of `records`, uncompressed, for `producer` to append next after `base_sequence` records in this epoch.
///
/// # Panics
/// When there are no records, or more than fit in a batch.
#[must_use]
pub fn encode(
    records: &[LogRecord],
    producer: MarkerId,
    base_sequence: i32,
    transactional: bool,
) -> Bytes {
    let first = records.first().expect("a batch has a record");
    let base = first.timestamp_ms;
    let latest = records.iter().map(|record| record.timestamp_ms).max();
    let count = i32::try_from(records.len()).expect("a batch is far smaller than 2 GiB");
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(0);
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    let from = batch.len();
    batch.put_i16(if transactional { TRANSACTIONAL } else { 0 });
    batch.put_i32(count - 1);
    batch.put_i64(base);
    batch.put_i64(latest.unwrap_or(base));
    batch.put_i64(producer.producer_id);
    batch.put_i16(producer.producer_epoch);
    batch.put_i32(base_sequence);
    batch.put_i32(count);
    for (at, record) in (0_i64..).zip(records) {
        let body = encode_record(record, at, base);
        put_varint(&mut batch, body.len() as i64);
        batch.put_slice(&body);
    }
    let length = i32::try_from(batch.len() - OVERHEAD_BYTES).expect("a batch is below 2 GiB");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[from..]);
    batch[CRC_AT..from].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn encode_record(record: &LogRecord, offset_delta: i64, base: i64) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i8(0);
    put_varint(&mut body, record.timestamp_ms.wrapping_sub(base));
    put_varint(&mut body, offset_delta);
    put_bytes(&mut body, record.key.as_ref());
    put_bytes(&mut body, record.value.as_ref());
    put_varint(&mut body, record.headers.len() as i64);
    for header in &record.headers {
        put_bytes(&mut body, Some(&header.key));
        put_bytes(&mut body, header.value.as_ref());
    }
    body
}

fn put_bytes(into: &mut BytesMut, bytes: Option<&Bytes>) {
    let Some(bytes) = bytes else {
        return put_varint(into, -1);
    };
    put_varint(into, bytes.len() as i64);
    into.put_slice(bytes);
}

/// Zigzag: small numbers of either sign take few bytes.
fn put_varint(into: &mut BytesMut, value: i64) {
    let mut left = (value << 1 ^ value >> 63) as u64;
    while left >= 0x80 {
        into.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    into.put_u8(left as u8);
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
    /// Records and headers so far.
    parts: usize,
}

impl Cursor<'_> {
    fn record(&mut self, base: Offset, base_timestamp: i64) -> Result<LogRecord, Malformed> {
        self.count()?;
        let length = self.length("record length")?;
        let end = self.at.checked_add(length.unwrap_or(0));
        let end = end.filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(self.malformed("record length"))?;
        self.at += 1;
        let timestamp_delta = self.varint("timestamp delta")?;
        let offset_delta = self.varint("offset delta")?;
        let key = self.bytes_or_null("key")?;
        let value = self.bytes_or_null("value")?;
        let mut headers = Vec::new();
        for _ in 0..self.length("headers")?.unwrap_or(0) {
            self.count()?;
            let key = self.bytes_or_null("header key")?;
            let key = key.ok_or(self.malformed("header key"))?;
            let value = self.bytes_or_null("header value")?;
            headers.push(Header { key, value });
        }
        if self.at != end {
            return Err(self.malformed("record"));
        }
        Ok(LogRecord {
            offset: Offset(base.0.saturating_add(offset_delta)),
            timestamp_ms: base_timestamp.saturating_add(timestamp_delta),
            key,
            value,
            headers,
        })
    }

    fn count(&mut self) -> Result<(), Malformed> {
        self.parts += 1;
        match self.parts > BATCH_PARTS_MAX {
            true => Err(self.malformed("batch: more records and headers than one may have, at")),
            false => Ok(()),
        }
    }

    fn bytes_or_null(&mut self, what: &'static str) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = self.length(what)? else {
            return Ok(None);
        };
        let end = self.at.checked_add(length);
        let end = end.filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(self.malformed(what))?;
        let bytes = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(Some(bytes))
    }

    /// A length; `None` for null.
    fn length(&mut self, what: &'static str) -> Result<Option<usize>, Malformed> {
        match self.varint(what)? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| self.malformed(what)),
        }
    }

    fn varint(&mut self, what: &'static str) -> Result<i64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(self.malformed(what))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(self.malformed(what))
    }

    fn malformed(&self, what: &'static str) -> Malformed {
        let at = self.at;
        Malformed { what, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{batches, checksum_holds};

    fn record(offset: i64, key: &str, value: Option<&str>, timestamp_ms: i64) -> LogRecord {
        let header = |value: Option<&'static str>| Header {
            key: Bytes::from_static(b"h"),
            value: value.map(Bytes::from),
        };
        LogRecord {
            offset: Offset(offset),
            timestamp_ms,
            key: Some(Bytes::from(key.to_owned())),
            value: value.map(|value| Bytes::from(value.to_owned())),
            headers: vec![header(Some("1")), header(None), header(Some("1"))],
        }
    }

    #[test]
    fn records_come_back_with_their_headers_and_any_timestamps() {
        let producer = MarkerId {
            producer_id: 7,
            producer_epoch: 2,
        };
        // More than the 24.8 days that 32 bits of milliseconds hold, in both directions.
        let records = [
            record(0, "a", Some("x"), 5_000_000_000),
            record(1, "b", None, 0),
            record(2, "", Some(""), 1_700_000_000_000),
        ];
        let bytes = encode(&records, producer, 9, true);
        assert!(checksum_holds(&bytes));
        let batch = batches(&bytes).next().unwrap();
        assert_eq!(
            (batch.producer_id, batch.producer_epoch, batch.base_sequence),
            (7, 2, 9)
        );
        assert!(batch.transactional && batch.control.is_none());
        assert_eq!(batch.max_timestamp, 1_700_000_000_000);
        assert_eq!(decode(&batch, &bytes).unwrap(), records);
    }

    #[test]
    fn broken_bytes_are_errors() {
        let producer = MarkerId {
            producer_id: -1,
            producer_epoch: -1,
        };
        let whole = encode(&[record(0, "key", Some("value"), 3)], producer, -1, false);
        let batch = batches(&whole).next().unwrap();
        for at in HEADER_BYTES..whole.len() {
            assert!(decode(&batch, &whole.slice(..at)).is_err(), "cut at {at}");
            let mut broken = BytesMut::from(&whole[..]);
            broken[at] ^= 0xff;
            // It may still be something, but never a panic.
            let _ = decode(&batch, &broken.freeze());
        }
        for codec in 1..=7_u8 {
            let mut broken = BytesMut::from(&whole[..]);
            broken[ATTRIBUTES_AT + 1] |= codec;
            assert!(decode(&batch, &broken.freeze()).is_err(), "codec {codec}");
        }
    }
}
