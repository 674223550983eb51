//! One batch: the records collected since the last commit, minus those of partitions that went away meanwhile.
//!
//! Nothing of a batch has any effect before it is applied as a whole, so leaving out records of a partition that was revoked is free:
//! whoever gets the partition gets them again.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::KafkaError,
};

/// A topic and a partition of it.
pub type Place = (String, i32);

/// One record as it was delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Where it came from.
    pub place: Place,
    /// Its offset.
    pub offset: i64,
    /// Its value.
    pub payload: Vec<u8>,
}

/// What happened to the assignment, in order.
#[derive(Clone, Debug)]
pub enum Change {
    /// These are this instance's from now on, read from their committed offsets.
    Assigned(Vec<Place>),
    /// These are no longer.
    Revoked(Vec<Place>),
}

/// Hears of rebalances inside the client's poll and keeps them for the service.
#[derive(Clone, Default)]
pub struct Changes(Arc<Mutex<Vec<Change>>>);

impl Changes {
    /// What happened since the last call.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, change: Change) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
    }
}

impl ClientContext for Changes {
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("bank-a: {error}: {reason}");
    }
}

impl ConsumerContext for Changes {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            eprintln!("bank-a: revoked {:?}", places(list));
            self.note(Change::Revoked(places(list)));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            eprintln!("bank-a: assigned {:?}", places(list));
            self.note(Change::Assigned(places(list)));
        }
    }
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect()
}

/// Records collected and not yet applied.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<Delivered>,
}

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, record: Delivered) {
        self.records.push(record);
    }

    /// Leaves out what belongs to partitions that went away.
    pub fn drop_revoked(&mut self, revoked: &[Place]) {
        self.records
            .retain(|record| !revoked.contains(&record.place));
    }

    /// How many records are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The records, by their order of delivery.
    #[must_use]
    pub fn records(&self) -> &[Delivered] {
        &self.records
    }

    /// What to commit when all of it is done: one past the last record of each partition.
    ///
    /// # Errors
    /// Never for offsets that were delivered.
    pub fn commits(&self) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for record in &self.records {
            let (topic, partition) = &record.place;
            let offset = rdkafka::Offset::Offset(record.offset + 1);
            match list.find_partition(topic, *partition) {
                Some(mut element) => element.set_offset(offset)?,
                None => list.add_partition_offset(topic, *partition, offset)?,
            }
        }
        Ok(list)
    }
}
