//! How many bytes partitions take on their leaders' disks.

use std::collections::BTreeMap;

use cutline_model::TopicPartition;
use futures_util::future::join_all;
use kafka_protocol::messages::{
    DescribeLogDirsRequest, DescribeLogDirsResponse,
    describe_log_dirs_request::DescribableLogDirTopic,
};

use super::{Client, ClientError, error::check, listing::by_topic, metadata::text};

impl Client {
    /// The size in bytes of each of `partitions` on its leader, asked of all leaders at once. One that is not there is
    /// left out.
    pub async fn log_bytes(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        self.retrying(|client| async move { client.log_bytes_once(partitions).await })
            .await
    }

    async fn log_bytes_once(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        let metadata = self.metadata();
        let by_leader = metadata.by_leader(partitions, |partition| partition)?;
        let asked = by_leader
            .into_iter()
            .map(|(leader, partitions)| async move {
                let topics = by_topic(partitions);
                let topics = topics.into_iter().map(|(topic, indexes)| {
                    DescribableLogDirTopic::default()
                        .with_topic(text(topic.as_str()).into())
                        .with_partitions(indexes)
                });
                let request = DescribeLogDirsRequest::default().with_topics(Some(topics.collect()));
                read(&self.call(leader, &request).await?)
            });
        let mut sizes = BTreeMap::new();
        for answer in join_all(asked).await {
            sizes.extend(answer?);
        }
        Ok(sizes)
    }
}

fn read(response: &DescribeLogDirsResponse) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    check(response.error_code, || "sizes of logs".to_owned())?;
    let mut sizes = BTreeMap::new();
    for directory in &response.results {
        check(directory.error_code, || "sizes of logs".to_owned())?;
        for topic in &directory.topics {
            // A future replica is a copy that is being moved to another disk.
            for found in topic.partitions.iter().filter(|found| !found.is_future_key) {
                let partition = TopicPartition::new(topic.name.as_str(), found.partition_index);
                sizes.insert(partition, found.partition_size);
            }
        }
    }
    Ok(sizes)
}
