//! Who wrote what: batch headers of a stretch of log, told apart by producer id.
//!
//! Headers only; no record is looked at. Control batches are nobody's. A stretch that was scanned is remembered, so that
//! what a plan has read is not read again behind the fence.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_control::ControlState;
use cutline_model::{Offset, OffsetRange, ServiceName, TopicPartition};
use cutline_protocol::restore::Writers;
use cutline_wire::{
    batch::{Batch, batches},
    client::{Client, ClientError},
};

use super::RestoreError;

/// Rounds that may bring nothing before a scan is given up; each waits for [`ROUND_PAUSE`].
const EMPTY_ROUNDS_MAX: u32 = 200;
/// How long a round that brought nothing waits for the next.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// Which service a producer id belongs to.
#[derive(Clone, Debug, Default)]
pub struct Producers(BTreeMap<i64, ServiceName>);

impl Producers {
    /// Those that the control topic knows.
    #[must_use]
    pub fn of(state: &ControlState) -> Self {
        let all = state.producers.iter();
        Self(
            all.flat_map(|(service, ids)| ids.keys().map(|id| (*id, service.clone())))
                .collect(),
        )
    }
}

impl Producers {
    /// Whose a producer id is.
    #[must_use]
    pub fn service(&self, producer_id: i64) -> Option<&ServiceName> {
        self.0.get(&producer_id)
    }
}

/// What was scanned so far.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    writers: BTreeMap<TopicPartition, Writers>,
    spans: BTreeMap<TopicPartition, OffsetRange>,
}

impl Scan {
    /// Who wrote what, on every partition looked at.
    #[must_use]
    pub fn writers(&self) -> &BTreeMap<TopicPartition, Writers> {
        &self.writers
    }

    /// Goes on to `ends`, beginning anew where `from` lies before what was scanned.
    ///
    /// # Errors
    /// When Kafka does not answer, or a log brings nothing more before its end.
    pub async fn extend(
        &mut self,
        kafka: &Client,
        producers: &Producers,
        from: &BTreeMap<TopicPartition, Offset>,
        ends: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), RestoreError> {
        let mut sought = self.sought(from, ends);
        let mut empty_rounds = 0;
        while !sought.is_empty() {
            let asked = &sought;
            let fetched = kafka
                .retrying(|client| async move { client.fetch_many(asked, 0, false).await })
                .await?;
            let before = sought.clone();
            for (partition, fetched) in fetched {
                let at = sought[&partition];
                let next = self.take(producers, &partition, at, &fetched.records)?;
                if next >= ends[&partition] {
                    sought.remove(&partition);
                } else {
                    sought.insert(partition, next);
                }
            }
            if sought == before {
                empty_rounds += 1;
                if empty_rounds > EMPTY_ROUNDS_MAX {
                    let stuck = before.keys().next().map(ToString::to_string);
                    let stuck = stuck.unwrap_or_default();
                    return Err(ClientError::NotFound(format!("more records of {stuck}")).into());
                }
                tokio::time::sleep(ROUND_PAUSE).await;
            } else {
                empty_rounds = 0;
            }
        }
        Ok(())
    }

    /// Where reading goes on, on each partition that is not read to its end yet.
    fn sought(
        &mut self,
        from: &BTreeMap<TopicPartition, Offset>,
        ends: &BTreeMap<TopicPartition, Offset>,
    ) -> BTreeMap<TopicPartition, Offset> {
        let mut sought = BTreeMap::new();
        let partitions: BTreeSet<&TopicPartition> =
            from.keys().filter(|p| ends.contains_key(*p)).collect();
        for partition in partitions {
            let start = from[partition];
            let fresh = OffsetRange::new(start, start);
            let span = self.spans.entry(partition.clone()).or_insert(fresh);
            if start < span.start {
                *span = fresh;
                self.writers.remove(partition);
            }
            self.writers.entry(partition.clone()).or_default();
            if span.end < ends[partition] {
                sought.insert(partition.clone(), span.end);
            }
        }
        sought
    }

    /// Takes the batches in `records`; answers the offset to go on from.
    fn take(
        &mut self,
        producers: &Producers,
        partition: &TopicPartition,
        from: Offset,
        records: &[u8],
    ) -> Result<Offset, RestoreError> {
        let writers = self.writers.entry(partition.clone()).or_default();
        let mut next = from;
        let mut walk = batches(records);
        for batch in walk.by_ref() {
            note(writers, producers, &batch);
            next = next.max(batch.last_offset.next());
        }
        if let Some(malformed) = walk.malformed() {
            return Err(ClientError::Malformed(malformed).into());
        }
        if let Some(span) = self.spans.get_mut(partition) {
            span.end = span.end.max(next);
        }
        Ok(next)
    }
}

fn note(writers: &mut Writers, producers: &Producers, batch: &Batch) {
    if batch.control.is_some() {
        writers.control.insert(batch.offsets());
        return;
    }
    let set = match producers.0.get(&batch.producer_id) {
        _ if batch.producer_id < 0 => &mut writers.anonymous,
        Some(service) => writers.by.entry(service.clone()).or_default(),
        None => &mut writers.outside,
    };
    set.insert(batch.offsets());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, last: i64, producer_id: i64) -> Batch {
        Batch {
            start: 0,
            end: 0,
            magic: 2,
            base_offset: Offset(base),
            last_offset: Offset(last),
            record_count: 1,
            leader_epoch: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            max_timestamp: 0,
            transactional: false,
            control: None,
        }
    }

    #[test]
    fn batches_are_told_apart_by_producer_id() {
        let mut state = ControlState::default();
        state
            .producers
            .entry("a".into())
            .or_default()
            .insert(7, None);
        let producers = Producers::of(&state);
        let mut writers = Writers::default();
        note(&mut writers, &producers, &batch(0, 4, 7));
        note(&mut writers, &producers, &batch(5, 5, 8));
        note(&mut writers, &producers, &batch(6, 9, -1));
        let mut control = batch(10, 10, 7);
        control.control = Some(cutline_wire::batch::Control::Commit);
        note(&mut writers, &producers, &control);
        let ends = |set: &cutline_model::RangeSet| {
            set.ranges()
                .iter()
                .map(|r| (r.start.0, r.end.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(&writers.by[&"a".into()]), [(0, 5)]);
        assert_eq!(ends(&writers.outside), [(5, 6)]);
        assert_eq!(ends(&writers.anonymous), [(6, 10)]);
    }
}
