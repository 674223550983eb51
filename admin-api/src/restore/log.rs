//! Topics and their logs as they are now: ids, where they begin and end, what survived of a leader epoch.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, TopicName, TopicPartition};
use cutline_protocol::restore::{Facts, PartitionNow, TopicNow};
use cutline_wire::client::{Client, ClientError, Metadata, Spot};
use kafka_protocol::{
    error::ParseResponseErrorCode,
    messages::{
        OffsetForLeaderEpochRequest,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};

use super::RestoreError;
use crate::app::App;

/// A request that comes from no replica.
const NO_REPLICA: i32 = -1;
const NO_LEADER_EPOCH: i32 = -1;

/// Kafka's id of a topic, as manifests and the control topic spell it.
#[must_use]
pub fn topic_id(metadata: &Metadata, topic: &TopicName) -> Option<String> {
    let topic = metadata.topics.get(topic)?;
    Some(uuid::Uuid::from_bytes(topic.id).to_string())
}

/// Every topic that matters to a restore and exists.
///
/// # Errors
/// When Kafka does not answer.
pub async fn topics(
    app: &App,
    metadata: &Metadata,
    facts: &Facts,
) -> Result<BTreeMap<TopicName, TopicNow>, RestoreError> {
    let mut names: BTreeSet<TopicName> = facts.restored_outputs().into_values().flatten().collect();
    names.extend(
        facts
            .cut
            .positions()
            .map(|(_, partition, _)| partition.topic.clone()),
    );
    let masks = facts.masks_then.iter().chain(facts.masks_now.iter());
    names.extend(masks.map(|(_, partition, _)| partition.topic.clone()));
    names.retain(|name| metadata.topics.contains_key(name));
    let names: Vec<TopicName> = names.into_iter().collect();
    let partitions: Vec<TopicPartition> = names
        .iter()
        .flat_map(|topic| metadata.partitions_of(topic))
        .collect();
    let starts = app.kafka.list_offsets(&partitions, Spot::Earliest).await?;
    let ends = app.kafka.list_offsets(&partitions, Spot::End).await?;
    let epoch_ends = epoch_ends(&app.kafka, facts, &partitions).await?;
    let configs = app.kafka.topic_configs(&names).await?;
    let mut topics = BTreeMap::new();
    for topic in names {
        let now = metadata.partitions_of(&topic).filter_map(|partition| {
            let at = PartitionNow {
                log_start: starts.get(&partition)?.offset,
                end: ends.get(&partition)?.offset,
                epoch_end: epoch_ends.get(&partition).copied(),
            };
            Some((partition.partition, at))
        });
        let now = TopicNow {
            id: topic_id(metadata, &topic).unwrap_or_default(),
            compacted: configs.get(&topic).is_some_and(|config| config.compacted),
            partitions: now.collect(),
        };
        topics.insert(topic, now);
    }
    Ok(topics)
}

/// The present end of every partition known.
#[must_use]
pub fn ends(facts: &Facts) -> BTreeMap<TopicPartition, Offset> {
    let partitions = facts.topics_now.iter().flat_map(|(topic, now)| {
        let each = now.partitions.iter();
        each.map(|(&index, at)| (TopicPartition::new(topic.clone(), index), at.end))
    });
    partitions.collect()
}

/// `from`, but not below where each log begins.
#[must_use]
pub fn within(
    facts: &Facts,
    mut from: BTreeMap<TopicPartition, Offset>,
) -> BTreeMap<TopicPartition, Offset> {
    for (partition, offset) in &mut from {
        if let Some(now) = facts.partition_now(partition) {
            *offset = now.log_start.max(*offset);
        }
    }
    from
}

/// Where the leader epoch of each listed end ends now. An epoch the leader knows nothing of has left nothing.
async fn epoch_ends(
    kafka: &Client,
    facts: &Facts,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, RestoreError> {
    let mut ends = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i32)>> = BTreeMap::new();
    for partition in partitions {
        let listed = facts.cut.ends.get(partition).map(|end| end.leader_epoch);
        if let Some(epoch) = listed.filter(|epoch| *epoch >= 0) {
            let leader = kafka.leader_of(partition).await?;
            let asked = by_leader.entry(leader).or_default();
            asked.push((partition.clone(), epoch));
        }
    }
    for (leader, asked) in by_leader {
        let request = request(&asked);
        let response = kafka
            .retrying(|client| {
                let request = request.clone();
                async move { client.call(leader, &request).await }
            })
            .await?;
        for topic in &response.topics {
            for found in &topic.partitions {
                let partition = TopicPartition::new(topic.topic.as_str(), found.partition);
                if let Some(error) = found.error_code.err() {
                    let what = format!("leader epochs of {partition}");
                    return Err(ClientError::Kafka { what, error }.into());
                }
                ends.insert(partition, Offset(found.end_offset.max(0)));
            }
        }
    }
    Ok(ends)
}

fn request(asked: &[(TopicPartition, i32)]) -> OffsetForLeaderEpochRequest {
    let mut by_topic: BTreeMap<&TopicName, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for (partition, epoch) in asked {
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(NO_LEADER_EPOCH)
            .with_leader_epoch(*epoch);
        by_topic.entry(&partition.topic).or_default().push(asked);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        let name = StrBytes::from_string(topic.as_str().to_owned());
        OffsetForLeaderTopic::default()
            .with_topic(name.into())
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochRequest::default()
        .with_replica_id(NO_REPLICA.into())
        .with_topics(topics.collect())
}
