//! Requests and responses read in place, against the schema crate's encoder in every version, and against noise.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use bytes::{Bytes, BytesMut};
use cutline_wire::{
    api,
    fetch::{FetchAnswer, FetchAsk, TopicKey},
    frame::{Frame, FrameReader, RequestHead},
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

proptest! {
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
