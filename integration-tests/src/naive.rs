//! The copy that everybody makes first: committed offsets, topics and state, one after another, while everything runs.
//!
//! It stands beside Cutline to show what a cut is for. It is careful in everything else: each part is copied whole, each is put back exactly
//! as it was copied, and the services are stopped while that is done. It promises nothing about the whole.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    bank::{BANKS, Bank},
    run::Run,
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

/// What was copied.
#[derive(Debug)]
pub struct NaiveCopy {
    kafka: String,
    /// By group.
    offsets: Vec<(String, Vec<Committed>)>,
    /// By topic: the records of each partition.
    topics: Vec<(String, Vec<Records>)>,
    /// By bank: where its state was copied from, and where to.
    states: Vec<(PathBuf, PathBuf)>,
}

impl NaiveCopy {
    /// Copies one thing after another, while the bank runs.
    ///
    /// # Panics
    /// When something cannot be read.
    #[must_use]
    pub fn take(kafka: &str, bank: &Bank) -> Self {
        let topics = bank.topics();
        let groups = BANKS.map(|name| bank.group(name));
        let offsets = groups.into_iter().map(|group| {
            let committed = committed(kafka, &group, &topics);
            (group, committed)
        });
        let offsets = offsets.collect();
        let records = topics.into_iter().map(|topic| {
            let records = read_topic(kafka, &topic);
            (topic, records)
        });
        let records = records.collect();
        let copy = Run::this().part("naive");
        let states = BANKS.map(|name| (bank.state(name), copy.join(name)));
        states.iter().for_each(|(from, to)| copy_files(from, to));
        Self {
            kafka: kafka.into(),
            offsets,
            topics: records,
            states: states.into(),
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
        for (from, copy) in &self.states {
            std::fs::remove_dir_all(from).expect("a stopped service's directory can be emptied");
            copy_files(copy, from);
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

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory for a copy");
    for entry in std::fs::read_dir(from)
        .expect("a directory of state")
        .flatten()
    {
        // A file that was renamed meanwhile was a temporary one.
        let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
    }
}
