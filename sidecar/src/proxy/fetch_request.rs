//! Making a Fetch request that differs from the application's: fewer partitions, another session epoch.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use cutline_wire::{
    fetch::{AskedPartition, FetchAsk, TopicKey},
    frame::{Frame, PREFIX_BYTES},
};
use kafka_protocol::{
    messages::{
        FetchRequest, TopicName,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic},
    },
    protocol::{Encodable, StrBytes},
};
use uuid::Uuid;

/// The request of `frame` with another wait and session, these partitions, and these to be forgotten.
pub fn build<'a>(
    frame: &Frame,
    ask: &FetchAsk,
    wait_ms_max: i32,
    (session_id, session_epoch): (i32, i32),
    wanted: impl Iterator<Item = &'a AskedPartition>,
    forgotten: &[(TopicKey, i32)],
) -> Bytes {
    let mut topics = BTreeMap::<&TopicKey, Vec<FetchPartition>>::new();
    for want in wanted {
        let partition = FetchPartition::default()
            .with_partition(want.index)
            .with_current_leader_epoch(want.leader_epoch)
            .with_fetch_offset(want.offset)
            .with_last_fetched_epoch(want.last_epoch)
            .with_log_start_offset(want.log_start)
            .with_partition_max_bytes(want.bytes_max);
        topics.entry(&want.topic).or_default().push(partition);
    }
    let mut gone = BTreeMap::<&TopicKey, Vec<i32>>::new();
    for (topic, index) in forgotten {
        gone.entry(topic).or_default().push(*index);
    }
    let topics = topics.into_iter().map(|(key, partitions)| {
        let (name, id) = names(key);
        FetchTopic::default()
            .with_topic(name)
            .with_topic_id(id)
            .with_partitions(partitions)
    });
    let gone = gone.into_iter().map(|(key, partitions)| {
        let (name, id) = names(key);
        ForgottenTopic::default()
            .with_topic(name)
            .with_topic_id(id)
            .with_partitions(partitions)
    });
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait_ms_max)
        .with_min_bytes(ask.bytes_min)
        .with_max_bytes(ask.bytes_max)
        .with_isolation_level(ask.isolation)
        .with_session_id(session_id)
        .with_session_epoch(session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(gone.collect())
        .with_rack_id(StrBytes::from_string(ask.rack.clone()));
    let mut bytes = BytesMut::from(&frame.whole()[..ask.body_at]);
    request
        .encode(&mut bytes, ask.version)
        .expect("a request that was read in this version can be written in it");
    let size = u32::try_from(bytes.len() - PREFIX_BYTES).expect("a Fetch request is small");
    bytes[..PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
    bytes.freeze()
}

/// A topic's name and id as the schema crate wants them, one of them empty.
pub fn names(key: &TopicKey) -> (TopicName, Uuid) {
    match key {
        TopicKey::Name(name) => (StrBytes::from_string(name.to_string()).into(), Uuid::nil()),
        TopicKey::Id(id) => (TopicName::default(), Uuid::from_bytes(*id)),
    }
}
