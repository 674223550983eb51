//! Producer ids, and appending one ready batch.

use bytes::Bytes;
use cutline_model::{MarkerId, Offset, TopicPartition};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest,
    produce_request::{PartitionProduceData, TopicProduceData},
};
use kafka_protocol::protocol::{Request, VersionRange};

use super::{Acl, Client, ClientError, error::check, metadata::text};

const ALL_REPLICAS: i16 = -1;
// Up to here topics are named, from version 13 on they are numbered.
const PRODUCE_BY_NAME_MAX: i16 = 12;
// Up to here partitions are added to a transaction by a request of their own.
const PRODUCE_EXPLICIT_MAX: i16 = 11;

/// What InitProducerId hands out.
pub type ProducerId = MarkerId;

impl Client {
    /// Takes a producer id, for `transactional_id` or without one. For a transactional id this fences whoever used it
    /// and aborts what it left open; while that is under way the answer is the error `CONCURRENT_TRANSACTIONS`, which is
    /// not repeated here.
    pub async fn init_producer_id_once(
        &self,
        coordinator: Option<i32>,
        transactional_id: Option<&str>,
        timeout_ms: i32,
    ) -> Result<ProducerId, ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(transactional_id.map(|id| text(id).into()))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let response = match coordinator {
            Some(node) => self.call(node, &request).await?,
            None => self.call_any(&request).await?,
        };
        check(response.error_code, || {
            format!("producer id of {}", transactional_id.unwrap_or("nobody"))
        })
        .map_err(|error| match transactional_id {
            Some(id) => error.needs(&[Acl::transactional_id("WRITE", id)]),
            None => error.needs(&[Acl::cluster("IDEMPOTENT_WRITE")]),
        })?;
        Ok(MarkerId {
            producer_id: response.producer_id.0,
            producer_epoch: response.producer_epoch,
        })
    }

    /// Takes a producer id without a transactional id.
    pub async fn init_producer_id(&self) -> Result<ProducerId, ClientError> {
        self.retrying(|client| async move { client.init_producer_id_once(None, None, -1).await })
            .await
    }

    /// Fences whoever uses `transactional_id`, aborts its open transaction and waits until that is done: when this
    /// returns, nothing of it is open. Its producer is fenced for good.
    pub async fn fence_transactional_id(
        &self,
        transactional_id: &str,
        timeout_ms: i32,
    ) -> Result<ProducerId, ClientError> {
        let fenced = self
            .retrying(|client| async move {
                let node = client.coordinator_of_transaction(transactional_id).await?;
                client
                    .init_producer_id_once(Some(node), Some(transactional_id), timeout_ms)
                    .await
            })
            .await?;
        cutline_crash::here("fenced a transactional id");
        Ok(fenced)
    }

    /// Appends one ready record batch to `partition`, acknowledged by all replicas. Answers the offset of its first
    /// record. Not repeated: without a sequence number a second try may append twice.
    pub async fn produce(
        &self,
        partition: &TopicPartition,
        batch: Bytes,
    ) -> Result<Offset, ClientError> {
        let versions = versions_up_to(PRODUCE_BY_NAME_MAX);
        self.produce_as(None, partition, batch, versions).await
    }

    /// Appends one ready batch of the open transaction of `transactional_id`, to which `partition` was added. Not repeated
    /// here, but it may be: its sequence numbers tell a broker that it has it.
    pub async fn produce_in(
        &self,
        transactional_id: &str,
        partition: &TopicPartition,
        batch: Bytes,
    ) -> Result<Offset, ClientError> {
        let versions = versions_up_to(PRODUCE_EXPLICIT_MAX);
        self.produce_as(Some(transactional_id), partition, batch, versions)
            .await
    }

    async fn produce_as(
        &self,
        transactional_id: Option<&str>,
        partition: &TopicPartition,
        batch: Bytes,
        versions: VersionRange,
    ) -> Result<Offset, ClientError> {
        let leader = self.leader_of(partition).await?;
        let timeout_ms = i32::try_from(self.inner.options.request_timeout.as_millis());
        let data = PartitionProduceData::default()
            .with_index(partition.partition)
            .with_records(Some(batch));
        let topic = TopicProduceData::default()
            .with_name(text(partition.topic.as_str()).into())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(transactional_id.map(|id| text(id).into()))
            .with_acks(ALL_REPLICAS)
            .with_timeout_ms(timeout_ms.unwrap_or(i32::MAX))
            .with_topic_data(vec![topic]);
        let response = self.call_within(leader, &request, versions).await?;
        let answers = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses);
        let answer = answers
            .last()
            .ok_or_else(|| ClientError::Missing(partition.to_string()))?;
        check(answer.error_code, || {
            format!("produce {} to {partition}", ProduceRequest::KEY)
        })
        .map_err(|error| {
            let id = transactional_id.unwrap_or_default();
            let topic = Acl::topic("WRITE", &partition.topic);
            error.needs(&[topic, Acl::transactional_id("WRITE", id)])
        })?;
        cutline_crash::here("appended a batch");
        Ok(Offset(answer.base_offset))
    }
}

fn versions_up_to(max: i16) -> VersionRange {
    VersionRange {
        max,
        ..<ProduceRequest as kafka_protocol::protocol::Message>::VERSIONS
    }
}
