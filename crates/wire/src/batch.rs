//! The record-batch header scanner: finds batches and what their headers say.
//!
//! It never decompresses and never looks at a record, with one exception: the single, uncompressed record of a
//! control batch, whose key tells COMMIT from ABORT. Broken bytes end the walk; they never panic it, loop it or make it
//! allocate.

use cutline_model::{MarkerId, Offset, OffsetRange};

use crate::reader::{Malformed, Reader};

/// Bytes of a version 2 batch header.
pub const HEADER_BYTES: usize = 61;
// Offset and length, which the length field does not count.
pub(crate) const OVERHEAD_BYTES: usize = 12;
const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const CRC_COVERS_FROM: usize = 21;
const ATTRIBUTES_AT: usize = CRC_COVERS_FROM;
const COUNT_AT: usize = HEADER_BYTES - 4;

pub(crate) const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
pub(crate) const COMPRESSION: i16 = 0x07;
// Offset, size, CRC, magic and attributes of a message of the old formats.
const OLD_HEADER_BYTES: usize = 18;

/// What a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// A control record of another kind.
    Other(i16),
}

/// What the header of one batch says, and which bytes are its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where its bytes begin, counted from the first byte scanned.
    pub start: usize,
    /// Where they end.
    pub end: usize,
    /// 2, or 0 and 1 for the old message formats, which are data without a producer.
    pub magic: i8,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record, whether or not compaction has left it there.
    pub last_offset: Offset,
    /// Records in it.
    pub record_count: i32,
    /// The epoch of the leader that appended it; −1 where unknown.
    pub leader_epoch: i32,
    /// −1 for producers without one.
    pub producer_id: i64,
    /// −1 for producers without one.
    pub producer_epoch: i16,
    /// The sequence number of its first record; −1 for producers without.
    pub base_sequence: i32,
    /// Milliseconds of the batch's highest timestamp.
    pub max_timestamp: i64,
    /// Part of a transaction.
    pub transactional: bool,
    /// What it says, for a control batch.
    pub control: Option<Control>,
}

impl Batch {
    /// The offsets it spans.
    #[must_use]
    pub fn offsets(&self) -> OffsetRange {
        OffsetRange::new(self.base_offset, self.last_offset.next())
    }

    /// The marker it is, when it is the COMMIT of a transaction.
    #[must_use]
    pub fn commit(&self) -> Option<MarkerId> {
        (self.control == Some(Control::Commit) && self.producer_id >= 0).then_some(MarkerId {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
        })
    }

    /// True when fewer records are in it than it spans offsets: compaction has been there.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        i64::from(self.record_count) < self.last_offset.0 - self.base_offset.0 + 1
    }
}

/// Walks over the batches of a records field. After the last whole batch, [`Batches::rest`] is what is left: empty,
/// or a batch that was cut off by the size of the response.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
    malformed: Option<Malformed>,
}

/// The batches in `bytes`, the records field of a Fetch response or a Produce request.
#[must_use]
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches {
        bytes,
        at: 0,
        malformed: None,
    }
}

impl Batches<'_> {
    /// Where the part begins that is no whole batch.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.at
    }

    /// Why the walk ended early, when the bytes were broken and not only cut off.
    #[must_use]
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }

    fn read(&mut self) -> Result<Option<Batch>, Malformed> {
        let Some(begun) = begun(self.bytes, self.at)? else {
            return Ok(None);
        };
        let Some(batch) = self.bytes.get(self.at..self.at + begun.size) else {
            return Ok(None);
        };
        if begun.magic >= 2 {
            header(batch, self.at, begun.base_offset, begun.magic).map(Some)
        } else {
            Ok(Some(old(
                begun.size,
                self.at,
                begun.base_offset,
                begun.magic,
            )))
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.malformed.is_some() {
            return None;
        }
        match self.read() {
            Ok(batch) => {
                self.at = batch.map_or(self.at, |batch| batch.end);
                batch
            }
            Err(malformed) => {
                self.malformed = Some(malformed);
                None
            }
        }
    }
}

/// How large a batch is and how much it holds, as far as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its bytes.
    pub size: usize,
    /// Its records of data; a control batch has none.
    pub records: u64,
}

