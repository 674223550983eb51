//! What lies in the log, read from the brokers directly and without any of the clients under test.

use std::collections::BTreeSet;

use cutline_model::{Offset, TopicPartition};
use cutline_wire::{
    batch::batches,
    client::{Client, ClientOptions},
};
use integration_tests::Kafka;
use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};

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
