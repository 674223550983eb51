//! Fetch requests and responses, read in place.
//!
//! Offers views that say which bytes are whose, so that a frame can be forwarded as it came, or with single places
//! replaced. Requests come from applications: nothing is allocated by a length they claim. Rules about what may be
//! fetched or delivered are not here.

use std::{ops::Range, sync::Arc};

use crate::{
    frame::{Frame, PREFIX_BYTES},
    reader::{Malformed, Reader},
};

/// How a topic is named in a request: by name up to version 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey {
    /// Its name.
    Name(Arc<str>),
    /// Its id.
    Id([u8; 16]),
}

/// One partition of a Fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPartition {
    /// Its topic.
    pub topic: TopicKey,
    /// Its index.
    pub index: i32,
    /// The leader epoch the client knows; −1: none.
    pub leader_epoch: i32,
    /// The offset asked for.
    pub offset: i64,
    /// The epoch of the last record the client has; −1: none.
    pub last_epoch: i32,
    /// The log start a follower knows; consumers send −1.
    pub log_start: i64,
    /// At most so many bytes.
    pub bytes_max: i32,
}

/// A Fetch request, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAsk {
    /// The API version.
    pub version: i16,
    /// How long the broker may wait, in milliseconds.
    pub wait_ms_max: i32,
    /// For how many bytes it waits.
    pub bytes_min: i32,
    /// At most so many bytes in all.
    pub bytes_max: i32,
    /// 0 reads uncommitted, 1 committed.
    pub isolation: i8,
    /// 0: none yet.
    pub session_id: i32,
    /// 0: a new session; −1: none wanted.
    pub session_epoch: i32,
    /// What is asked for: of a session, only what changes.
    pub partitions: Vec<AskedPartition>,
    /// What leaves the session.
    pub forgotten: Vec<(TopicKey, i32)>,
    /// The client's rack.
    pub rack: String,
    /// Where the body begins in the frame, after the header.
    pub body_at: usize,
    /// Where the bytes in all stand in the frame.
    pub bytes_max_at: usize,
    /// Where session id and epoch stand in the frame; versions before 7 have none.
    pub session_at: Option<usize>,
}

impl FetchAsk {
    /// Reads a request frame whose head ended at `rest_at`.
    pub fn read(frame: &Frame, version: i16, rest_at: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::starting_at(frame.whole(), rest_at, version >= 12);
        reader.skip_tags()?;
        let body_at = reader.at();
        if version <= 14 {
            reader.i32("replica id")?;
        }
        let wait_ms_max = reader.i32("max wait")?;
        let bytes_min = reader.i32("min bytes")?;
        let bytes_max_at = reader.at();
        let bytes_max = reader.i32("max bytes")?;
        let isolation = reader.i8("isolation level")?;
        let session_at = (version >= 7).then(|| reader.at());
        let (session_id, session_epoch) = if version >= 7 {
            (reader.i32("session id")?, reader.i32("session epoch")?)
        } else {
            (0, -1)
        };
        let partitions = asked(&mut reader, version)?;
        let forgotten = if version >= 7 {
            forgotten(&mut reader, version)?
        } else {
            Vec::new()
        };
        let rack = if version >= 11 {
            reader.string("rack")?.to_owned()
        } else {
            String::new()
        };
        reader.skip_tags()?;
        Ok(Self {
            version,
            wait_ms_max,
            bytes_min,
            bytes_max,
            isolation,
            session_id,
            session_epoch,
            partitions,
            forgotten,
            rack,
            body_at,
            bytes_max_at,
            session_at,
        })
    }

    /// The request's `frame` with at most `bytes_max` asked for in all.
    pub fn lower(&mut self, frame: Frame, bytes_max: i32) -> Frame {
        if self.bytes_max <= bytes_max {
            return frame;
        }
        self.bytes_max = bytes_max;
        frame.with_i32(self.bytes_max_at, bytes_max)
    }
}

pub(crate) fn topic(reader: &mut Reader<'_>, version: i16) -> Result<TopicKey, Malformed> {
    if version >= 13 {
        reader.uuid("topic id").map(TopicKey::Id)
    } else {
        reader
            .string("topic")
            .map(|name| TopicKey::Name(name.into()))
    }
}

fn asked(reader: &mut Reader<'_>, version: i16) -> Result<Vec<AskedPartition>, Malformed> {
    let mut asked = Vec::new();
    for _ in 0..reader.array("topics")? {
        let topic = topic(reader, version)?;
        for _ in 0..reader.array("partitions")? {
            let index = reader.i32("partition")?;
            let leader_epoch = if version >= 9 {
                reader.i32("leader epoch")?
            } else {
                -1
            };
            let offset = reader.i64("fetch offset")?;
            let last_epoch = if version >= 12 {
                reader.i32("last epoch")?
            } else {
                -1
            };
            let log_start = if version >= 5 {
                reader.i64("log start")?
            } else {
                -1
            };
            let bytes_max = reader.i32("partition max bytes")?;
            reader.skip_tags()?;
            asked.push(AskedPartition {
                topic: topic.clone(),
                index,
                leader_epoch,
                offset,
                last_epoch,
                log_start,
                bytes_max,
            });
        }
        reader.skip_tags()?;
    }
    Ok(asked)
}

