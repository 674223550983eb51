//! A Fetch response on its way to the application.
//!
//! Batches are found by their headers and shown to the core; what it wants masked or kept back is replaced in the frame.
//! When nothing changes the frame passes as it came.

use bytes::{Bytes, BytesMut};
use cutline_model::TopicPartition;
use cutline_protocol::{Aborted, Batch, ConnId, Control, Verdict};
use cutline_wire::{
    batch::{self, batches},
    fetch::{FetchAnswer, FetchedPartition},
    frame::Frame,
    mask::mask,
    reader::{Malformed, put_uvarint},
};
use kafka_protocol::{
    messages::{
        FetchResponse, ResponseHeader,
        fetch_response::{FetchableTopicResponse, PartitionData},
    },
    protocol::{Encodable, HeaderVersion},
};

use super::{
    decide::{Arrival, Decide},
    edit::{Edits, Segments},
    fetch_request::names,
    fetch_session::{Expected, FetchSession, Held},
    metrics::{Metrics, TopicCounters},
    topics::Topics,
};

/// What a connection's answers are made with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The connection.
    pub conn: ConnId,
    /// Who decides.
    pub decide: &'a Decide,
    /// Names of topics.
    pub topics: &'a Topics,
    /// What is counted.
    pub metrics: &'a Metrics,
}

// One partition of the answer with what its batches say.
struct Scanned<'a> {
    fetched: &'a FetchedPartition,
    partition: Option<TopicPartition>,
    found: Vec<batch::Batch>,
    shown: Vec<Batch>,
}

/// Turns the broker's answer `frame` into the application's. `expected` is absent where no core has to be asked.
pub fn answer(
    context: &Context<'_>,
    session: &mut FetchSession,
    frame: &Frame,
    read: &FetchAnswer,
    expected: Option<&Expected>,
) -> Result<Segments, Malformed> {
    let mut edits = Edits::default();
    if let Some(expected) = expected {
        session.answered(read, expected);
    }
    let scanned = scan(context, session, frame, read, expected.is_some());
    if let Some(expected) = expected {
        let verdicts = decide(context, &scanned, expected);
        for (part, verdicts) in verdicts {
            let known = verdicts.as_deref().unwrap_or_default();
            count(context, &mut session.counters, part, known);
            if let Some(verdicts) = verdicts {
                let records = changed(context, frame, part, &verdicts);
                edits.replace(part.fetched.field.clone(), field(records, read.version));
            }
        }
        if expected.full && read.error == 0 && !expected.held.is_empty() {
            tell_held(read, &expected.held, &mut edits);
        }
    } else {
        for part in &scanned {
            count(context, &mut session.counters, part, &[]);
        }
    }
    Ok(edits.apply(frame.whole()))
}

fn scan<'a>(
    context: &Context<'_>,
    session: &mut FetchSession,
    frame: &Frame,
    read: &'a FetchAnswer,
    shown: bool,
) -> Vec<Scanned<'a>> {
    let filled = read
        .partitions
        .iter()
        .filter(|fetched| !fetched.records.is_empty());
    filled
        .map(|fetched| {
            let topic = &read.topics[fetched.topic];
            let found: Vec<_> = batches(&frame.whole()[fetched.records.clone()]).collect();
            Scanned {
                fetched,
                partition: session.partition(topic, fetched.index, context.topics),
                shown: if shown {
                    found.iter().map(header).collect()
                } else {
                    Vec::new()
                },
                found,
            }
        })
        .collect()
}

// What the core wants done with each partition; nothing where it passes as it is.
fn decide<'s, 'a>(
    context: &Context<'_>,
    scanned: &'s [Scanned<'a>],
    expected: &Expected,
) -> Vec<(&'s Scanned<'a>, Option<Vec<Verdict>>)> {
    // Nothing is known of a topic without a name; the core never heard of it either.
    let named: Vec<_> = scanned
        .iter()
        .filter(|part| part.partition.is_some())
        .collect();
    let arrivals: Vec<_> = named
        .iter()
        .filter_map(|part| {
            Some(Arrival {
                partition: part.partition.as_ref()?,
                aborted: match (expected.isolation, part.fetched.has_aborted) {
                    (0, _) => Aborted::Shown,
                    (_, false) => Aborted::Absent,
                    (_, true) => Aborted::Hidden,
                },
                batches: &part.shown,
            })
        })
        .collect();
    let verdicts = context.decide.deliver(context.conn, &arrivals);
    named.into_iter().zip(verdicts).collect()
}

