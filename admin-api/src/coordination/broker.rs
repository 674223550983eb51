//! What the coordinator asks of Kafka: groups and partition counts, ends, committed offsets.
//!
//! Questions only. An answer that cannot be had is a sentence for the epoch's reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cutline_model::{GroupId, ServiceName, TopicName, TopicPartition};
use cutline_protocol::{End, GroupAssignment, IdleOffsets, MemberAssignment, Topology};
use cutline_wire::client::{Client, ClientError, Metadata, Spot};
use futures_util::{StreamExt, TryStreamExt, stream};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, InitProducerIdRequest};

/// Questions to Kafka at the same time.
const QUESTIONS_MAX: usize = 16;
/// Versions that markers are written in.
const MARKER_API_VERSIONS: std::ops::RangeInclusive<i16> = 0..=3;

/// Why the ends of an epoch cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    /// Kafka did not answer.
    #[error(transparent)]
    Kafka(#[from] ClientError),
    /// Positions and markers are of a log that is gone.
    #[error("topic {0} was deleted, or deleted and made again, while the checkpoint was taken")]
    TopicReplaced(TopicName),
}

/// Describes `groups` and counts the partitions of `topics`, after a metadata refresh; and what that said.
pub async fn topology(
    kafka: &Client,
    groups: &BTreeSet<GroupId>,
    topics: &BTreeSet<TopicName>,
) -> Result<(Topology, Arc<Metadata>), ClientError> {
    let metadata = kafka.refresh_metadata().await?;
    kafka.check_visible(topics).await?;
    let described = stream::iter(groups.iter().cloned())
        .map(|group| async move {
            let state = kafka.describe_group(&group).await?;
            let members = state.members.iter().map(|member| MemberAssignment {
                member: member.id.clone(),
                partitions: member.assignment.clone(),
            });
            let assignment = GroupAssignment {
                group: group.clone(),
                stable: state.is_settled(),
                members: members.collect(),
            };
            Ok::<_, ClientError>((group, assignment))
        })
        .buffer_unordered(QUESTIONS_MAX)
        .try_collect()
        .await?;
    let topology = Topology {
        groups: described,
        partitions: counts(&metadata, topics),
    };
    Ok((topology, metadata))
}

/// The ends of every partition of `topics`, after a metadata refresh, and what that said. Topics that do not exist, and did
/// not `before`, are left out.
pub async fn ends(
    kafka: &Client,
    topics: &BTreeSet<TopicName>,
    before: &Metadata,
) -> Result<(BTreeMap<TopicPartition, End>, Arc<Metadata>), EndsError> {
    let metadata = kafka.refresh_metadata().await?;
    // One that is hidden from us must not pass for one that was deleted.
    kafka.check_visible(topics).await?;
    if let Some(topic) = before.replaced(&metadata, topics) {
        return Err(EndsError::TopicReplaced(topic.clone()));
    }
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .filter_map(|topic| Some((topic, metadata.topics.get(topic)?)))
        .flat_map(|(topic, info)| {
            let indexes = info.partitions.keys();
            indexes.map(|&index| TopicPartition::new(topic.clone(), index))
        })
        .collect();
    if partitions.is_empty() {
        return Ok((BTreeMap::new(), metadata));
    }
    let listed = kafka.list_offsets(&partitions, Spot::End).await?;
    let ends = listed.into_iter().map(|(partition, listed)| {
        let end = End {
            offset: listed.offset,
            leader_epoch: listed.leader_epoch,
        };
        (partition, end)
    });
    Ok((ends.collect(), metadata))
}

/// What `groups` have committed. Groups of `idle` services are asked for stable offsets: a transaction that their last
/// instance left behind is over before its offsets count. Live groups commit all the time and are never waited for;
/// only partitions nobody is assigned are looked at.
pub async fn committed(
    kafka: &Client,
    groups: &[(ServiceName, GroupId)],
    idle: &BTreeSet<ServiceName>,
) -> Result<IdleOffsets, ClientError> {
    let answers: Vec<IdleOffsets> = stream::iter(groups.iter().cloned())
        .map(|(service, group)| async move {
            let stable = idle.contains(&service);
            let committed = kafka.committed(&group, stable).await?;
            let offsets = committed.into_iter().map(|(partition, offset)| {
                let key = (service.clone(), group.clone(), partition);
                (key, Some(offset))
            });
            Ok::<_, ClientError>(offsets.collect())
        })
        .buffer_unordered(QUESTIONS_MAX)
        .try_collect()
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

/// True when the brokers can write markers.
pub async fn has_transactions(kafka: &Client) -> Result<bool, ClientError> {
    let metadata = kafka.metadata();
    let Some(&node) = metadata.brokers.keys().next() else {
        return Err(ClientError::NoBroker(-1));
    };
    let mut adds = false;
    let mut inits = false;
    for version in MARKER_API_VERSIONS {
        adds |= kafka
            .supports::<AddPartitionsToTxnRequest>(node, version)
            .await?;
        inits |= kafka
            .supports::<InitProducerIdRequest>(node, version)
            .await?;
    }
    Ok(adds && inits)
}

fn counts(metadata: &Metadata, topics: &BTreeSet<TopicName>) -> BTreeMap<TopicName, i32> {
    let counted = topics.iter().filter_map(|topic| {
        let count = metadata.partition_count(topic)?;
        // Kafka numbers partitions by i32.
        Some((topic.clone(), i32::try_from(count).unwrap_or(i32::MAX)))
    });
    counted.collect()
}