/// What the batch says that begins with `bytes`; `None` where more of it is needed, [`HEADER_BYTES`] at most.
pub fn announced(bytes: &[u8]) -> Result<Option<Announced>, Malformed> {
    let Some(begun) = begun(bytes, 0)? else {
        return Ok(None);
    };
    if begun.magic < 2 {
        return Ok(Some(Announced {
            size: begun.size,
            records: 1,
        }));
    }
    let (Some(attributes), Some(count)) = (
        bytes.get(ATTRIBUTES_AT..).and_then(<[u8]>::first_chunk),
        bytes.get(COUNT_AT..).and_then(<[u8]>::first_chunk),
    ) else {
        return Ok(None);
    };
    let is_data = i16::from_be_bytes(*attributes) & CONTROL == 0;
    let count = u64::try_from(i32::from_be_bytes(*count)).unwrap_or(0);
    Ok(Some(Announced {
        size: begun.size,
        records: if is_data { count } else { 0 },
    }))
}

// What stands at the same place in every format.
struct Begun {
    base_offset: i64,
    size: usize,
    magic: i8,
}

fn begun(bytes: &[u8], at: usize) -> Result<Option<Begun>, Malformed> {
    let mut reader = Reader::starting_at(bytes, at, false);
    if reader.remaining() <= MAGIC_AT {
        return Ok(None);
    }
    let base_offset = reader.i64("base offset")?;
    let length = reader.i32("batch length")?;
    let malformed = Malformed {
        what: "batch length",
        at,
    };
    let size = usize::try_from(length).map_err(|_| malformed)? + OVERHEAD_BYTES;
    let magic = bytes[at + MAGIC_AT] as i8;
    let least = if magic >= 2 {
        HEADER_BYTES
    } else {
        OLD_HEADER_BYTES
    };
    if size < least {
        return Err(malformed);
    }
    Ok(Some(Begun {
        base_offset,
        size,
        magic,
    }))
}

fn header(batch: &[u8], start: usize, base_offset: i64, magic: i8) -> Result<Batch, Malformed> {
    let mut reader = Reader::starting_at(batch, OVERHEAD_BYTES, false);
    let leader_epoch = reader.i32("leader epoch")?;
    let _magic_and_crc = reader.take(5, "magic and checksum")?;
    let attributes = reader.i16("attributes")?;
    let last_offset_delta = reader.i32("last offset delta")?;
    let _base_timestamp = reader.i64("base timestamp")?;
    let max_timestamp = reader.i64("max timestamp")?;
    let producer_id = reader.i64("producer id")?;
    let producer_epoch = reader.i16("producer epoch")?;
    let base_sequence = reader.i32("base sequence")?;
    let record_count = reader.i32("record count")?;
    let malformed = Malformed {
        what: "offsets of a batch",
        at: start,
    };
    let last_offset = base_offset
        .checked_add(i64::from(last_offset_delta))
        .filter(|last| base_offset >= 0 && *last >= base_offset && *last < i64::MAX)
        .ok_or(malformed)?;
    let control = (attributes & CONTROL != 0).then(|| control(batch, attributes));
    Ok(Batch {
        start,
        end: start + batch.len(),
        magic,
        base_offset: Offset(base_offset),
        last_offset: Offset(last_offset),
        record_count,
        leader_epoch,
        producer_id,
        producer_epoch,
        base_sequence,
        max_timestamp,
        transactional: attributes & TRANSACTIONAL != 0,
        control,
    })
}

// A message of the old formats: one record, or a compressed set whose offset is its last record's.
fn old(size: usize, start: usize, offset: i64, magic: i8) -> Batch {
    let offset = Offset(offset.clamp(0, i64::MAX - 1));
    Batch {
        start,
        end: start + size,
        magic,
        base_offset: offset,
        last_offset: offset,
        record_count: 1,
        leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        max_timestamp: -1,
        transactional: false,
        control: None,
    }
}

fn control(batch: &[u8], attributes: i16) -> Control {
    let read = || -> Result<Control, Malformed> {
        let mut reader = Reader::starting_at(batch, HEADER_BYTES, false);
        let _length = reader.uvarint("record length")?;
        let _attributes = reader.i8("record attributes")?;
        reader.skip_varlong()?;
        let _offset_delta = reader.uvarint("offset delta")?;
        let _key_length = reader.uvarint("key length")?;
        let _version = reader.i16("control version")?;
        Ok(match reader.i16("control type")? {
            0 => Control::Abort,
            1 => Control::Commit,
            other => Control::Other(other),
        })
    };
    if attributes & COMPRESSION != 0 {
        return Control::Other(-1);
    }
    read().unwrap_or(Control::Other(-1))
}

/// True when the checksum of the version 2 batch in `bytes` is right.
#[must_use]
pub fn checksum_holds(bytes: &[u8]) -> bool {
    let Some(stored) = bytes.get(CRC_AT..CRC_COVERS_FROM) else {
        return false;
    };
    stored == crc32c::crc32c(&bytes[CRC_COVERS_FROM..]).to_be_bytes()
}
