//! Who leads what: the cluster's brokers, topics and coordinators.
//!
//! Metadata is a snapshot that callers hold; refreshing replaces it. It may be out of date, and whoever acts on it is
//! told by the broker's answer.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{TopicName, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        FindCoordinatorRequest, MetadataRequest, MetadataResponse,
        metadata_request::MetadataRequestTopic,
    },
    protocol::StrBytes,
};

use super::{Acl, Client, ClientError, error::check};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub node: i32,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
}

impl Broker {
    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// One partition, as metadata has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its leader; `None` at the moment.
    pub leader: Option<i32>,
    /// The leader's epoch; −1 where unknown.
    pub leader_epoch: i32,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them have everything.
    pub in_sync: usize,
}

/// One topic, as metadata has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id: differs when it was deleted and created again.
    pub id: [u8; 16],
    /// Kafka's own.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: BTreeMap<i32, PartitionInfo>,
}

/// What the cluster looked like when it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The controller, as far as it is said.
    pub controller: i32,
    /// Brokers by number.
    pub brokers: BTreeMap<i32, Broker>,
    /// Topics by name.
    pub topics: BTreeMap<TopicName, TopicInfo>,
}

impl Metadata {
    /// Broker `node`.
    #[must_use]
    pub fn broker(&self, node: i32) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// The topic of an id.
    #[must_use]
    pub fn name_of(&self, id: &[u8; 16]) -> Option<&TopicName> {
        let mut topics = self.topics.iter();
        topics
            .find(|(_, topic)| topic.id == *id)
            .map(|(name, _)| name)
    }

    /// The first of `topics` that `now` no longer has, or has as another topic under the same name (KIP-516): what is
    /// known of its log from this metadata is of a log that is gone.
    #[must_use]
    pub fn replaced<'a>(
        &self,
        now: &Self,
        topics: impl IntoIterator<Item = &'a TopicName>,
    ) -> Option<&'a TopicName> {
        let id =
            |metadata: &Self, topic: &TopicName| metadata.topics.get(topic).map(|info| info.id);
        topics.into_iter().find(|topic| {
            let then = id(self, topic);
            then.is_some() && then != id(now, topic)
        })
    }

    /// How many partitions `topic` has.
    #[must_use]
    pub fn partition_count(&self, topic: &TopicName) -> Option<usize> {
        self.topics.get(topic).map(|topic| topic.partitions.len())
    }

    /// Every partition of `topic`.
    pub fn partitions_of(&self, topic: &TopicName) -> impl Iterator<Item = TopicPartition> {
        let name = topic.clone();
        let topic = self.topics.get(topic);
        topic
            .into_iter()
            .flat_map(|topic| topic.partitions.keys())
            .map(move |&index| TopicPartition::new(name.clone(), index))
    }

    /// The leader of `partition`.
    pub fn leader_of(&self, partition: &TopicPartition) -> Result<i32, ClientError> {
        self.topics
            .get(&partition.topic)
            .and_then(|topic| topic.partitions.get(&partition.partition))
            .ok_or_else(|| ClientError::NoPartition(partition.clone()))?
            .leader
            .ok_or_else(|| ClientError::NoLeader(partition.clone()))
    }

    /// `items` by the leader of the partition that `of` names.
    pub(super) fn by_leader<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        of: impl Fn(&T) -> &TopicPartition,
    ) -> Result<BTreeMap<i32, Vec<T>>, ClientError> {
        let mut by_leader = BTreeMap::<i32, Vec<T>>::new();
        for item in items {
            let leader = self.leader_of(of(&item))?;
            by_leader.entry(leader).or_default().push(item);
        }
        Ok(by_leader)
    }
}

impl Client {
    /// What is known of the cluster.
    #[must_use]
    pub fn metadata(&self) -> std::sync::Arc<Metadata> {
        self.inner.metadata.read().clone()
    }

    /// Asks the cluster again, for all topics.
    pub async fn refresh_metadata(&self) -> Result<std::sync::Arc<Metadata>, ClientError> {
        // Null asks for all topics, from version 1 on.
        let request = MetadataRequest::default()
            .with_topics(None)
            .with_allow_auto_topic_creation(false);
        let response = self.call_any(&request).await?;
        let metadata = std::sync::Arc::new(read(&response));
        *self.inner.metadata.write() = metadata.clone();
        Ok(metadata)
    }

    /// The name of the topic with this id, asked for where it is not known.
    pub async fn topic_of_id(&self, id: [u8; 16]) -> Result<Option<TopicName>, ClientError> {
        if let Some(name) = self.metadata().name_of(&id) {
            return Ok(Some(name.clone()));
        }
        Ok(self.refresh_metadata().await?.name_of(&id).cloned())
    }

    /// True when the topic exists; asks for it alone.
    pub async fn topic_exists(&self, topic: &TopicName) -> Result<bool, ClientError> {
        let asked = BTreeSet::from([topic.clone()]);
        Ok(!self.existing(&asked).await?.is_empty())
    }

