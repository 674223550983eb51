//! Where partitions begin and end.

use std::collections::BTreeMap;

use cutline_model::{Offset, TopicName, TopicPartition};
use futures_util::future::join_all;
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};

use super::{Acl, Client, ClientError, error::check, metadata::text};

/// What offset of a partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The first offset still in the log.
    Earliest,
    /// The high watermark: one past the last replicated record, transactions open or not.
    End,
    /// One past the last record that a `read_committed` client can see.
    StableEnd,
}

/// A partition's offset and the leader epoch it belongs to (−1 where unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The leader epoch.
    pub leader_epoch: i32,
}

impl Client {
    /// The offsets of `partitions` at `spot`, asked of all their leaders at once and repeated while leaders move.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spot: Spot,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
        self.retrying(|client| async move { client.list_offsets_once(partitions, spot).await })
            .await
    }

    async fn list_offsets_once(
        &self,
        partitions: &[TopicPartition],
        spot: Spot,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
        let mut metadata = self.metadata();
        if partitions
            .iter()
            .any(|partition| metadata.leader_of(partition).is_err())
        {
            metadata = self.refresh_metadata().await?;
        }
        let by_leader = metadata.by_leader(partitions, |partition| partition)?;
        let asked = by_leader
            .into_iter()
            .map(|(leader, partitions)| async move {
                let request = request(&partitions, spot);
                read(&self.call(leader, &request).await?)
            });
        let mut listed = BTreeMap::new();
        for answer in join_all(asked).await {
            listed.extend(answer?);
        }
        match partitions
            .iter()
            .find(|partition| !listed.contains_key(partition))
        {
            Some(missing) => Err(ClientError::Missing(missing.to_string())),
            None => Ok(listed),
        }
    }
}

/// `partitions` by topic.
pub(super) fn by_topic<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> BTreeMap<&'a TopicName, Vec<i32>> {
    let mut by_topic = BTreeMap::<&TopicName, Vec<i32>>::new();
    for partition in partitions {
        by_topic
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition);
    }
    by_topic
}

fn request(partitions: &[&TopicPartition], spot: Spot) -> ListOffsetsRequest {
    let (timestamp, isolation) = match spot {
        Spot::Earliest => (-2, 0),
        Spot::End => (-1, 0),
        Spot::StableEnd => (-1, 1),
    };
    let topics = by_topic(partitions.iter().copied())
        .into_iter()
        .map(|(topic, indexes)| {
            let partitions = indexes.into_iter().map(|index| {
                ListOffsetsPartition::default()
                    .with_partition_index(index)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
            });
            ListOffsetsTopic::default()
                .with_name(text(topic.as_str()).into())
                .with_partitions(partitions.collect())
        });
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation)
        .with_topics(topics.collect())
}

fn read(
    response: &ListOffsetsResponse,
) -> Result<BTreeMap<TopicPartition, ListedOffset>, ClientError> {
    let mut listed = BTreeMap::new();
    for topic in &response.topics {
        for found in &topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), found.partition_index);
            check(found.error_code, || format!("offset of {partition}"))
                .map_err(|error| error.needs(&[Acl::topic("DESCRIBE", &partition.topic)]))?;
            let offset = ListedOffset {
                offset: Offset(found.offset),
                leader_epoch: found.leader_epoch,
            };
            listed.insert(partition, offset);
        }
    }
    Ok(listed)
}
