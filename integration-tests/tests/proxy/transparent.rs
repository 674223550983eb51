//! Without a core nothing changes: bytes, offsets, order, groups, transactions; leaders that move are followed.

use std::{collections::BTreeSet, time::Duration};

use bytes::{Bytes, BytesMut};
use cutline_model::{Offset, TopicPartition};
use integration_tests::{Kafka, KafkaOptions, topics::unique_name};
use kafka_protocol::{
    indexmap::IndexMap,
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{FutureRecord, Producer},
};

use super::side::{PATIENCE, Side, by_partition, client, produce, producer, read, reader};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn batch(compression: Compression) -> Bytes {
    let records: Vec<Record> = (0..50)
        .map(|at| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: at,
            // The encoder breaks a batch where offset and sequence part.
            sequence: at as i32 - 1,
            timestamp: 1_700_000_000_000 + at,
            key: (at % 3 != 0).then(|| Bytes::from(format!("key {at}"))),
            value: (at % 7 != 0).then(|| Bytes::from(vec![at as u8; at as usize * 10])),
            headers: IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("the records encode");
    bytes.freeze()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_every_codec_pass_byte_for_byte() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("codecs");
    // The records are older than what brokers keep by default, and could be gone before they are read.
    let forever = [("retention.ms", "-1")];
    kafka.topics().create_with(&topic, 1, &forever).await;
    let partition = TopicPartition::new(topic, 0);
    let side = Side::plain(&kafka.bootstrap());
    let (direct, through) = (
        client(&kafka.bootstrap()).await,
        client(&side.bootstrap()).await,
    );
    for codec in CODECS {
        through
            .produce(&partition, batch(codec))
            .await
            .expect("the batch is taken");
    }
    let expected = direct
        .fetch(&partition, Offset(0), 1_000)
        .await
        .expect("the log can be read");
    let seen = through
        .fetch(&partition, Offset(0), 1_000)
        .await
        .expect("the log can be read");
    assert_eq!(expected.high_watermark, Offset(250));
    assert!(seen.records == expected.records, "the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_producer_keeps_bytes_offsets_and_order() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("producers", 3).await;
    let side = Side::plain(&kafka.bootstrap());
    let partitions: Vec<_> = (0..3)
        .map(|index| TopicPartition::new(topic.as_str(), index))
        .collect();
    let idempotent = producer(
        &side.bootstrap(),
        &[("enable.idempotence", "true"), ("compression.type", "lz4")],
    );
    for partition in &partitions {
        produce(
            &idempotent,
            partition,
            (0..500).map(|at| format!("idempotent {at}")),
        )
        .await;
    }
    let careless = producer(&side.bootstrap(), &[("acks", "0")]);
    produce(
        &careless,
        &partitions[0],
        (0..200).map(|at| format!("careless {at}")),
    )
    .await;
    let id = unique_name("transaction");
    let transactional = producer(&side.bootstrap(), &[("transactional.id", &id)]);
    transactional
        .init_transactions(PATIENCE)
        .expect("the id is free");
    for round in 0..4 {
        transactional.begin_transaction().expect("none is open");
        produce(
            &transactional,
            &partitions[1],
            (0..50).map(|at| format!("transaction {round} {at}")),
        )
        .await;
        if round % 2 == 0 {
            transactional
                .commit_transaction(PATIENCE)
                .expect("it commits");
        } else {
            transactional
                .abort_transaction(PATIENCE)
                .expect("it aborts");
        }
    }
    let committed = [("isolation.level", "read_committed")];
    let enough = 1_500 + 200 + 100;
    let (_, direct) = read(
        reader(&kafka.bootstrap(), &partitions, &committed),
        enough,
        PATIENCE,
    )
    .await;
    let (_, through) = read(
        reader(&side.bootstrap(), &partitions, &committed),
        enough,
        PATIENCE,
    )
    .await;
    assert_eq!(direct.len(), enough);
    assert_eq!(by_partition(&direct), by_partition(&through));
}

fn member(bootstrap: &str, group: &str, instance: usize, kind: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    match kind {
        "eager" => config.set("partition.assignment.strategy", "range"),
        "cooperative" => config.set("partition.assignment.strategy", "cooperative-sticky"),
        "static" => config.set("group.instance.id", format!("instance-{instance}")),
        _ => config.set("group.protocol", "consumer"),
    };
    config.create().expect("the settings are right")
}

// Reads with a member of its own until the group has seen all; answers the values.
fn take_part(consumer: &BaseConsumer, seen: &parking_lot::Mutex<BTreeSet<Vec<u8>>>, enough: usize) {
    let end = std::time::Instant::now() + PATIENCE;
    while seen.lock().len() < enough && std::time::Instant::now() < end {
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            let record = record.expect("no error while reading");
            seen.lock()
                .insert(record.payload().expect("a value").to_vec());
            consumer
                .commit_message(&record, CommitMode::Async)
                .expect("a commit is queued");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_every_kind_share_partitions() {
    let kafka = Kafka::shared().await;
    let side = Side::plain(&kafka.bootstrap());
    for kind in ["eager", "cooperative", "static", "consumer"] {
        let topic = kafka.topics().create_unique(kind, 4).await;
        let feeder = producer(&kafka.bootstrap(), &[]);
        for index in 0..4 {
            let partition = TopicPartition::new(topic.as_str(), index);
            produce(
                &feeder,
                &partition,
                (0..250).map(|at| format!("{index} {at}")),
            )
            .await;
        }
        let (group, bootstrap) = (unique_name(kind), side.bootstrap());
        let seen = std::sync::Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
        let members = (0..2).map(|instance| {
            let (seen, topic) = (seen.clone(), topic.clone());
            let consumer = member(&bootstrap, &group, instance, kind);
            tokio::task::spawn_blocking(move || {
                consumer
                    .subscribe(&[&topic])
                    .expect("the topic can be subscribed");
                take_part(&consumer, &seen, 1_000);
            })
        });
        for member in members.collect::<Vec<_>>() {
            member.await.expect("a member does not panic");
        }
        assert_eq!(seen.lock().len(), 1_000, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_survived() {
    let mut kafka = Kafka::start(KafkaOptions {
        brokers: 3,
        heap_mib: 384,
        ..KafkaOptions::default()
    })
    .await;
    let topic = kafka.topics().create_unique("leaders", 6).await;
    let side = Side::plain(&kafka.bootstrap());
    let partitions: Vec<_> = (0..6)
        .map(|index| TopicPartition::new(topic.as_str(), index))
        .collect();
    let through = producer(&side.bootstrap(), &[("enable.idempotence", "true")]);
    let mut sent = Vec::new();
    for round in 0..60 {
        if round == 20 {
            kafka.broker(1).kill();
        }
        if round == 40 {
            kafka.broker(1).start_again();
        }
        for partition in &partitions {
            let value = format!("{} {round}", partition.partition);
            let record = FutureRecord::<(), _>::to(&topic)
                .partition(partition.partition)
                .payload(&value);
            sent.push(through.send_result(record).expect("the queue has room"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for delivery in sent {
        delivery
            .await
            .expect("the producer lives")
            .expect("the record is delivered");
    }
    let (_, seen) = read(reader(&side.bootstrap(), &partitions, &[]), 360, PATIENCE).await;
    for (partition, records) in by_partition(&seen) {
        let values: Vec<_> = records
            .iter()
            .filter_map(|record| record.value.clone())
            .collect();
        let expected: Vec<_> = (0..60)
            .map(|round| format!("{partition} {round}").into_bytes())
            .collect();
        assert_eq!(
            values, expected,
            "each record once and in order on partition {partition}"
        );
    }
}
