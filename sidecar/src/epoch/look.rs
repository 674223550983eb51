//! Looking into the log, aside from the data path: is any record of a range visible to the client?
//!
//! Needed where headers do not tell: compaction gaps, aborted transactions, control records between a committed offset and
//! what was delivered. Only here are batches decoded, only those at the edge of the range, and never on their way to the
//! application.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, RangeSet, TopicPartition};
use cutline_wire::{
    batch::{Batch, Control, batches},
    client::{Client, ClientError, FetchedRecords},
};
use kafka_protocol::records::RecordBatchDecoder;

/// How long one fetch may wait for bytes: all that is looked for is in the log already.
const FETCH_WAIT_MS: i32 = 100;

/// Whether a record at an offset in `[from, to)` is visible; `masked` offsets and, for a client that `committed_only` sees
/// committed records, aborted ones are not.
///
/// # Errors
/// When the log cannot be read there.
pub async fn is_visible(
    client: &Client,
    partition: &TopicPartition,
    (mut from, to): (Offset, Offset),
    committed_only: bool,
    masked: &RangeSet,
) -> Result<bool, ClientError> {
    while from < to {
        let asked = BTreeMap::from([(partition.clone(), from)]);
        let fetched = client
            .fetch_many(&asked, FETCH_WAIT_MS, committed_only)
            .await?
            .remove(partition);
        let Some(fetched) = fetched else {
            return Err(ClientError::Missing(partition.to_string()));
        };
        let (visible, next) = scan(&fetched, from, to, masked);
        if visible {
            return Ok(true);
        }
        if next <= from {
            // Nothing more can be read at this isolation level: an open transaction stands before `to`.
            return Ok(true);
        }
        from = next;
    }
    Ok(false)
}

fn scan(fetched: &FetchedRecords, from: Offset, to: Offset, masked: &RangeSet) -> (bool, Offset) {
    let mut open_aborts: BTreeSet<i64> = BTreeSet::new();
    let mut next = from;
    for batch in batches(&fetched.records) {
        next = next.max(batch.last_offset.next());
        let begun = fetched
            .aborted
            .iter()
            .filter(|(_, first)| *first <= batch.base_offset);
        open_aborts.extend(begun.map(|(producer, _)| *producer));
        if batch.control.is_some() {
            if batch.control == Some(Control::Abort) {
                open_aborts.remove(&batch.producer_id);
            }
            continue;
        }
        let aborted = batch.transactional && open_aborts.contains(&batch.producer_id);
        if !aborted && has_record(fetched, &batch, from, to, masked) {
            return (true, next);
        }
    }
    (false, next)
}

fn has_record(
    fetched: &FetchedRecords,
    batch: &Batch,
    from: Offset,
    to: Offset,
    masked: &RangeSet,
) -> bool {
    if batch.last_offset < from || batch.base_offset >= to || masked.overlaps(batch.offsets()) {
        return false;
    }
    if batch.base_offset >= from && batch.last_offset < to {
        return batch.record_count > 0;
    }
    let mut bytes = fetched.records.slice(batch.start..batch.end);
    match RecordBatchDecoder::decode(&mut bytes) {
        Ok(set) => set
            .records
            .iter()
            .any(|record| from.0 <= record.offset && record.offset < to.0),
        // What cannot be read might be a record: the process then waits, and declines rather than guesses.
        Err(_) => true,
    }
}