fn forgotten(reader: &mut Reader<'_>, version: i16) -> Result<Vec<(TopicKey, i32)>, Malformed> {
    let mut forgotten = Vec::new();
    for _ in 0..reader.array("forgotten topics")? {
        let topic = topic(reader, version)?;
        for _ in 0..reader.array("forgotten partitions")? {
            forgotten.push((topic.clone(), reader.i32("partition")?));
        }
        reader.skip_tags()?;
    }
    Ok(forgotten)
}

/// One partition of a Fetch response and where it stands in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Which of the response's topics.
    pub topic: usize,
    /// Its index.
    pub index: i32,
    /// 0, or what went wrong.
    pub error: i16,
    /// The end of what is replicated.
    pub high_watermark: i64,
    /// The end of what a `read_committed` client can see.
    pub last_stable: i64,
    /// The first offset still in the log; −1 where it is not said.
    pub log_start: i64,
    /// True when the response lists transactions that were aborted.
    pub has_aborted: bool,
    /// The records and their length field.
    pub field: Range<usize>,
    /// The records.
    pub records: Range<usize>,
}

/// A Fetch response, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The API version.
    pub version: i16,
    /// 0, or what went wrong with the session.
    pub error: i16,
    /// 0: none.
    pub session_id: i32,
    /// Where the session id stands in the frame; versions before 7 have none.
    pub session_at: Option<usize>,
    /// Where the number of topics stands in the frame.
    pub topic_count: Range<usize>,
    /// Where the last topic ends.
    pub topics_end: usize,
    /// The topics, in order.
    pub topics: Vec<TopicKey>,
    /// The partitions, in order.
    pub partitions: Vec<FetchedPartition>,
    /// True when it names brokers' addresses.
    pub has_endpoints: bool,
}

impl FetchAnswer {
    /// Reads a response frame.
    pub fn read(frame: &Frame, version: i16) -> Result<Self, Malformed> {
        let mut reader = Reader::starting_at(frame.whole(), PREFIX_BYTES, version >= 12);
        reader.i32("correlation id")?;
        reader.skip_tags()?;
        reader.i32("throttle time")?;
        let error = if version >= 7 {
            reader.i16("error")?
        } else {
            0
        };
        let session_at = (version >= 7).then(|| reader.at());
        let session_id = if version >= 7 {
            reader.i32("session id")?
        } else {
            0
        };
        let mut topics = Vec::new();
        let mut partitions = Vec::new();
        let count_at = reader.at();
        let count = reader.array("topics")?;
        let topic_count = count_at..reader.at();
        for at in 0..count {
            topics.push(topic(&mut reader, version)?);
            for _ in 0..reader.array("partitions")? {
                partitions.push(fetched(&mut reader, version, at)?);
            }
            reader.skip_tags()?;
        }
        let topics_end = reader.at();
        let mut has_endpoints = false;
        reader.tags(|tag, _| has_endpoints |= tag == 0)?;
        Ok(Self {
            version,
            error,
            session_id,
            session_at,
            topic_count,
            topics_end,
            topics,
            partitions,
            has_endpoints,
        })
    }
}

fn fetched(
    reader: &mut Reader<'_>,
    version: i16,
    topic: usize,
) -> Result<FetchedPartition, Malformed> {
    let marks = marks(reader, version)?;
    let field = reader.at();
    let records = reader.bytes_or_null("records")?.map_or(0, <[u8]>::len);
    let end = reader.at();
    reader.skip_tags()?;
    Ok(FetchedPartition {
        topic,
        index: marks.index,
        error: marks.error,
        high_watermark: marks.high_watermark,
        last_stable: marks.last_stable,
        log_start: marks.log_start,
        has_aborted: marks.has_aborted,
        field: field..end,
        records: end - records..end,
    })
}

// What a response says of a partition before its records.
pub(crate) struct Marks {
    pub(crate) index: i32,
    error: i16,
    high_watermark: i64,
    last_stable: i64,
    log_start: i64,
    has_aborted: bool,
}

pub(crate) fn marks(reader: &mut Reader<'_>, version: i16) -> Result<Marks, Malformed> {
    let index = reader.i32("partition")?;
    let error = reader.i16("partition error")?;
    let high_watermark = reader.i64("high watermark")?;
    let last_stable = reader.i64("last stable offset")?;
    let log_start = if version >= 5 {
        reader.i64("log start")?
    } else {
        -1
    };
    let aborted = reader.array("aborted transactions")?;
    for _ in 0..aborted {
        reader.i64("producer id")?;
        reader.i64("first offset")?;
        reader.skip_tags()?;
    }
    if version >= 11 {
        reader.i32("preferred replica")?;
    }
    Ok(Marks {
        index,
        error,
        high_watermark,
        last_stable,
        log_start,
        has_aborted: aborted > 0,
    })
}
