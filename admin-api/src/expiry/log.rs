//! The logs as they were when they were last looked at: where they begin and end, what their topics keep, how fast they grow.
//!
//! Asked in batches, each of many partitions of all leaders at once. What cannot be had of a partition is left out.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, TopicName, TopicPartition};
use cutline_wire::client::{Client, ClientError, Metadata, Spot, TopicConfig};
use tokio::time::Instant;

use super::need::Need;

/// Partitions in one question.
const PARTITIONS_ASKED: usize = 2_000;
/// Topics in one question.
const TOPICS_ASKED: usize = 500;

/// One partition's log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Log {
    /// The first offset still in it.
    pub start: Offset,
    /// One past its last offset.
    pub end: Offset,
    /// Its size, asked where its topic limits that.
    pub bytes: Option<i64>,
    /// Offsets appended in a millisecond since the look before; `None` at the first.
    pub growth: Option<f64>,
}

/// The logs that checkpoints refer to.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// Kafka's id of every topic there is.
    pub ids: BTreeMap<TopicName, String>,
    /// What topics keep.
    pub configs: BTreeMap<TopicName, TopicConfig>,
    /// Partitions.
    pub partitions: BTreeMap<TopicPartition, Log>,
    looked_at: Option<Instant>,
}

impl Logs {
    /// Looks at everything that `needs` refer to.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub async fn look<'a>(
        &mut self,
        kafka: &Client,
        needs: impl Iterator<Item = &'a Need>,
    ) -> Result<(), ClientError> {
        let metadata = kafka.refresh_metadata().await?;
        self.ids = metadata
            .topics
            .iter()
            .map(|(name, topic)| (name.clone(), uuid::Uuid::from_bytes(topic.id).to_string()))
            .collect();
        let (topics, partitions) = asked(&metadata, needs);
        let now = Instant::now();
        let mut configs = BTreeMap::new();
        for some in topics.chunks(TOPICS_ASKED) {
            configs.extend(kafka.topic_configs(some).await?);
        }
        let mut logs = BTreeMap::new();
        for some in partitions.chunks(PARTITIONS_ASKED) {
            self.look_at(kafka, some, &configs, now, &mut logs).await?;
        }
        self.configs = configs;
        self.partitions = logs;
        self.looked_at = Some(now);
        Ok(())
    }

    async fn look_at(
        &self,
        kafka: &Client,
        partitions: &[TopicPartition],
        configs: &BTreeMap<TopicName, TopicConfig>,
        now: Instant,
        into: &mut BTreeMap<TopicPartition, Log>,
    ) -> Result<(), ClientError> {
        let starts = kafka.list_offsets(partitions, Spot::Earliest).await?;
        let ends = kafka.list_offsets(partitions, Spot::End).await?;
        let is_limited = |partition: &&TopicPartition| {
            let config = configs.get(&partition.topic);
            config.is_some_and(|config| config.deleted && config.retention_bytes.is_some())
        };
        let limited: Vec<TopicPartition> = partitions.iter().filter(is_limited).cloned().collect();
        let bytes = if limited.is_empty() {
            BTreeMap::new()
        } else {
            match kafka.log_bytes(&limited).await {
                Err(error) if error.is_retryable() => return Err(error),
                // It takes a right of its own (Describe on the cluster); without, size is not known to be a limit.
                Err(error) => {
                    tracing::debug!(%error, "sizes of logs are not told");
                    BTreeMap::new()
                }
                Ok(bytes) => bytes,
            }
        };
        let since = self.looked_at.map(|at| now.duration_since(at));
        for (partition, end) in ends {
            let Some(start) = starts.get(&partition) else {
                continue;
            };
            let before = self.partitions.get(&partition).map(|log| log.end);
            let growth = before.zip(since).map(|(before, since)| {
                let offsets = (end.offset.0 - before.0).max(0);
                offsets as f64 / (since.as_secs_f64() * 1_000.0).max(1.0)
            });
            let log = Log {
                start: start.offset,
                end: end.offset,
                bytes: bytes.get(&partition).copied(),
                growth,
            };
            into.insert(partition, log);
        }
        Ok(())
    }
}

/// What is asked about: topics that exist, and their partitions that have a leader. One that has none is looked at when it
/// has again.
fn asked<'a>(
    metadata: &Metadata,
    needs: impl Iterator<Item = &'a Need>,
) -> (Vec<TopicName>, Vec<TopicPartition>) {
    let (mut topics, mut partitions) = (BTreeSet::new(), BTreeSet::new());
    for need in needs {
        let tables = need.tables.iter().map(|table| table.topic);
        let read = need.positions.iter().map(|position| position.topic);
        let indexes: BTreeSet<usize> = tables.chain(read).collect();
        let names = indexes.into_iter().map(|index| &need.topics[index].0);
        topics.extend(
            names
                .filter(|name| metadata.topics.contains_key(*name))
                .cloned(),
        );
        let needed = need
            .positions
            .iter()
            .map(|position| need.partition(position));
        partitions.extend(needed.filter(|partition| metadata.leader_of(partition).is_ok()));
    }
    (
        topics.into_iter().collect(),
        partitions.into_iter().collect(),
    )
}
