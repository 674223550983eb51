//! Topics: creating them and what their configuration says about how long records stay.

use std::collections::BTreeMap;

use cutline_model::TopicName;
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, DescribeConfigsRequest, DescribeConfigsResponse,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        describe_configs_request::DescribeConfigsResource,
    },
};

use super::{Acl, Client, ClientError, error::check, metadata::text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLEANUP_POLICY: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const MIN_COMPACTION_LAG_MS: &str = "min.compaction.lag.ms";

/// How long a topic keeps its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    /// Only the last record of each key is kept.
    pub compacted: bool,
    /// Records are removed by age and size.
    pub deleted: bool,
    /// Milliseconds; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// Bytes by partition; `None`: without limit.
    pub retention_bytes: Option<i64>,
    /// Milliseconds before compaction may touch a record.
    pub min_compaction_lag_ms: i64,
}

impl Client {
    /// Creates `topic`; one that exists is no error. A replication factor of −1 is the broker's default.
    pub async fn create_topic(
        &self,
        topic: &TopicName,
        partitions: i32,
        replication: i16,
        config: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        self.retrying(|client| async move {
            client
                .create_once(topic, partitions, replication, config)
                .await
        })
        .await
    }

    async fn create_once(
        &self,
        topic: &TopicName,
        partitions: i32,
        replication: i16,
        config: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let configs = config.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let created = CreatableTopic::default()
            .with_name(text(topic.as_str()).into())
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(configs.collect());
        let timeout_ms = i32::try_from(self.inner.options.request_timeout.as_millis());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![created])
            .with_timeout_ms(timeout_ms.unwrap_or(i32::MAX));
        let response = self.call_any(&request).await?;
        for answer in &response.topics {
            // CREATE on the cluster would do as well, for every topic.
            let checked = check(answer.error_code, || format!("creation of {topic}"))
                .map_err(|error| error.needs(&[Acl::topic("CREATE", topic)]));
            match checked {
                Err(error) if error.kafka() == Some(ResponseError::TopicAlreadyExists) => {}
                checked => checked?,
            }
        }
        self.refresh_metadata().await?;
        Ok(())
    }

    /// How long each of `topics` keeps its records.
    pub async fn topic_configs(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, TopicConfig>, ClientError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.retrying(|client| async move { client.topic_configs_once(topics).await })
            .await
    }

    /// What is set for `topic` under each of `keys`, asked once.
    pub async fn topic_settings(
        &self,
        topic: &TopicName,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let resource = resource(TOPIC, topic.as_str(), keys);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        settings(&self.call_any(&request).await?)
    }

    /// What is set at broker `node` under each of `keys`, asked once.
    pub async fn broker_settings(
        &self,
        node: i32,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let resource = resource(BROKER, &node.to_string(), keys);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        // Only the broker itself knows what it runs with.
        settings(&self.call(node, &request).await?)
    }

    async fn topic_configs_once(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, TopicConfig>, ClientError> {
        let keys = [
            CLEANUP_POLICY,
            RETENTION_MS,
            RETENTION_BYTES,
            MIN_COMPACTION_LAG_MS,
        ];
        let resources = topics.iter().map(|topic| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(topic.as_str()))
                .with_configuration_keys(Some(keys.map(text).to_vec()))
        });
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let response = self.call_any(&request).await?;
        let mut configs = BTreeMap::new();
        for result in &response.results {
            let topic = TopicName::from(result.resource_name.as_str());
            check(result.error_code, || format!("configuration of {topic}"))
                .map_err(|error| error.needs(&[Acl::topic("DESCRIBE_CONFIGS", &topic)]))?;
            let entries = result.configs.iter();
            let values =
                entries.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
            configs.insert(topic, read(&values.collect()));
        }
        Ok(configs)
    }
}

fn resource(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(keys.iter().map(|key| text(key)).collect()))
}

fn settings(response: &DescribeConfigsResponse) -> Result<BTreeMap<String, String>, ClientError> {
    let mut found = BTreeMap::new();
    for result in &response.results {
        check(result.error_code, || {
            format!("configuration of {}", result.resource_name)
        })?;
        let entries = result.configs.iter();
        found.extend(entries.filter_map(|entry| {
            let value = entry.value.as_ref()?.to_string();
            Some((entry.name.to_string(), value))
        }));
    }
    Ok(found)
}

fn read(values: &BTreeMap<&str, &str>) -> TopicConfig {
    let number = |name| values.get(name).and_then(|value| value.parse::<i64>().ok());
    // Kafka writes "without limit" as −1.
    let limit = |name| number(name).filter(|value| *value >= 0);
    let policy = values.get(CLEANUP_POLICY).copied().unwrap_or_default();
    let has = |policy_word| policy.split(',').any(|word| word.trim() == policy_word);
    TopicConfig {
        compacted: has("compact"),
        deleted: has("delete"),
        retention_ms: limit(RETENTION_MS),
        retention_bytes: limit(RETENTION_BYTES),
        min_compaction_lag_ms: number(MIN_COMPACTION_LAG_MS).unwrap_or(0),
    }
}
