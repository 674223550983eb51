//! Requests and responses read in place, against the schema crate's encoder in every version, and against noise.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use bytes::{Bytes, BytesMut};
use cutline_wire::{
    api,
    batch::batches,
    fetch::{FetchAnswer, FetchAsk, TopicKey},
    frame::{Frame, FrameReader, RequestHead},
    passing::{FetchPassing, What},
    produce::ProduceAsk,
};
use kafka_protocol::{
    messages::{
        FetchRequest, FetchResponse, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
        fetch_response::{AbortedTransaction, FetchableTopicResponse, NodeEndpoint, PartitionData},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Encodable, HeaderVersion, Message, Request, StrBytes},
};
use proptest::prelude::*;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef);

fn name() -> TopicName {
    StrBytes::from_static_str("topic").into()
}

fn key(by_id: bool) -> TopicKey {
    if by_id {
        TopicKey::Id(ID.into_bytes())
    } else {
        TopicKey::Name("topic".into())
    }
}

async fn frame_of(payload: BytesMut) -> Frame {
    let size = i32::try_from(payload.len()).unwrap();
    let bytes = [&size.to_be_bytes()[..], &payload].concat();
    FrameReader::requests(&bytes[..])
        .next()
        .await
        .unwrap()
        .unwrap()
}

async fn request<R: Request>(request: &R, version: i16) -> (Frame, RequestHead) {
    let mut payload = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("client")))
        .encode(&mut payload, R::header_version(version))
        .unwrap();
    request.encode(&mut payload, version).unwrap();
    let frame = frame_of(payload).await;
    let head = RequestHead::peek(&frame).unwrap();
    assert_eq!((head.api_key, head.api_version), (R::KEY, version));
    assert_eq!(head.client_id.as_deref(), Some("client"));
    (frame, head)
}

#[tokio::test]
async fn fetch_requests_are_read_in_every_version() {
    for version in FetchRequest::VERSIONS.min..=FetchRequest::VERSIONS.max {
        let by_id = version >= 13;
        let partition = FetchPartition::default()
            .with_partition(3)
            .with_fetch_offset(1 << 40)
            .with_partition_max_bytes(99);
        let mut topic = FetchTopic::default().with_partitions(vec![partition.clone(), partition]);
        let mut gone = ForgottenTopic::default().with_partitions(vec![5, 6]);
        if by_id {
            (topic.topic_id, gone.topic_id) = (ID, ID);
        } else {
            (topic.topic, gone.topic) = (name(), name());
        }
        let mut sent = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_isolation_level(1)
            .with_topics(vec![topic]);
        if version >= 7 {
            sent = sent
                .with_session_id(11)
                .with_session_epoch(12)
                .with_forgotten_topics_data(vec![gone]);
        }
        if version >= 11 {
            sent = sent.with_rack_id(StrBytes::from_static_str("rack"));
        }
        let (frame, head) = request(&sent, version).await;
        let read = FetchAsk::read(&frame, version, head.rest_at).unwrap();
        assert_eq!((read.wait_ms_max, read.isolation), (500, 1));
        assert_eq!(read.partitions.len(), 2);
        assert_eq!(read.partitions[1].topic, key(by_id));
        assert_eq!(
            (read.partitions[1].index, read.partitions[1].offset),
            (3, 1 << 40)
        );
        let mut lowered = read.clone();
        let same = lowered.lower(frame.clone(), i32::MAX);
        assert_eq!(same.whole(), frame.whole());
        let less = lowered.lower(frame.clone(), 1_000);
        let again = FetchAsk::read(&less, version, head.rest_at).unwrap();
        assert_eq!(again, lowered);
        assert_eq!((again.bytes_max, again.bytes_min), (1_000, read.bytes_min));
        if let Some(at) = read.session_at {
            assert_eq!((read.session_id, read.session_epoch), (11, 12));
            assert_eq!(frame.whole()[at..at + 8], [0, 0, 0, 11, 0, 0, 0, 12]);
            assert_eq!(read.forgotten, [(key(by_id), 5), (key(by_id), 6)]);
        }
    }
}

