//! Topics of a Kafka: made, listed, measured, deleted.
//!
//! It promises that a topic it made is known to every broker's metadata when the call returns. It refuses to know what is in them.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};

use crate::wait::wait_until;

/// How long one question to the cluster may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take to be in the metadata.
const CREATE_DEADLINE: Duration = Duration::from_secs(30);
/// How long the records that a test wants may take: many times what they take.
const FLOW_DEADLINE: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of any process uses, beginning with `prefix`: for topics, groups, transactional ids, deployments.
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The topics of one Kafka, reached directly or through a sidecar.
#[derive(Clone, Debug)]
pub struct Topics {
    bootstrap: String,
}

impl Topics {
    /// The topics of the Kafka at `bootstrap`.
    #[must_use]
    pub fn of(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
        }
    }

    /// Makes a topic with the broker's default replication.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn create(&self, name: &str, partitions: i32) {
        self.create_with(name, partitions, &[]).await;
    }

    /// Makes a topic with settings such as `cleanup.policy`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn create_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        let topic = settings
            .iter()
            .fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = self
            .admin()
            .create_topics([&topic], &options())
            .await
            .expect("the cluster answers");
        made.into_iter().for_each(|result| {
            result.unwrap_or_else(|(name, error)| panic!("topic {name} was not made: {error}"));
        });
        let count = usize::try_from(partitions).expect("partitions are counted from 0 up");
        wait_until(
            CREATE_DEADLINE,
            &format!("the leaders of topic {name} to serve it"),
            || async move { is_served(&self.consumer(), name, count) },
        )
        .await;
    }

    /// Makes a topic with a name of its own and gives the name.
    pub async fn create_unique(&self, prefix: &str, partitions: i32) -> String {
        let name = unique_name(prefix);
        self.create(&name, partitions).await;
        name
    }

    /// Adds partitions until there are `partitions`.
    ///
    /// # Panics
    /// When the cluster refuses.
    pub async fn grow(&self, name: &str, partitions: usize) {
        let grown = self
            .admin()
            .create_partitions([&NewPartitions::new(name, partitions)], &options())
            .await;
        grown
            .expect("the cluster answers")
            .into_iter()
            .for_each(|result| {
                result.unwrap_or_else(|(name, error)| panic!("topic {name} did not grow: {error}"));
            });
        wait_until(
            CREATE_DEADLINE,
            &format!("the leaders of topic {name} to serve all it grew to"),
            || async move { is_served(&self.consumer(), name, partitions) },
        )
        .await;
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Panics
    /// When the cluster refuses.
    pub async fn delete(&self, name: &str) {
        let deleted = self
            .admin()
            .delete_topics(&[name], &options())
            .await
            .expect("the cluster answers");
        deleted.into_iter().for_each(|result| {
            result.unwrap_or_else(|(name, error)| panic!("topic {name} was not deleted: {error}"));
        });
        wait_until(
            CREATE_DEADLINE,
            &format!("topic {name} to be gone"),
            || async move { self.partitions(name) == 0 },
        )
        .await;
    }

    /// How many partitions with a leader it has; 0 when there is no such topic.
    #[must_use]
    pub fn partitions(&self, name: &str) -> usize {
        partitions(&self.consumer(), name)
    }

    /// The first offset kept and the next to be written, of every partition.
    ///
    /// # Panics
    /// When the cluster does not answer.
    #[must_use]
    pub fn watermarks(&self, name: &str) -> Vec<(i64, i64)> {
        watermarks(&self.consumer(), name)
    }

    /// How many offsets the topics have taken together: records, and a few markers.
    ///
    /// # Panics
    /// When the cluster does not answer.
    #[must_use]
    pub fn appended(&self, names: &[String]) -> i64 {
        appended(&self.consumer(), names)
    }

    /// Waits until the topics together have taken `records` more than now.
    ///
    /// # Panics
    /// When that takes longer than a slow machine needs.
    pub async fn wait_appended(&self, names: &[String], records: i64) {
        let consumer = &self.consumer();
        let enough = appended(consumer, names) + records;
        wait_until(FLOW_DEADLINE, "records to flow", || async move {
            appended(consumer, names) >= enough
        })
        .await;
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("log_level", "0")
            .create()
            .expect("a client needs a bootstrap only")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("log_level", "0")
            .create()
            .expect("a client needs a bootstrap only")
    }
}

fn partitions(consumer: &BaseConsumer, name: &str) -> usize {
    let Ok(metadata) = consumer.fetch_metadata(Some(name), REQUEST_TIMEOUT) else {
        return 0;
    };
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name() == name && topic.error().is_none());
    topics
        .flat_map(|topic| topic.partitions())
        .filter(|partition| partition.leader() >= 0)
        .count()
}

/// Whether all of `count` partitions answer: a leader is told of before it has taken a partition over, and refuses it until then.
fn is_served(consumer: &BaseConsumer, name: &str, count: usize) -> bool {
    marks(consumer, name).is_ok_and(|marks| marks.len() == count)
}

fn watermarks(consumer: &BaseConsumer, name: &str) -> Vec<(i64, i64)> {
    marks(consumer, name).expect("the cluster answers")
}

fn marks(consumer: &BaseConsumer, name: &str) -> KafkaResult<Vec<(i64, i64)>> {
    let count = i32::try_from(partitions(consumer, name)).expect("partitions are numbered by i32");
    let mark = |partition| consumer.fetch_watermarks(name, partition, REQUEST_TIMEOUT);
    (0..count).map(mark).collect()
}

fn appended(consumer: &BaseConsumer, names: &[String]) -> i64 {
    let marks = names.iter().flat_map(|name| watermarks(consumer, name));
    marks.map(|(_, end)| end).sum()
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}
