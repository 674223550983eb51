//! What lies in the log, read from the brokers directly and without any of the clients under test.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_model::{Offset, TopicPartition};
use cutline_wire::{
    batch::batches,
    client::{Client, ClientOptions},
};
use integration_tests::Kafka;
use rdkafka::{
    ClientConfig, Message, Offset as KafkaOffset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::records::PARTITIONS;

// How long the end of a partition is waited for.
const READ_DEADLINE: Duration = Duration::from_secs(30);

// Attributes follow base offset, length, leader epoch, magic and checksum.
const ATTRIBUTES_AT: usize = 22;

async fn client(kafka: &Kafka) -> Client {
    let brokers: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    Client::connect(&brokers, ClientOptions::default())
        .await
        .expect("the cluster answers")
}

/// The codecs that the batches of a topic are written with.
pub async fn codecs(kafka: &Kafka, topic: &str, partitions: i32) -> BTreeSet<String> {
    let client = client(kafka).await;
    let mut used = BTreeSet::new();
    for index in 0..partitions {
        let partition = TopicPartition::new(topic, index);
        let mut at = Offset(0);
        loop {
            let fetched = client
                .fetch(&partition, at, 100)
                .await
                .expect("the log can be read");
            let records = fetched.records;
            let found: Vec<_> = batches(&records).collect();
            let Some(last) = found.last() else { break };
            for batch in &found {
                used.insert(codec(records[batch.start + ATTRIBUTES_AT]));
            }
            at = Offset(last.last_offset.0 + 1);
        }
    }
    used
}

fn codec(attributes: u8) -> String {
    let name = match attributes & 7 {
        0 => "none",
        1 => "gzip",
        2 => "snappy",
        3 => "lz4",
        4 => "zstd",
        _ => "unknown",
    };
    name.to_owned()
}

fn index_of(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions are counted from 0 up")
}

/// Takes everything before `offset` away.
pub async fn trim(kafka: &Kafka, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .expect("a client needs a bootstrap only");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, KafkaOffset::Offset(offset))
        .expect("an offset");
    admin
        .delete_records(&from, &AdminOptions::new())
        .await
        .expect("the cluster takes it");
}

/// The end of every partition of a topic.
pub async fn ends(kafka: &Kafka, topic: &str, partitions: i32) -> Vec<i64> {
    let client = client(kafka).await;
    let mut ends = Vec::new();
    for index in 0..partitions {
        let fetched = client
            .fetch(&TopicPartition::new(topic, index), Offset(0), 0)
            .await;
        ends.push(fetched.expect("the log can be read").high_watermark.0);
    }
    ends
}

/// The numbers in the records of a flow, by partition and in order, as who reads what is committed sees them.
pub type Numbers = BTreeMap<i32, Vec<u64>>;

/// Reads a topic of numbered records to where it ends now; more may come meanwhile.
pub async fn numbers(bootstrap: &str, topic: &str) -> Numbers {
    let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .set("group.id", "unused")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .expect("the settings are right");
        let mut from = TopicPartitionList::new();
        for index in 0..PARTITIONS {
            from.add_partition_offset(&topic, index, KafkaOffset::Beginning)
                .expect("an offset");
        }
        let ends: Vec<i64> = (0..PARTITIONS)
            .map(|index| {
                let marks = consumer.fetch_watermarks(&topic, index, READ_DEADLINE);
                marks.expect("the topic has an end").1
            })
            .collect();
        consumer.assign(&from).expect("the topic exists");
        let (mut numbers, mut ended) = (Numbers::new(), BTreeSet::new());
        while ended.len() < PARTITIONS as usize {
            match consumer.poll(READ_DEADLINE).expect("an end in time") {
                Ok(record) => {
                    let value = record.payload().expect("a number");
                    let number = value[4..12].try_into().expect("eight bytes");
                    let partition = numbers.entry(record.partition()).or_default();
                    partition.push(u64::from_be_bytes(number));
                    // Its end is never told of a topic that somebody goes on writing.
                    if record.offset() + 1 >= ends[index_of(record.partition())] {
                        ended.insert(record.partition());
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    ended.insert(partition);
                }
                Err(error) => panic!("{topic} cannot be read: {error}"),
            }
        }
        numbers
    });
    reading.await.expect("reading does not panic")
}
