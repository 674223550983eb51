//! Committed offsets: read for any group, written and deleted for groups without members.

use std::collections::BTreeMap;

use cutline_model::{GroupId, Offset, TopicPartition};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
    offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    },
};

use super::{Acl, Client, ClientError, error::check, listing::by_topic, metadata::text};

// A commit from outside the group, which only an empty group takes.
const NO_GENERATION: i32 = -1;
const NO_RETENTION: i64 = -1;
const NO_LEADER_EPOCH: i32 = -1;

impl Client {
    /// Everything `group` has committed. With `require_stable` it waits, within the retry budget, for offsets that an
    /// open transaction is about to commit.
    pub async fn committed(
        &self,
        group: &GroupId,
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        self.retrying(
            |client| async move { client.committed_once(group, None, require_stable).await },
        )
        .await
    }

    /// What `group` has committed on `partitions`; those without a committed offset are absent. Asked once, so that
    /// `UNSTABLE_OFFSET_COMMIT` is the caller's to judge.
    pub async fn committed_on(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        self.committed_once(group, Some(partitions), require_stable)
            .await
    }

    async fn committed_once(
        &self,
        group: &GroupId,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let response = self.ask_committed(group, partitions, require_stable).await;
        let committed = response.and_then(|response| read(group, &response));
        self.forget_coordinator_on_error(group, &committed);
        committed
    }

    async fn ask_committed(
        &self,
        group: &GroupId,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<OffsetFetchResponse, ClientError> {
        let node = self.group_coordinator(group).await?;
        let request = fetch_of_group(group, partitions).with_require_stable(require_stable);
        match self.call(node, &request).await {
            // A broker from before version 8 asks for one group in the request itself.
            Err(ClientError::Encode(..)) => {
                let request = old_fetch_of_group(group, partitions);
                let request = request.with_require_stable(require_stable);
                self.call(node, &request).await
            }
            other => other,
        }
    }

    /// Commits `offsets` for a group without members; an error when it has some.
    pub async fn commit(
        &self,
        group: &GroupId,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.retrying(|client| async move { client.commit_once(group, offsets).await })
            .await?;
        cutline_crash::here("committed offsets");
        Ok(())
    }

    async fn commit_once(
        &self,
        group: &GroupId,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let node = self.group_coordinator(group).await?;
        let topics = by_topic(offsets.keys())
            .into_iter()
            .map(|(topic, indexes)| {
                let partitions = indexes.into_iter().map(|index| {
                    let offset = offsets[&TopicPartition::new(topic.clone(), index)];
                    OffsetCommitRequestPartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset.0)
                        .with_committed_leader_epoch(NO_LEADER_EPOCH)
                        .with_committed_metadata(Some(text("")))
                });
                OffsetCommitRequestTopic::default()
                    .with_name(text(topic.as_str()).into())
                    .with_partitions(partitions.collect())
            });
        let request = OffsetCommitRequest::default()
            .with_group_id(text(group.as_str()).into())
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_retention_time_ms(NO_RETENTION)
            .with_topics(topics.collect());
        let response = self.call(node, &request).await;
        self.forget_coordinator_on_error(group, &response);
        let response = response?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let name = topic.name.as_str();
                let checked = check(partition.error_code, || {
                    format!("commit of {group} on {name}-{index}")
                });
                let checked = checked.map_err(|error| {
                    error.needs(&[Acl::group("READ", group), Acl::topic("READ", &name.into())])
                });
                self.forget_coordinator_on_error(group, &checked);
                checked?;
            }
        }
        Ok(())
    }

    /// Deletes the committed offsets of a group without members; ones that do not exist are no error.
    pub async fn delete_committed(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.retrying(
            |client| async move { client.delete_committed_once(group, partitions).await },
        )
        .await?;
        cutline_crash::here("deleted committed offsets");
        Ok(())
    }

    async fn delete_committed_once(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let node = self.group_coordinator(group).await?;
        let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
            let partitions = indexes
                .into_iter()
                .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(index));
            OffsetDeleteRequestTopic::default()
                .with_name(text(topic.as_str()).into())
                .with_partitions(partitions.collect())
        });
        let request = OffsetDeleteRequest::default()
            .with_group_id(text(group.as_str()).into())
            .with_topics(topics.collect());
        let response = self.call(node, &request).await;
        self.forget_coordinator_on_error(group, &response);
        let response = response?;
        let checked = check(response.error_code, || {
            format!("deleting offsets of {group}")
        })
        .map_err(|error| error.needs(&[Acl::group("DELETE", group)]));
        self.forget_coordinator_on_error(group, &checked);
        checked?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let name = topic.name.as_str();
                check(partition.error_code, || {
                    format!("deleting an offset of {group} on {name}")
                })
                .map_err(|error| error.needs(&[Acl::topic("READ", &name.into())]))?;
            }
        }
        Ok(())
    }
}

fn fetch_of_group(group: &GroupId, partitions: Option<&[TopicPartition]>) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
            OffsetFetchRequestTopics::default()
                .with_name(text(topic.as_str()).into())
                .with_partition_indexes(indexes)
        });
        topics.collect()
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text(group.as_str()).into())
        .with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![group])
}

fn old_fetch_of_group(
    group: &GroupId,
    partitions: Option<&[TopicPartition]>,
) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
            OffsetFetchRequestTopic::default()
                .with_name(text(topic.as_str()).into())
                .with_partition_indexes(indexes)
        });
        topics.collect()
    });
    OffsetFetchRequest::default()
        .with_group_id(text(group.as_str()).into())
        .with_topics(topics)
}

fn read(
    group: &GroupId,
    response: &OffsetFetchResponse,
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    let describes = [Acl::group("DESCRIBE", group)];
    check(response.error_code, || format!("offsets of {group}"))
        .map_err(|error| error.needs(&describes))?;
    let mut found = Vec::new();
    for answer in &response.groups {
        check(answer.error_code, || format!("offsets of {group}"))
            .map_err(|error| error.needs(&describes))?;
        for topic in &answer.topics {
            let partitions = topic.partitions.iter();
            found.extend(partitions.map(|at| {
                (
                    &topic.name,
                    at.partition_index,
                    at.error_code,
                    at.committed_offset,
                )
            }));
        }
    }
    for topic in &response.topics {
        let partitions = topic.partitions.iter();
        found.extend(partitions.map(|at| {
            (
                &topic.name,
                at.partition_index,
                at.error_code,
                at.committed_offset,
            )
        }));
    }
    let mut committed = BTreeMap::new();
    for (topic, index, error, offset) in found {
        let partition = TopicPartition::new(topic.as_str(), index);
        check(error, || format!("offset of {group} on {partition}"))
            .map_err(|error| error.needs(&[Acl::topic("DESCRIBE", &partition.topic)]))?;
        if offset >= 0 {
            committed.insert(partition, Offset(offset));
        }
    }
    Ok(committed)
}
