//! A Fetch response that is read while it passes, before all of it is here.
//!
//! It cuts the response into pieces whose sizes it knows from their first bytes: fields, batches, and what else a records
//! field holds. Broken fields are an error; broken batches are bytes like any others. What happens to a piece is not its
//! business.

use crate::{
    batch::{HEADER_BYTES, announced},
    fetch::{TopicKey, marks, topic},
    frame::PREFIX_BYTES,
    reader::{Malformed, Reader},
};

// The tag of brokers' addresses among the last fields.
const ADDRESSES: u32 = 0;

/// The next bytes of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many they are; of records, not all need to be here.
    pub bytes: usize,
    /// What they are.
    pub what: What,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Fields of the response.
    Fields,
    /// A whole batch with so many records of data.
    Batch(u64),
    /// The rest of a records field, which is no whole batch.
    Rest,
    /// The fields after a partition's records.
    PartitionEnd,
    /// The last fields. Where brokers' addresses are among them, this is where their tag stands, a single byte.
    Tail(Option<usize>),
}

/// Where in the response the next piece begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Topic,
    Partition,
    Records,
    PartitionEnd,
    TopicEnd,
    Tail,
    End,
}

/// The walk over one response.
#[derive(Debug)]
pub struct FetchPassing {
    version: i16,
    at: At,
    topics_left: usize,
    partitions_left: usize,
    records_left: usize,
    partition: Option<(TopicKey, i32)>,
}

impl FetchPassing {
    /// A response in `version`, prefix included, from its first byte.
    #[must_use]
    pub fn new(version: i16) -> Self {
        Self {
            version,
            at: At::Head,
            topics_left: 0,
            partitions_left: 0,
            records_left: 0,
            partition: None,
        }
    }

    /// The topic and index of the partition whose records come next, or came last.
    #[must_use]
    pub fn partition(&self) -> Option<&(TopicKey, i32)> {
        self.partition.as_ref()
    }

    /// The piece that begins with `bytes`, which are the first of `left` that the response has left. `None` where more of them
    /// are needed to tell, and at the end.
    pub fn next(&mut self, bytes: &[u8], left: usize) -> Result<Option<Piece>, Malformed> {
        match self.at {
            At::Records => return Ok(self.records(bytes)),
            At::End if left == 0 => return Ok(None),
            _ => {}
        }
        let mut reader = Reader::starting_at(bytes, 0, self.version >= 12);
        match self.fields(&mut reader, left) {
            Ok(what) => Ok(Some(Piece {
                bytes: reader.at(),
                what,
            })),
            // Fields that end where the bytes end are not broken as long as more bytes are to come.
            Err(_) if bytes.len() < left => Ok(None),
            Err(malformed) => Err(malformed),
        }
    }

    // Changes nothing when it fails: it is tried again with more bytes.
    fn fields(&mut self, reader: &mut Reader<'_>, left: usize) -> Result<What, Malformed> {
        let version = self.version;
        match self.at {
            At::Head => {
                reader.take(PREFIX_BYTES, "size")?;
                reader.i32("correlation id")?;
                reader.skip_tags()?;
                reader.i32("throttle time")?;
                if version >= 7 {
                    reader.i16("error")?;
                    reader.i32("session id")?;
                }
                self.topics_left = reader.array("topics")?;
                self.at = self.next_topic();
            }
            At::Topic => {
                let key = topic(reader, version)?;
                self.partitions_left = reader.array("partitions")?;
                self.partition = Some((key, -1));
                self.topics_left -= 1;
                self.at = self.next_partition();
            }
            At::Partition => {
                let marks = marks(reader, version)?;
                let records = reader.bytes_length("records")?;
                if records > left - reader.at() {
                    return Err(Malformed {
                        what: "records",
                        at: reader.at(),
                    });
                }
                self.records_left = records;
                if let Some((_, index)) = &mut self.partition {
                    *index = marks.index;
                }
                self.partitions_left -= 1;
                self.at = match self.records_left {
                    0 => At::PartitionEnd,
                    _ => At::Records,
                };
            }
            At::PartitionEnd => {
                reader.skip_tags()?;
                self.at = self.next_partition();
                return Ok(What::PartitionEnd);
            }
            At::TopicEnd => {
                reader.skip_tags()?;
                self.at = self.next_topic();
            }
            At::Tail => {
                let tag_at = addresses(reader, version >= 12)?;
                self.at = At::End;
                return Ok(What::Tail(tag_at));
            }
            At::Records | At::End => {
                return Err(Malformed {
                    what: "end of the response",
                    at: 0,
                });
            }
        }
        Ok(What::Fields)
    }

    fn next_topic(&self) -> At {
        match self.topics_left {
            0 => At::Tail,
            _ => At::Topic,
        }
    }

    fn next_partition(&self) -> At {
        match self.partitions_left {
            0 => At::TopicEnd,
            _ => At::Partition,
        }
    }

    fn records(&mut self, bytes: &[u8]) -> Option<Piece> {
        let here = &bytes[..bytes.len().min(self.records_left)];
        let all = self.records_left;
        let piece = match announced(here) {
            Ok(Some(batch)) if batch.size <= all => Piece {
                bytes: batch.size,
                what: What::Batch(batch.records),
            },
            Ok(None) if here.len() < all.min(HEADER_BYTES) => return None,
            // Torn by the size limit, or broken.
            _ => Piece {
                bytes: all,
                what: What::Rest,
            },
        };
        self.records_left -= piece.bytes;
        if self.records_left == 0 {
            self.at = At::PartitionEnd;
        }
        Some(piece)
    }
}

// Reads the tagged fields at the end; where the tag stands that brokers' addresses have.
fn addresses(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<usize>, Malformed> {
    if !flexible {
        return Ok(None);
    }
    let mut found = None;
    for _ in 0..reader.uvarint("tagged fields")? {
        let at = reader.at();
        // A nought of one byte, as everybody writes it: it can be written over.
        if reader.uvarint("tag")? == ADDRESSES && reader.at() == at + 1 {
            found = Some(at);
        }
        let size = reader.uvarint("tag size")?;
        reader.take(size as usize, "tagged field")?;
    }
    Ok(found)
}
