//! The corpus' beginnings, made by the real encoders and writers; what was found later is beside them.
//!
//! `cargo test -p fuzz -- --ignored write_the_corpus` writes them anew after a format changed.

use std::{fs, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use cutline_admin::table::{Line, Payload};
use cutline_model::{
    Capture, Epoch, Guarantee, Mode, Offset, PartRef, ProcessId, Scope, ServiceName, Timeline,
    Timings,
};
use cutline_store::{
    Entry, JournalRecord, Manifest, Outcome, PositionRecord, ProcessRecord, Repository,
    TimelineRecord,
};
use cutline_wire::records::Header;
use fuzz::Memory;
use jiff::Timestamp;
use kafka_protocol::{
    indexmap::IndexMap,
    messages::{
        ApiKey, FetchRequest, FetchResponse, InitProducerIdRequest, ProduceRequest, RequestHeader,
        ResponseHeader,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::{FetchableTopicResponse, PartitionData},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Encodable, StrBytes},
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

use super::store::{EPOCH, STORE};

const CODECS: [(&str, Compression); 5] = [
    ("plain", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

#[test]
#[ignore = "writes files: only after a format changed"]
fn write_the_corpus() {
    for (name, codec) in CODECS {
        write("records", name, &batch(0, 20, codec, None));
    }
    let commit = batch(3, 1, Compression::None, Some(1));
    let log = [batch(0, 3, Compression::None, None), commit].concat();
    write("batches", "log", &log);
    // Offset, length, leader epoch or checksum, magic, and what a message of format 1 has.
    let old = [&[0; 8][..], &[0, 0, 0, 22, 1, 2, 3, 4, 1], &[0; 17]].concat();
    write("batches", "old", &old);
    for version in [4, 11, 12, 13, 17] {
        write("requests", &format!("fetch-{version}"), &fetch(version));
        write(
            "responses",
            &format!("fetch-{version}"),
            &fetched(version, &log),
        );
    }
    for version in [3, 9, 12] {
        write(
            "requests",
            &format!("produce-{version}"),
            &produce(version, &log),
        );
    }
    let init = InitProducerIdRequest::default();
    write(
        "requests",
        "init",
        &request(ApiKey::InitProducerId, 4, &init),
    );
    write("rows", "rows", &rows());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(store());
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = fuzz::corpus_of(target);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), bytes).unwrap();
}

fn batch(base: i64, count: i64, compression: Compression, control: Option<i16>) -> Vec<u8> {
    let records: Vec<Record> = (base..base + count)
        .map(|offset| Record {
            transactional: true,
            control: control.is_some(),
            delete_horizon: false,
            partition_leader_epoch: 1,
            producer_id: 7,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset,
            sequence: if control.is_some() { -1 } else { offset as i32 },
            timestamp: 1_700_000_000_000 + offset,
            key: Some(match control {
                Some(kind) => Bytes::from([[0; 2], kind.to_be_bytes()].concat()),
                None => Bytes::from(format!("key-{offset}")),
            }),
            value: Some(Bytes::from(format!("value of {offset} ").repeat(5))),
            headers: IndexMap::from([(StrBytes::from_static_str("h"), Some(Bytes::from("1")))]),
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.to_vec()
}

fn request(api: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(9)
        .with_client_id(Some(StrBytes::from_static_str("client")));
    let mut bytes = BytesMut::new();
    header
        .encode(&mut bytes, api.request_header_version(version))
        .unwrap();
    body.encode(&mut bytes, version).unwrap();
    framed(&bytes)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u32(bytes.len() as u32);
    frame.put_slice(bytes);
    frame
}

fn fetch(version: i16) -> Vec<u8> {
    let partitions = (0..3).map(|at| {
        FetchPartition::default()
            .with_partition(at)
            .with_fetch_offset(40)
            .with_partition_max_bytes(1 << 20)
    });
    let mut topic = FetchTopic::default().with_partitions(partitions.collect());
    match version >= 13 {
        true => topic.topic_id = uuid(),
        false => topic.topic = StrBytes::from_static_str("orders").into(),
    }
    let ask = FetchRequest::default().with_topics(vec![topic]);
    request(ApiKey::Fetch, version, &ask)
}

fn produce(version: i16, log: &[u8]) -> Vec<u8> {
    let partition = PartitionProduceData::default().with_records(Some(log.to_vec().into()));
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_static_str("orders").into())
        .with_partition_data(vec![partition]);
    let ask = ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic]);
    request(ApiKey::Produce, version, &ask)
}

fn fetched(version: i16, log: &[u8]) -> Vec<u8> {
    let partition = PartitionData::default()
        .with_high_watermark(9)
        .with_records(Some(log.to_vec().into()));
    let mut topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    match version >= 13 {
        true => topic.topic_id = uuid(),
        false => topic.topic = StrBytes::from_static_str("orders").into(),
    }
    let answer = FetchResponse::default().with_responses(vec![topic]);
    let mut bytes = BytesMut::new();
    bytes.put_u8(version as u8);
    let header = ApiKey::Fetch.response_header_version(version);
    ResponseHeader::default()
        .with_correlation_id(9)
        .encode(&mut bytes, header)
        .unwrap();
    answer.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}

fn rows() -> Vec<u8> {
    let mut rows = BytesMut::new();
    for at in 0..5 {
        let payload = (at % 2 == 0).then(|| Payload {
            value: Bytes::from("value"),
            timestamp_ms: 1_700_000_000_000,
            headers: vec![Header {
                key: Bytes::from("h"),
                value: None,
            }],
            by: Some(ServiceName::from("bank")),
        });
        let line = Line {
            key: Bytes::from(format!("key-{at}")),
            masked: None,
            visible: Some((Offset(at), payload)),
        };
        line.write(&mut rows);
    }
    rows.to_vec()
}

/// Two checkpoints of one process, the second with deltas on the first, and a restore.
async fn store() {
    let memory = Arc::new(Memory::default());
    let repository = Repository::open(Arc::clone(&memory) as Arc<_>)
        .await
        .unwrap();
    for epoch in [Epoch(1), EPOCH] {
        repository.claim_epoch(epoch, "seeds").await.unwrap();
        let part = part(&repository, epoch).await;
        repository.decide(&manifest(epoch, part)).await.unwrap();
    }
    let first = JournalRecord::new("r", 0, EPOCH, "planned", serde_json::json!({"a": [1, 2]}));
    repository.append_journal(&first).await.unwrap();
    let timeline = TimelineRecord::new(Timeline(0), "r", EPOCH, Vec::new());
    repository.create_timeline(&timeline).await.unwrap();
    let mut pieces = repository.piece_writer("r", "t");
    pieces.push(&rows()).await.unwrap();
    let which = |key: &str| match key.split('/').next() {
        Some("epochs") => Some(0),
        Some("restores") if key.contains("journal") => Some(1),
        Some("timelines") => Some(2),
        Some("repository.json") => Some(5),
        _ => None,
    };
    for (key, bytes) in memory.all() {
        write(STORE, &key.as_str().replace('/', "%"), &bytes);
        if let Some(which) = which(key.as_str()) {
            let name = key.as_str().replace('/', "%");
            write("documents", &name, &[&[which], unsealed(&bytes)].concat());
        }
        let name = key.name().chars().take(20).collect::<String>();
        match key.as_str() {
            key if key.ends_with("manifest.json") => {
                write("manifests", &epoch_of(key), unsealed(&bytes))
            }
            key if key.contains("/part-") => write("parts", &epoch_of(key), unsealed(&bytes)),
            key if key.starts_with("packs/") => write("packs", &name, &bytes),
            _ => {}
        }
    }
    let names: Vec<String> = memory.all().keys().map(ToString::to_string).collect();
    write("names", "all", names.join("\n").as_bytes());
}

fn epoch_of(key: &str) -> String {
    key.split('/').nth(1).unwrap_or_default().to_owned()
}

/// A document without its checksum.
fn unsealed(bytes: &[u8]) -> &[u8] {
    let text = std::str::from_utf8(bytes).unwrap();
    let end = text.rfind(",\n  \"blake3\"").unwrap();
    &bytes[..end]
}

fn process() -> ProcessId {
    ProcessId {
        service: "bank".into(),
        instance: Some("0".into()),
    }
}

async fn part(repository: &Repository, epoch: Epoch) -> PartRef {
    let mut writer = repository
        .part_writer(epoch, &process(), "dir")
        .await
        .unwrap();
    writer.begin(Entry::directory("accounts")).unwrap();
    writer.begin(Entry::file("accounts/ledger")).unwrap();
    // Hashes do not compress, so that a change is worth a delta.
    let mut ledger: Vec<u8> = (0_u32..900)
        .flat_map(|at| *blake3::hash(&at.to_be_bytes()).as_bytes())
        .collect();
    ledger[14_000..14_032].copy_from_slice(blake3::hash(&epoch.0.to_be_bytes()).as_bytes());
    writer.push(&ledger).await.unwrap();
    writer.end_file().await.unwrap();
    writer.begin(Entry::file("empty")).unwrap();
    writer.end_file().await.unwrap();
    writer
        .begin(Entry::symlink("latest", "accounts/ledger"))
        .unwrap();
    writer.finish().await.unwrap()
}

fn manifest(epoch: Epoch, part: PartRef) -> Manifest {
    let mut manifest = Manifest::new(epoch, Outcome::Completed, Mode::Aligned, Timestamp::now());
    manifest.processes.push(ProcessRecord {
        process: process(),
        sidecars: Vec::new(),
        capture: Capture::Commit,
        scope: Scope::Instance,
        guarantee: Guarantee::default(),
        unaligned: false,
        part: Some(part),
        timings: Timings::default(),
        async_ms: 3,
    });
    manifest.positions.push(PositionRecord {
        service: "bank".into(),
        instance: Some("0".into()),
        group: "bank".into(),
        topic: "orders".into(),
        partition: 0,
        offset: Some(Offset(40)),
    });
    manifest
}
