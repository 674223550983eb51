//! The coordinator's own markers: one transactional id of the deployment, one pair an epoch.

use std::{collections::BTreeMap, sync::Arc};

use cutline_model::{MarkerId, Offset, TopicPartition};
use cutline_wire::{
    client::Client,
    marker::{MarkerError, MarkerWriter, locate},
};
use tokio::sync::Mutex;

/// Writes barriers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Barriers {
    kafka: Client,
    writer: Arc<Mutex<MarkerWriter>>,
}

impl Barriers {
    /// Under the transactional id of `deployment`: a newer leader's first use of it fences an older one.
    #[must_use]
    pub fn new(kafka: Client, deployment: &str) -> Self {
        let writer =
            MarkerWriter::new(kafka.clone(), format!("__cutline.{deployment}.coordinator"));
        Self {
            kafka,
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// A fresh pair.
    ///
    /// # Errors
    /// When Kafka does not give one.
    pub async fn take_pair(&self) -> Result<MarkerId, MarkerError> {
        self.writer.lock().await.init().await
    }

    /// Writes the pair over `partitions`, waits until the markers are in the log and finds them.
    ///
    /// # Errors
    /// When they could not be written or are not found.
    pub async fn write(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, MarkerError> {
        let mut writer = self.writer.lock().await;
        let written = writer.write(partitions).await?;
        // Only the next pair tells that the markers are in the log.
        writer.settle().await?;
        locate(&self.kafka, written.pair, &written.before).await
    }
}
