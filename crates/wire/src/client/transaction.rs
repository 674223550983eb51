//! Transactions of anybody: what is open, and who writes to a partition.

use std::collections::BTreeMap;

use cutline_model::{MarkerId, Offset, TopicPartition};
use futures_util::future::join_all;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, ListTransactionsRequest,
    describe_producers_request::TopicRequest,
};

use super::{Acl, Client, ClientError, error::check, listing::by_topic, metadata::text};

/// Kafka's words for a transaction that is open or being ended.
const OPEN_STATES: [&str; 4] = [
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "PrepareEpochFence",
];

/// A transactional id as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    /// Kafka's word: `Ongoing`, `Empty`, `CompleteCommit`, …
    pub state: String,
    /// Who uses it.
    pub producer: MarkerId,
    /// The partitions of its open transaction.
    pub partitions: Vec<TopicPartition>,
    /// When its open transaction began, in the broker's milliseconds; −1 where none is open.
    pub began_ms: i64,
}

impl TransactionInfo {
    /// True while a transaction is open or being ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        OPEN_STATES.contains(&self.state.as_str())
    }
}

/// A producer that a partition's leader remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Who.
    pub producer: MarkerId,
    /// Milliseconds of its last append.
    pub last_timestamp: i64,
    /// Of its last record; −1 for one that only wrote markers here.
    pub last_sequence: i32,
    /// Where its open transaction begins on this partition.
    pub transaction_start: Option<Offset>,
}

impl Client {
    /// Describes a transactional id; an error when its coordinator does not know it.
    pub async fn describe_transaction(
        &self,
        transactional_id: &str,
    ) -> Result<TransactionInfo, ClientError> {
        self.retrying(|client| async move {
            let node = client.coordinator_of_transaction(transactional_id).await?;
            client
                .describe_transaction_once(node, transactional_id)
                .await
        })
        .await
    }

    async fn describe_transaction_once(
        &self,
        node: i32,
        transactional_id: &str,
    ) -> Result<TransactionInfo, ClientError> {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![text(transactional_id).into()]);
        let response = self.call(node, &request).await?;
        let missing = || ClientError::Missing(transactional_id.to_owned());
        let state = response.transaction_states.first().ok_or_else(missing)?;
        check(state.error_code, || {
            format!("description of {transactional_id}")
        })
        .map_err(|error| error.needs(&[Acl::transactional_id("DESCRIBE", transactional_id)]))?;
        let topics = state.topics.iter();
        let partitions = topics.flat_map(|topic| {
            let name = topic.topic.as_str();
            let indexes = topic.partitions.iter();
            indexes.map(move |&index| TopicPartition::new(name, index))
        });
        Ok(TransactionInfo {
            state: state.transaction_state.to_string(),
            producer: MarkerId {
                producer_id: state.producer_id.0,
                producer_epoch: state.producer_epoch,
            },
            partitions: partitions.collect(),
            began_ms: state.transaction_start_time_ms,
        })
    }

    /// Every transactional id of the cluster with a transaction that is open or being ended, and its producer id.
    pub async fn open_transactions(&self) -> Result<BTreeMap<String, i64>, ClientError> {
        self.retrying(|client| async move { client.open_transactions_once().await })
            .await
    }

    async fn open_transactions_once(&self) -> Result<BTreeMap<String, i64>, ClientError> {
        let metadata = self.refresh_metadata().await?;
        // Every broker coordinates some of them.
        let asked = metadata.brokers.keys().map(|&node| async move {
            let states = OPEN_STATES.map(text).to_vec();
            let request = ListTransactionsRequest::default().with_state_filters(states);
            self.call(node, &request).await
        });
        let mut open = BTreeMap::new();
        for answer in join_all(asked).await {
            let answer = answer?;
            check(answer.error_code, || "list of transactions".to_owned())?;
            let states = answer.transaction_states.iter();
            open.extend(states.map(|one| (one.transactional_id.to_string(), one.producer_id.0)));
        }
        Ok(open)
    }

    /// The producers that the leaders of `partitions` remember.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Vec<ActiveProducer>>, ClientError> {
        self.retrying(|client| async move { client.describe_producers_once(partitions).await })
            .await
    }

    async fn describe_producers_once(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Vec<ActiveProducer>>, ClientError> {
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
                let topics = by_topic(partitions).into_iter().map(|(topic, indexes)| {
                    TopicRequest::default()
                        .with_name(text(topic.as_str()).into())
                        .with_partition_indexes(indexes)
                });
                let request = DescribeProducersRequest::default().with_topics(topics.collect());
                self.call(leader, &request).await
            });
        let mut described = BTreeMap::new();
        for answer in join_all(asked).await {
            for topic in &answer?.topics {
                for found in &topic.partitions {
                    let partition = TopicPartition::new(topic.name.as_str(), found.partition_index);
                    check(found.error_code, || format!("producers of {partition}"))
                        .map_err(|error| error.needs(&[Acl::topic("READ", &partition.topic)]))?;
                    let producers = found.active_producers.iter().map(|active| ActiveProducer {
                        producer: MarkerId {
                            producer_id: active.producer_id.0,
                            producer_epoch: active.producer_epoch as i16,
                        },
                        last_timestamp: active.last_timestamp,
                        last_sequence: active.last_sequence,
                        transaction_start: Some(active.current_txn_start_offset)
                            .filter(|start| *start >= 0)
                            .map(Offset),
                    });
                    described.insert(partition, producers.collect());
                }
            }
        }
        Ok(described)
    }
}