    /// Nothing when those of `topics` that the metadata does not have do not exist. A broker leaves out what we may not see, so
    /// they are asked for by name.
    ///
    /// # Errors
    /// When one of them is there, or may be, and the right to see it is missing.
    pub async fn check_visible(&self, topics: &BTreeSet<TopicName>) -> Result<(), ClientError> {
        let known = self.metadata();
        let unknown = topics
            .iter()
            .filter(|topic| !known.topics.contains_key(*topic));
        let unknown: BTreeSet<TopicName> = unknown.cloned().collect();
        if !unknown.is_empty() {
            self.existing(&unknown).await?;
        }
        Ok(())
    }

    async fn existing(
        &self,
        topics: &BTreeSet<TopicName>,
    ) -> Result<BTreeSet<TopicName>, ClientError> {
        let asked = topics.iter().map(|topic| {
            MetadataRequestTopic::default().with_name(Some(text(topic.as_str()).into()))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(asked.collect()))
            .with_allow_auto_topic_creation(false);
        let response = self.call_any(&request).await?;
        let mut existing = BTreeSet::new();
        for topic in &response.topics {
            let name = topic.name.as_ref().map_or("", |name| name.as_str());
            let name = TopicName::from(name);
            match check(topic.error_code, || format!("metadata of {name}")) {
                Ok(()) => {
                    existing.insert(name);
                }
                Err(error) if error.kafka() == Some(ResponseError::TopicAuthorizationFailed) => {
                    return Err(error.needs(&[Acl::topic("DESCRIBE", &name)]));
                }
                // It is not there, or not yet everywhere.
                Err(_) => {}
            }
        }
        Ok(existing)
    }

    /// The leader of `partition`, after a refresh where it is not known.
    pub async fn leader_of(&self, partition: &TopicPartition) -> Result<i32, ClientError> {
        match self.metadata().leader_of(partition) {
            Ok(leader) => Ok(leader),
            Err(_) => self.refresh_metadata().await?.leader_of(partition),
        }
    }

    /// The coordinator of a group.
    pub async fn coordinator_of_group(&self, group: &str) -> Result<i32, ClientError> {
        self.coordinator(group, GROUP).await
    }

    /// The coordinator of a transactional id.
    pub async fn coordinator_of_transaction(&self, id: &str) -> Result<i32, ClientError> {
        self.coordinator(id, TRANSACTION).await
    }

    async fn coordinator(&self, key: &str, key_type: i8) -> Result<i32, ClientError> {
        // Version 4 on asks for many keys at once and answers in a list; both forms are filled in.
        let request = FindCoordinatorRequest::default().with_key_type(key_type);
        let many = request.clone().with_coordinator_keys(vec![text(key)]);
        let response = match self.call_any(&many).await {
            Err(ClientError::Encode(..)) => self.call_any(&request.with_key(text(key))).await?,
            other => other?,
        };
        let (code, node) = match response.coordinators.first() {
            Some(found) => (found.error_code, found.node_id.0),
            None => (response.error_code, response.node_id.0),
        };
        let acl = match key_type {
            GROUP => Acl::group("DESCRIBE", &key.into()),
            _ => Acl::transactional_id("DESCRIBE", key),
        };
        check(code, || format!("coordinator of {key}")).map_err(|error| error.needs(&[acl]))?;
        if self.metadata().broker(node).is_none() {
            self.refresh_metadata().await?;
        }
        Ok(node)
    }
}

fn read(response: &MetadataResponse) -> Metadata {
    let brokers = response.brokers.iter().filter_map(|broker| {
        let port = u16::try_from(broker.port).ok()?;
        let node = broker.node_id.0;
        let host = broker.host.to_string();
        Some((node, Broker { node, host, port }))
    });
    let topics = response.topics.iter().filter_map(|topic| {
        let name = TopicName::from(topic.name.as_ref()?.as_str());
        let partitions = topic.partitions.iter().map(|partition| {
            let leader = Some(partition.leader_id.0).filter(|leader| *leader >= 0);
            let leader_epoch = partition.leader_epoch;
            (
                partition.partition_index,
                PartitionInfo {
                    leader,
                    leader_epoch,
                    replicas: partition.replica_nodes.len(),
                    in_sync: partition.isr_nodes.len(),
                },
            )
        });
        let info = TopicInfo {
            id: topic.topic_id.into_bytes(),
            is_internal: topic.is_internal,
            partitions: partitions.collect(),
        };
        (topic.error_code == 0).then_some((name, info))
    });
    Metadata {
        cluster_id: response.cluster_id.as_ref().map(ToString::to_string),
        controller: response.controller_id.0,
        brokers: brokers.collect(),
        topics: topics.collect(),
    }
}

/// A string of the schema crate.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