#[tokio::test]
async fn fetch_responses_are_read_in_every_version() {
    for version in FetchResponse::VERSIONS.min..=FetchResponse::VERSIONS.max {
        let by_id = version >= 13;
        let records = Bytes::from_static(b"these are no batches");
        let aborted = AbortedTransaction::default().with_first_offset(4);
        let partition = PartitionData::default()
            .with_partition_index(8)
            .with_high_watermark(1_000)
            .with_last_stable_offset(900)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_records(Some(records.clone()));
        let bare = PartitionData::default().with_aborted_transactions(None);
        let mut topic = FetchableTopicResponse::default().with_partitions(vec![partition, bare]);
        if by_id {
            topic.topic_id = ID;
        } else {
            topic.topic = name();
        }
        let mut sent = FetchResponse::default().with_responses(vec![topic]);
        if version >= 7 {
            sent = sent.with_session_id(21);
        }
        let mut payload = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(5);
        header
            .encode(&mut payload, FetchResponse::header_version(version))
            .unwrap();
        sent.encode(&mut payload, version).unwrap();
        let frame = frame_of(payload).await;
        let read = FetchAnswer::read(&frame, version).unwrap();
        assert_eq!(read.topics, [key(by_id)]);
        assert_eq!(read.session_id, if version >= 7 { 21 } else { 0 });
        let [first, second] = &read.partitions[..] else {
            panic!("two partitions in version {version}")
        };
        assert_eq!(
            (first.index, first.high_watermark, first.last_stable),
            (8, 1_000, 900)
        );
        assert!(first.has_aborted && !second.has_aborted && !read.has_endpoints);
        assert_eq!(frame.whole()[first.records.clone()], records[..]);
        assert!(second.records.is_empty());
        assert!(read.topics_end <= frame.whole().len());
    }
}

#[tokio::test]
async fn produce_requests_are_read_in_every_version() {
    for version in ProduceRequest::VERSIONS.min..=ProduceRequest::VERSIONS.max {
        let by_id = version >= 13;
        let data = PartitionProduceData::default()
            .with_index(2)
            .with_records(Some(Bytes::from_static(b"batches")));
        let mut topic = TopicProduceData::default().with_partition_data(vec![data]);
        if by_id {
            topic.topic_id = ID;
        } else {
            topic.name = name();
        }
        let sent = ProduceRequest::default()
            .with_transactional_id(Some(StrBytes::from_static_str("id").into()))
            .with_acks(-1)
            .with_topic_data(vec![topic]);
        let (frame, head) = request(&sent, version).await;
        let read = ProduceAsk::read(&frame, version, head.rest_at).unwrap();
        assert_eq!(
            (read.transactional_id.as_deref(), read.acks),
            (Some("id"), -1)
        );
        assert_eq!(
            (&read.partitions[0].topic, read.partitions[0].index),
            (&key(by_id), 2)
        );
        assert_eq!(
            &frame.whole()[read.partitions[0].records.clone()],
            b"batches"
        );
    }
}

#[tokio::test]
async fn addresses_in_a_fetch_response_are_noticed() {
    for version in 16..=FetchResponse::VERSIONS.max {
        let node = NodeEndpoint::default()
            .with_node_id(3.into())
            .with_host(StrBytes::from_static_str("broker"))
            .with_port(9092);
        let sent = FetchResponse::default().with_node_endpoints(vec![node]);
        let mut payload = BytesMut::new();
        ResponseHeader::default()
            .encode(&mut payload, FetchResponse::header_version(version))
            .unwrap();
        sent.encode(&mut payload, version).unwrap();
        let read = FetchAnswer::read(&frame_of(payload).await, version).unwrap();
        assert!(read.has_endpoints, "version {version}");
    }
}

// Walks over a response of which `step` bytes more come whenever more are needed; the records counted in each partition, and
// whether all of it was told apart.
fn walk(bytes: &[u8], version: i16, step: usize) -> Option<Vec<(i32, u64)>> {
    let mut passing = FetchPassing::new(version);
    let (mut at, mut here, mut counted, mut records) = (0, 0, Vec::new(), 0);
    loop {
        let front = &bytes[at..here.max(at)];
        match passing.next(front, bytes.len() - at).ok()? {
            Some(piece) => {
                assert!(piece.bytes <= bytes.len() - at, "beyond the response");
                match piece.what {
                    What::Batch(count) => records += count,
                    What::PartitionEnd => {
                        let (_, index) = passing.partition().unwrap();
                        counted.push((*index, std::mem::take(&mut records)));
                    }
                    What::Fields | What::Rest | What::Tail(None) => {}
                    What::Tail(Some(tag)) => assert_eq!(bytes[at + tag], 0),
                }
                at += piece.bytes;
            }
            None if at == bytes.len() => return Some(counted),
            None => {
                assert!(here < bytes.len(), "all is here");
                here = (here.max(at) + step).min(bytes.len());
            }
        }
    }
}

