//! The committed records of a partition, from an offset to another, as a `read_committed` consumer gets them.
//!
//! Records of aborted transactions, control records and records without a key, which no compacted topic keeps, are left
//! out. Whether offsets are missing, as they are where the cleaner has been, is told.

use std::{collections::BTreeSet, time::Duration};

use cutline_model::{Offset, TopicPartition};
use cutline_wire::{
    batch::{Batch, Control, batches},
    client::{Client, ClientError, FetchedRecords},
    records::{LogRecord, decode},
};

use super::TableError;

/// Rounds that may bring nothing before a log counts as stuck; each waits for [`WAIT_MS`].
const EMPTY_ROUNDS_MAX: u32 = 100;
/// How long a broker waits for something to bring.
const WAIT_MS: i32 = 100;
/// The least pause after a round that brought nothing.
const EMPTY_PAUSE: Duration = Duration::from_millis(20);

/// A record and who wrote it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record; it has a key.
    pub record: LogRecord,
    /// The producer id; −1 for producers without one.
    pub producer_id: i64,
}

/// Reads forward.
#[derive(Debug)]
pub struct TableReader<'a> {
    kafka: &'a Client,
    partition: &'a TopicPartition,
    next: Offset,
    until: Offset,
    gap: Option<Offset>,
}

impl<'a> TableReader<'a> {
    /// From `from`, which is still in the log, up to `until`, which the log has reached.
    #[must_use]
    pub fn new(
        kafka: &'a Client,
        partition: &'a TopicPartition,
        from: Offset,
        until: Offset,
    ) -> Self {
        Self {
            kafka,
            partition,
            next: from,
            until,
            gap: None,
        }
    }

    /// The first offset that was not there although it must have been written.
    #[must_use]
    pub fn gap(&self) -> Option<Offset> {
        self.gap
    }

    /// The next records; none may be among them, `None` is the end.
    ///
    /// # Errors
    /// When Kafka does not answer, a batch cannot be read, or the log does not go on.
    pub async fn read(&mut self) -> Result<Option<Vec<Found>>, TableError> {
        let mut empty = 0;
        while self.next < self.until {
            let asked = [(self.partition.clone(), self.next)].into();
            let fetched = self.kafka.retrying(|client| {
                let asked = &asked;
                async move { client.fetch_many(asked, WAIT_MS, true).await }
            });
            let mut fetched = fetched.await?;
            let fetched = fetched
                .remove(self.partition)
                .ok_or_else(|| ClientError::Missing(self.partition.to_string()))?;
            let before = self.next;
            let found = self.take(fetched)?;
            if self.next > before {
                return Ok(Some(found));
            }
            empty += 1;
            if empty > EMPTY_ROUNDS_MAX {
                return Err(TableError::Stuck {
                    partition: self.partition.clone(),
                    at: self.next,
                    until: self.until,
                });
            }
            tokio::time::sleep(EMPTY_PAUSE).await;
        }
        Ok(None)
    }

    fn take(&mut self, fetched: FetchedRecords) -> Result<Vec<Found>, TableError> {
        let mut begun = fetched.aborted;
        begun.sort_by_key(|(_, first)| *first);
        let mut begun = begun.into_iter().peekable();
        let mut aborted: BTreeSet<i64> = BTreeSet::new();
        let mut found = Vec::new();
        let mut walk = batches(&fetched.records);
        for batch in walk.by_ref() {
            while let Some((id, _)) = begun.next_if(|(_, first)| *first <= batch.last_offset) {
                aborted.insert(id);
            }
            self.note_gap(&batch);
            if batch.control == Some(Control::Abort) {
                aborted.remove(&batch.producer_id);
            }
            let hidden = batch.transactional && aborted.contains(&batch.producer_id);
            if batch.control.is_none() && !hidden && batch.base_offset < self.until {
                let bytes = fetched.records.slice(batch.start..batch.end);
                let records = decode(&batch, &bytes).map_err(|error| TableError::Records {
                    partition: self.partition.clone(),
                    offset: batch.base_offset,
                    error,
                })?;
                let wanted = records.into_iter().filter(|record| {
                    let within = record.offset >= self.next && record.offset < self.until;
                    within && record.key.is_some()
                });
                found.extend(wanted.map(|record| Found {
                    record,
                    producer_id: batch.producer_id,
                }));
            }
            self.next = self.next.max(batch.last_offset.next());
        }
        match walk.malformed() {
            Some(malformed) => Err(ClientError::Malformed(malformed).into()),
            None => Ok(found),
        }
    }

    fn note_gap(&mut self, batch: &Batch) {
        let missing = batch.base_offset > self.next && self.next < self.until;
        let inside = batch.has_gaps() && batch.base_offset < self.until;
        if missing {
            self.gap = self.gap.or(Some(self.next));
        } else if inside {
            self.gap = self.gap.or(Some(batch.base_offset));
        }
    }
}
