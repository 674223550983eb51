//! Records appended in transactions, exactly once as far as one transaction goes.
//!
//! The transactional id fences whoever appended under it before: a request of a writer that died cannot land any more
//! once the next has begun. What is appended and why is decided elsewhere.

use std::collections::BTreeMap;

use cutline_model::{MarkerId, TopicPartition};
use kafka_protocol::ResponseError;

use crate::{
    client::{Client, ClientError},
    marker::{MarkerError, MarkerWriter},
    records::{LogRecord, encode},
};

/// Appends under one transactional id: [`begin`](Self::begin), [`append`](Self::append) as often as wanted,
/// [`commit`](Self::commit). A transaction has to be over within 30 s.
#[derive(Debug)]
pub struct Appender {
    client: Client,
    writer: MarkerWriter,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    pair: MarkerId,
    /// Records appended in it so far.
    sequences: BTreeMap<TopicPartition, i32>,
}

impl Appender {
    /// An appender under `transactional_id`, which nobody else may use.
    pub fn new(client: Client, transactional_id: impl Into<String>) -> Self {
        let writer = MarkerWriter::new(client.clone(), transactional_id);
        Self {
            client,
            writer,
            open: None,
        }
    }

    /// Takes the producer id that the next transaction is written under, and fences and aborts what was open.
    ///
    /// # Errors
    /// When the coordinator does not give one.
    pub async fn ready(&mut self) -> Result<MarkerId, MarkerError> {
        self.open = None;
        match self.writer.fresh() {
            Some(pair) => Ok(pair),
            None => self.writer.init().await,
        }
    }

    /// Opens a transaction over `partitions`, under the pair that [`ready`](Self::ready) answered.
    ///
    /// # Errors
    /// When the coordinator does not open it.
    pub async fn begin(&mut self, partitions: &[TopicPartition]) -> Result<(), MarkerError> {
        let pair = self.writer.open(partitions).await?;
        self.open = Some(Open {
            pair,
            sequences: BTreeMap::new(),
        });
        Ok(())
    }

    /// Appends `records` to `partition`, as one batch.
    ///
    /// # Errors
    /// When no transaction is open or the broker does not take them; the transaction is then lost.
    pub async fn append(
        &mut self,
        partition: &TopicPartition,
        records: &[LogRecord],
    ) -> Result<(), MarkerError> {
        let open = self.open.as_mut().ok_or(MarkerError::NotReady)?;
        if records.is_empty() {
            return Ok(());
        }
        let sequence = open.sequences.entry(partition.clone()).or_default();
        let batch = encode(records, open.pair, *sequence, true);
        let id = self.writer.transactional_id();
        let appended = self
            .client
            .retrying(|client| {
                let batch = batch.clone();
                async move { client.produce_in(id, partition, batch).await }
            })
            .await;
        match appended {
            // The answer to an attempt before this one got lost.
            Err(ClientError::Kafka {
                error: ResponseError::DuplicateSequenceNumber,
                ..
            })
            | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        *sequence += i32::try_from(records.len()).expect("a batch is far smaller than 2 GiB");
        Ok(())
    }

    /// Commits the transaction and waits until that is in the log on every partition.
    ///
    /// # Errors
    /// When it cannot be told that it is.
    pub async fn commit(&mut self) -> Result<(), MarkerError> {
        let open = self.open.take().ok_or(MarkerError::NotReady)?;
        self.writer.close(open.pair).await?;
        self.writer.settle().await?;
        Ok(())
    }
}
