//! The copy that everybody makes first: committed offsets, topics and state, one after another, while everything runs.
//!
//! It stands beside Cutline to show what a cut is for. It is careful in everything else: each part is copied whole, each is put back exactly
//! as it was copied, and the services are stopped while that is done. It promises nothing about the whole.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    bank::{BANKS, Bank, HomeCopy},
    topics::Topics,
};

/// How long one question to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long records that are put back may take to be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// One partition's records, in order.
type Records = Vec<Vec<u8>>;

/// Topic, partition and committed offset.
type Committed = (String, i32, i64);

/// A group and what it had committed.
type GroupOffsets = (String, Vec<Committed>);

/// A topic and the records of each partition.
type TopicRecords = (String, Vec<Records>);

/// What was copied of a bank.
#[derive(Debug)]
pub struct NaiveCopy {
    kafka: KafkaCopy,
    state: HomeCopy,
}

/// What was copied of Kafka: the offsets of groups, and then topics.
#[derive(Debug)]
pub struct KafkaCopy {
    kafka: String,
    offsets: Vec<GroupOffsets>,
    topics: Vec<TopicRecords>,
}

impl NaiveCopy {
    /// Copies one thing after another, while the bank runs.
    ///
    /// # Panics
    /// When something cannot be read.
    pub async fn take(kafka: &str, bank: &Bank) -> Self {
        let groups = BANKS.map(|name| bank.group(name));
        Self {
            kafka: tokio::task::block_in_place(|| KafkaCopy::take(kafka, &groups, &bank.topics())),
            state: bank.home().copy().await,
        }
    }

    /// Puts everything back as it was copied, while the services are stopped.
    ///
    /// # Panics
    /// When something cannot be written.
    pub async fn put_back(&self) {
        self.kafka.put_back().await;
        self.state.put_back().await;
    }
}

impl KafkaCopy {
    /// Copies the offsets of one group after another, then one topic after another; it blocks.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn take(kafka: &str, groups: &[String], topics: &[String]) -> Self {
        let offsets = groups
            .iter()
            .map(|group| (group.clone(), committed(kafka, group, topics)));
        let offsets = offsets.collect();
        let records = topics.iter().map(|topic| {
            let records = read_topic(kafka, topic);
            (topic.clone(), records)
        });
        Self {
            kafka: kafka.into(),
            offsets,
            topics: records.collect(),
        }
    }

    /// Puts everything back as it was copied, while the services are stopped.
    ///
    /// # Panics
    /// When something cannot be written.
    pub async fn put_back(&self) {
        let topics = Topics::of(&self.kafka);
        for (topic, partitions) in &self.topics {
            topics.delete(topic).await;
            topics
                .create(
                    topic,
                    i32::try_from(partitions.len()).expect("partitions are numbered by i32"),
                )
                .await;
            write_topic(&self.kafka, topic, partitions);
        }
        for (group, offsets) in &self.offsets {
            commit(&self.kafka, group, offsets);
        }
    }
}

fn consumer(kafka: &str, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    config
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a client needs a bootstrap only")
}

fn committed(kafka: &str, group: &str, topics: &[String]) -> Vec<Committed> {
    let mut places = TopicPartitionList::new();
    for topic in topics {
        let partitions = i32::try_from(Topics::of(kafka).partitions(topic))
            .expect("partitions are numbered by i32");
        (0..partitions).for_each(|partition| {
            places.add_partition(topic, partition);
        });
    }
    let committed = consumer(kafka, group)
        .committed_offsets(places, REQUEST_TIMEOUT)
        .expect("the broker answers");
    let known = committed
        .elements()
        .into_iter()
        .filter_map(|place| match place.offset() {
            Offset::Offset(offset) => Some((place.topic().to_owned(), place.partition(), offset)),
            _ => None,
        });
    known.collect()
}

/// Reads every partition up to the end it has when it is come to.
fn read_topic(kafka: &str, topic: &str) -> Vec<Records> {
    let ends = Topics::of(kafka).watermarks(topic);
    let reader = consumer(kafka, "naive-copy");
    let read = ends.iter().enumerate().map(|(partition, (low, high))| {
        let mut places = TopicPartitionList::new();
        let partition = i32::try_from(partition).expect("partitions are numbered by i32");
        places
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset by name");
        reader.assign(&places).expect("an assignment by hand");
        let mut records = Records::new();
        while (records.len() as i64) < high - low {
            // The end of the partition also shows as an error; what is missing then was never a record.
            match reader.poll(REQUEST_TIMEOUT) {
                Some(Ok(message)) => records.push(message.payload().unwrap_or_default().to_vec()),
                Some(Err(_)) | None => break,
            }
        }
        records
    });
    read.collect()
}

fn write_topic(kafka: &str, topic: &str, partitions: &[Records]) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "2000000");
    let producer: BaseProducer = config.create().expect("a client needs a bootstrap only");
    for (partition, records) in partitions.iter().enumerate() {
        let partition = i32::try_from(partition).expect("partitions are numbered by i32");
        for payload in records {
            let record: BaseRecord<'_, (), [u8]> =
                BaseRecord::to(topic).partition(partition).payload(payload);
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("the queue holds a whole topic of the example");
        }
    }
    producer
        .flush(FLUSH_TIMEOUT)
        .expect("the broker acknowledges");
}

fn commit(kafka: &str, group: &str, offsets: &[Committed]) {
    let mut places = TopicPartitionList::new();
    for (topic, partition, offset) in offsets {
        places
            .add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .expect("an offset by number");
    }
    if !offsets.is_empty() {
        consumer(kafka, group)
            .commit(&places, CommitMode::Sync)
            .expect("the group is empty");
    }
}
