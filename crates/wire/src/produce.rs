//! Produce requests, read in place.
//!
//! Says where an application wants its batches to go and how many records each partition gets; leaves the bytes alone.

use std::ops::Range;

use crate::{
    fetch::TopicKey,
    frame::Frame,
    reader::{Malformed, Reader},
};

/// One partition of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    /// Its topic.
    pub topic: TopicKey,
    /// Its index.
    pub index: i32,
    /// Where its records stand in the frame.
    pub records: Range<usize>,
}

/// A Produce request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceAsk {
    /// Set inside a transaction.
    pub transactional_id: Option<String>,
    /// 0: no answer will come.
    pub acks: i16,
    /// Where it goes.
    pub partitions: Vec<ProducedPartition>,
}

impl ProduceAsk {
    /// Reads a request frame whose head ended at `rest_at`.
    pub fn read(frame: &Frame, version: i16, rest_at: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::starting_at(frame.whole(), rest_at, version >= 9);
        reader.skip_tags()?;
        let transactional_id = reader
            .string_or_null("transactional id")?
            .map(str::to_owned);
        let acks = reader.i16("acks")?;
        reader.i32("timeout")?;
        let mut partitions = Vec::new();
        for _ in 0..reader.array("topics")? {
            let topic = if version >= 13 {
                TopicKey::Id(reader.uuid("topic id")?)
            } else {
                TopicKey::Name(reader.string("topic")?.into())
            };
            for _ in 0..reader.array("partitions")? {
                let index = reader.i32("partition")?;
                let records = reader.bytes_or_null("records")?.map_or(0, <[u8]>::len);
                let end = reader.at();
                reader.skip_tags()?;
                partitions.push(ProducedPartition {
                    topic: topic.clone(),
                    index,
                    records: end - records..end,
                });
            }
            reader.skip_tags()?;
        }
        reader.skip_tags()?;
        Ok(Self {
            transactional_id,
            acks,
            partitions,
        })
    }
}
