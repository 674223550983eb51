//! Raw batches of partitions from given offsets on, for whoever looks into the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use cutline_model::{Offset, TopicPartition};
use futures_util::future::join_all;
use kafka_protocol::{
    messages::{
        FetchRequest, FetchResponse,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::{Message, VersionRange},
};

use super::{Acl, Client, ClientError, error::check, metadata::text};

// Up to here topics are named, from version 13 on they are numbered.
const FETCH_BY_NAME_MAX: i16 = 12;
const NO_SESSION_EPOCH: i32 = -1;
/// Bytes asked of one partition at once.
pub const PARTITION_BYTES_MAX: i32 = 1024 * 1024;
/// Bytes asked of one broker at once.
pub const FETCH_BYTES_MAX: i32 = 16 * 1024 * 1024;

/// What a partition answered.
#[derive(Clone, Debug)]
pub struct FetchedRecords {
    /// The batches as they stand in the log; the first may begin below the offset asked for, the last may be cut off.
    pub records: Bytes,
    /// The end of what is replicated.
    pub high_watermark: Offset,
    /// The first offset still in the log.
    pub log_start: Offset,
    /// Aborted transactions among the records, `read_committed` only: producer id and first offset.
    pub aborted: Vec<(i64, Offset)>,
}

impl Client {
    /// Reads `partition` from `from` on, once, uncommitted records too; waits up to `wait_ms` for the first byte.
    pub async fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        wait_ms: i32,
    ) -> Result<FetchedRecords, ClientError> {
        let asked = BTreeMap::from([(partition.clone(), from)]);
        let mut fetched = self.fetch_many(&asked, wait_ms, false).await?;
        fetched
            .remove(partition)
            .ok_or_else(|| ClientError::Missing(partition.to_string()))
    }

    /// Reads every partition of `from` from its offset on, once, all leaders at the same time. `committed` asks for
    /// what a `read_committed` client gets.
    pub async fn fetch_many(
        &self,
        from: &BTreeMap<TopicPartition, Offset>,
        wait_ms: i32,
        committed: bool,
    ) -> Result<BTreeMap<TopicPartition, FetchedRecords>, ClientError> {
        let mut metadata = self.metadata();
        if from
            .keys()
            .any(|partition| metadata.leader_of(partition).is_err())
        {
            metadata = self.refresh_metadata().await?;
        }
        let by_leader = metadata.by_leader(from, |(partition, _)| partition)?;
        let versions = VersionRange {
            max: FETCH_BY_NAME_MAX,
            ..FetchRequest::VERSIONS
        };
        let asked = by_leader
            .into_iter()
            .map(|(leader, partitions)| async move {
                let request = request(&partitions, wait_ms, committed);
                read(self.call_within(leader, &request, versions).await?)
            });
        let mut fetched = BTreeMap::new();
        for answer in join_all(asked).await {
            fetched.extend(answer?);
        }
        Ok(fetched)
    }
}

fn request(
    partitions: &[(&TopicPartition, &Offset)],
    wait_ms: i32,
    committed: bool,
) -> FetchRequest {
    let mut by_topic = BTreeMap::<_, Vec<_>>::new();
    for (partition, offset) in partitions {
        let asked = FetchPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset.0)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(PARTITION_BYTES_MAX);
        by_topic.entry(&partition.topic).or_default().push(asked);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        FetchTopic::default()
            .with_topic(text(topic.as_str()).into())
            .with_partitions(partitions)
    });
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES_MAX)
        .with_isolation_level(i8::from(committed))
        .with_session_epoch(NO_SESSION_EPOCH)
        .with_topics(topics.collect())
}

fn read(response: FetchResponse) -> Result<BTreeMap<TopicPartition, FetchedRecords>, ClientError> {
    check(response.error_code, || "fetch".to_owned())?;
    let mut fetched = BTreeMap::new();
    for topic in response.responses {
        for found in topic.partitions {
            let partition = TopicPartition::new(topic.topic.as_str(), found.partition_index);
            check(found.error_code, || format!("fetch of {partition}"))
                .map_err(|error| error.needs(&[Acl::topic("READ", &partition.topic)]))?;
            let aborted = found.aborted_transactions.unwrap_or_default();
            let records = FetchedRecords {
                records: found.records.unwrap_or_default(),
                high_watermark: Offset(found.high_watermark),
                log_start: Offset(found.log_start_offset),
                aborted: aborted
                    .iter()
                    .map(|aborted| (aborted.producer_id.0, Offset(aborted.first_offset)))
                    .collect(),
            };
            fetched.insert(partition, records);
        }
    }
    Ok(fetched)
}