fn batch(base: i64, records: i32, bytes: usize, attributes: i16) -> Vec<u8> {
    let mut batch = vec![7; bytes];
    batch[..8].copy_from_slice(&base.to_be_bytes());
    batch[8..12].copy_from_slice(&u32::try_from(bytes - 12).unwrap().to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    batch
}

fn records() -> impl Strategy<Value = Vec<u8>> {
    let each = (61_usize..400, 1..9_i32, prop::bool::weighted(0.2));
    (prop::collection::vec(each, 0..5), 0_usize..100).prop_map(|(batches, torn)| {
        let batches = batches
            .iter()
            .enumerate()
            .map(|(at, (bytes, records, is_control))| {
                batch(
                    at as i64 * 10,
                    *records,
                    *bytes,
                    if *is_control { 0x20 } else { 0 },
                )
            });
        let mut bytes = batches.collect::<Vec<_>>().concat();
        bytes.truncate(bytes.len().saturating_sub(torn));
        bytes
    })
}

proptest! {
    #[test]
    fn a_response_that_passes_is_told_apart_as_one_that_is_here(
        topics in prop::collection::vec(prop::collection::vec(records(), 0..4), 0..3),
        version in 4_i16..=17,
        hint in any::<bool>(),
        step in 1_usize..500,
    ) {
        let topics = topics.iter().map(|partitions| {
            let partitions = partitions.iter().zip(0..).map(|(records, index)| {
                PartitionData::default()
                    .with_partition_index(index)
                    .with_aborted_transactions(Some(vec![AbortedTransaction::default(); index as usize]))
                    .with_records(Some(Bytes::copy_from_slice(records)))
            });
            let topic = FetchableTopicResponse::default().with_partitions(partitions.collect());
            if version >= 13 { topic.with_topic_id(ID) } else { topic.with_topic(name()) }
        });
        let mut sent = FetchResponse::default().with_responses(topics.collect());
        if hint && version >= 16 {
            sent.node_endpoints = vec![NodeEndpoint::default().with_node_id(3.into())];
        }
        let mut payload = BytesMut::new();
        ResponseHeader::default().encode(&mut payload, FetchResponse::header_version(version)).unwrap();
        sent.encode(&mut payload, version).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let frame = runtime.block_on(frame_of(payload));
        let read = FetchAnswer::read(&frame, version).unwrap();
        let expected: Vec<_> = read.partitions.iter().map(|partition| {
            let found = batches(&frame.whole()[partition.records.clone()]);
            let data = found.filter(|batch| batch.control.is_none());
            (partition.index, data.map(|batch| batch.record_count as u64).sum::<u64>())
        }).collect();
        prop_assert_eq!(walk(frame.whole(), version, step), Some(expected));
    }

    #[test]
    fn noise_that_passes_ends(noise in prop::collection::vec(any::<u8>(), 4..300), version in 4_i16..19, step in 1_usize..50) {
        let size = u32::try_from(noise.len()).unwrap().to_be_bytes();
        walk(&[&size[..], &noise].concat(), version, step);
    }

    #[test]
    fn noise_is_malformed_and_nothing_worse(noise in prop::collection::vec(any::<u8>(), 4..300), version in 3_i16..19) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let frame = runtime.block_on(frame_of(BytesMut::from(&noise[..])));
        let _head = RequestHead::peek(&frame);
        let _fetch = FetchAsk::read(&frame, version, 8.min(noise.len()));
        let _answer = FetchAnswer::read(&frame, version);
        let _produce = ProduceAsk::read(&frame, version, 8.min(noise.len()));
        prop_assert!(api::is_acceptable(18, i16::MAX));
    }
}
