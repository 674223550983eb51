//! This sidecar's two marker writers, and where their marks came to stand.
//!
//! A mark is reported as written only after the writer settled: EndTxn answers before the markers are in the log, and only
//! the next successful InitProducerId tells that they are (1-protocol §3). What to mark is the core's word.

use std::{collections::BTreeSet, time::Duration};

use cutline_model::{MarkerId, PartitionOffset, TopicName, TopicPartition};
use cutline_protocol::MarkPair;
use cutline_wire::{
    client::{Client, ClientError, Metadata},
    marker::{MarkerError, MarkerWriter, Written, locate},
};
use tokio::{sync::Mutex, time::timeout};

/// How long a better word for what failed is looked for: applications may be held meanwhile.
const EXPLAIN_LIMIT: Duration = Duration::from_millis(500);

/// Why marks are not where they should be.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// Writing or looking failed.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// The log that was marked is gone.
    #[error("topic {0} was deleted, or deleted and made again, while the checkpoint was taken")]
    TopicReplaced(TopicName),
}

struct Slot {
    writer: MarkerWriter,
    last: Option<Written>,
}

/// The main and the spare pair of one sidecar.
pub struct Markers {
    client: Client,
    main: Mutex<Slot>,
    spare: Mutex<Slot>,
}

impl Markers {
    /// Writers under transactional ids derived from `name`, which must be unique to this sidecar.
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        let slot = |suffix: &str| {
            let writer = MarkerWriter::new(client.clone(), format!("{name}.{suffix}"));
            Mutex::new(Slot { writer, last: None })
        };
        let (main, spare) = (slot("main"), slot("spare"));
        Self {
            client,
            main,
            spare,
        }
    }

    /// Two fresh pairs; whatever an earlier run left open is aborted.
    ///
    /// # Errors
    /// When the broker does not hand them out.
    pub async fn take_pairs(&self) -> Result<(MarkerId, MarkerId), MarkerError> {
        let (mut main, mut spare) = tokio::join!(self.main.lock(), self.spare.lock());
        tokio::try_join!(main.writer.init(), spare.writer.init())
    }

    /// Marks `partitions` and returns when the markers are in the log.
    ///
    /// # Errors
    /// When they could not be written; some of them may be in the log all the same.
    pub async fn mark(
        &self,
        pair: MarkPair,
        marker: MarkerId,
        partitions: &[TopicPartition],
    ) -> Result<(), MarkError> {
        let topics = self.client.metadata();
        let mut slot = self.slot(pair).lock().await;
        if slot.writer.fresh() != Some(marker) {
            // A later attempt took fresh pairs: nobody is armed for what would be written now.
            return Err(MarkerError::NotReady.into());
        }
        let marked = write(&mut slot, partitions).await;
        drop(slot);
        match marked {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explained(error, &topics, partitions).await),
        }
    }

    /// Where the last marks under `pair` are.
    ///
    /// # Errors
    /// When one of them is not found.
    pub async fn locate(
        &self,
        pair: MarkPair,
        marker: MarkerId,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionOffset>, MarkError> {
        let (before, topics) = {
            let slot = self.slot(pair).lock().await;
            match &slot.last {
                Some(written) if written.pair == marker => {
                    (written.before.clone(), written.topics.clone())
                }
                _ => return Err(MarkerError::NotReady.into()),
            }
        };
        let from = partitions
            .iter()
            .map(|p| (p.clone(), before.get(p).copied().unwrap_or_default()));
        match locate(&self.client, marker, &from.collect()).await {
            Ok(found) => Ok(found
                .into_iter()
                .map(|(partition, offset)| PartitionOffset { partition, offset })
                .collect()),
            Err(error) => Err(self.explained(error, &topics, partitions).await),
        }
    }

    /// `error`, or what explains it better: one of the topics is gone, or another one than in `then`.
    async fn explained(
        &self,
        error: MarkerError,
        then: &Metadata,
        partitions: &[TopicPartition],
    ) -> MarkError {
        let topics = partitions.iter().map(|partition| partition.topic.clone());
        let topics = topics.collect();
        match timeout(EXPLAIN_LIMIT, self.replaced(then, &topics)).await {
            Ok(Ok(Some(topic))) => MarkError::TopicReplaced(topic),
            // Whoever cannot ask Kafka now, or is not let see the topic, has the error as it is.
            _ => error.into(),
        }
    }

    async fn replaced(
        &self,
        then: &Metadata,
        topics: &BTreeSet<TopicName>,
    ) -> Result<Option<TopicName>, ClientError> {
        let now = self.client.refresh_metadata().await?;
        self.client.check_visible(topics).await?;
        let gone = || topics.iter().find(|topic| !now.topics.contains_key(*topic));
        Ok(then.replaced(&now, topics).or_else(gone).cloned())
    }

    fn slot(&self, pair: MarkPair) -> &Mutex<Slot> {
        match pair {
            MarkPair::Main => &self.main,
            MarkPair::Spare => &self.spare,
        }
    }
}

async fn write(slot: &mut Slot, partitions: &[TopicPartition]) -> Result<(), MarkerError> {
    slot.last = Some(slot.writer.write(partitions).await?);
    slot.writer.settle().await?;
    Ok(())
}