// The records field of a partition of which some batches are masked or stay back.
fn changed(
    context: &Context<'_>,
    frame: &Frame,
    part: &Scanned<'_>,
    verdicts: &[Verdict],
) -> BytesMut {
    let records = &frame.whole()[part.fetched.records.clone()];
    let mut kept = BytesMut::with_capacity(records.len());
    for (batch, verdict) in part.found.iter().zip(verdicts) {
        match verdict {
            Verdict::Pass => kept.extend_from_slice(&records[batch.start..batch.end]),
            Verdict::Mask => {
                context
                    .metrics
                    .masked_bytes
                    .inc_by((batch.end - batch.start) as u64);
                kept.extend_from_slice(&mask(batch));
            }
            Verdict::Stop => return kept,
        }
    }
    let whole = part.found.last().map_or(0, |batch| batch.end);
    if verdicts.len() == part.found.len() {
        // A batch that the size limit tore stays behind the last whole one, as the broker sent it.
        kept.extend_from_slice(&records[whole..]);
    }
    kept
}

fn field(records: BytesMut, version: i16) -> Bytes {
    let size = u32::try_from(records.len()).expect("records of one response");
    let mut field = Vec::with_capacity(records.len() + 5);
    if version >= 12 {
        put_uvarint(&mut field, size + 1);
    } else {
        field.extend(size.to_be_bytes());
    }
    field.extend_from_slice(&records);
    field.into()
}

// From the headers that were found anyway.
fn count(
    context: &Context<'_>,
    counters: &mut TopicCounters,
    part: &Scanned<'_>,
    verdicts: &[Verdict],
) {
    let Some(partition) = &part.partition else {
        return;
    };
    let passes = |at: usize| match verdicts.get(at) {
        Some(verdict) => *verdict == Verdict::Pass,
        None => verdicts.is_empty(),
    };
    let data = part.found.iter().enumerate();
    let data = data.filter(|(at, batch)| batch.control.is_none() && passes(*at));
    let (mut records, mut bytes) = (0, 0);
    for (_, batch) in data {
        records += u64::try_from(batch.record_count).unwrap_or(0);
        bytes += (batch.end - batch.start) as u64;
    }
    counters.delivered(context.metrics, &partition.topic, records, bytes);
}

// A full answer names every partition asked for: the Java client takes anything else for a broken session.
fn tell_held(read: &FetchAnswer, held: &[Held], edits: &mut Edits) {
    let count = u32::try_from(read.topics.len() + held.len()).expect("topics of one response");
    let mut length = Vec::new();
    if read.version >= 12 {
        put_uvarint(&mut length, count + 1);
    } else {
        length.extend(count.to_be_bytes());
    }
    edits.replace(read.topic_count.clone(), length);
    let mut topics = BytesMut::new();
    for topic in held.iter().map(empty) {
        topic
            .encode(&mut topics, read.version)
            .expect("an empty topic fits every version that was read");
    }
    edits.replace(read.topics_end..read.topics_end, topics.freeze());
}

fn empty(held: &Held) -> FetchableTopicResponse {
    let (topic, index) = &held.key;
    let (name, id) = names(topic);
    let partition = PartitionData::default()
        .with_partition_index(*index)
        .with_high_watermark(held.marks.high_watermark)
        .with_last_stable_offset(held.marks.last_stable)
        .with_log_start_offset(held.marks.log_start)
        .with_preferred_read_replica((-1).into())
        .with_aborted_transactions(None)
        .with_records(Some(Bytes::new()));
    FetchableTopicResponse::default()
        .with_topic(name)
        .with_topic_id(id)
        .with_partitions(vec![partition])
}

/// The answer to a Fetch that was not sent because everything it asked for is held.
pub fn answer_held(version: i16, correlation_id: i32, expected: &Expected) -> Bytes {
    let topics = if expected.full {
        expected.held.iter().map(empty).collect()
    } else {
        Vec::new()
    };
    let response = FetchResponse::default()
        .with_session_id(expected.session_id)
        .with_responses(topics);
    encode(&response, version, correlation_id)
}

/// The answer to a Fetch whose session is not known.
pub fn answer_error(version: i16, correlation_id: i32, error: i16) -> Bytes {
    encode(
        &FetchResponse::default().with_error_code(error),
        version,
        correlation_id,
    )
}

/// A response of ours as it stands on the wire.
pub fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Bytes {
    let mut bytes = BytesMut::from(&[0; 4][..]);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut bytes, R::header_version(version))
        .expect("a response header fits its version");
    response
        .encode(&mut bytes, version)
        .expect("what was read in this version, or made for it, can be written in it");
    let size = u32::try_from(bytes.len() - 4).expect("a response of ours is small");
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes.freeze()
}

fn header(batch: &batch::Batch) -> Batch {
    Batch {
        base: batch.base_offset,
        last: batch.last_offset,
        records: batch.record_count,
        producer: (batch.producer_id >= 0).then_some(cutline_model::MarkerId {
            producer_id: batch.producer_id,
            producer_epoch: batch.producer_epoch,
        }),
        transactional: batch.transactional,
        control: batch.control.map(|control| match control {
            batch::Control::Commit => Control::Commit,
            batch::Control::Abort => Control::Abort,
            batch::Control::Other(_) => Control::Other,
        }),
        complete: true,
    }
}
