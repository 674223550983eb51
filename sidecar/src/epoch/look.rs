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
    records,
};

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
    // Each begins once: what a producer commits after an ABORT of its own is visible again.
    let mut to_begin = fetched.aborted.clone();
    to_begin.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut open_aborts: BTreeSet<i64> = BTreeSet::new();
    let mut next = from;
    for batch in batches(&fetched.records) {
        next = next.max(batch.last_offset.next());
        while let Some((producer, _)) = to_begin.pop_if(|(_, first)| *first <= batch.last_offset) {
            open_aborts.insert(producer);
        }
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
    let bytes = fetched.records.slice(batch.start..batch.end);
    match records::decode(batch, &bytes) {
        Ok(records) => records
            .iter()
            .any(|record| from <= record.offset && record.offset < to),
        // What cannot be read might be a record: the process then waits, and declines rather than guesses.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::{
        indexmap::IndexMap,
        records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
    };

    use super::*;

    const PRODUCER: i64 = 7;
    const ABORT: i16 = 0;
    const COMMIT: i16 = 1;

    fn batch(offsets: std::ops::Range<i64>, control: Option<i16>) -> Bytes {
        let key = |kind: i16| Bytes::from([[0; 2], kind.to_be_bytes()].concat());
        let records: Vec<Record> = offsets
            .map(|offset| Record {
                transactional: true,
                control: control.is_some(),
                delete_horizon: false,
                partition_leader_epoch: 1,
                producer_id: PRODUCER,
                producer_epoch: 0,
                timestamp_type: TimestampType::Creation,
                offset,
                sequence: if control.is_some() { -1 } else { offset as i32 },
                timestamp: 1_700_000_000_000,
                key: control.map(key),
                value: Some(Bytes::from_static(&[0; 6])),
                headers: IndexMap::new(),
            })
            .collect();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        bytes.freeze()
    }

    fn fetched(log: &[Bytes], aborted: &[i64]) -> FetchedRecords {
        FetchedRecords {
            records: log.concat().into(),
            high_watermark: Offset(100),
            log_start: Offset(0),
            aborted: aborted.iter().map(|at| (PRODUCER, Offset(*at))).collect(),
        }
    }

    fn visible(fetched: &FetchedRecords, from: i64, to: i64) -> bool {
        scan(fetched, Offset(from), Offset(to), &RangeSet::default()).0
    }

    #[test]
    fn aborted_records_and_the_marks_of_transactions_are_not_visible() {
        let log = [
            batch(0..3, None),
            batch(3..4, Some(COMMIT)),
            batch(4..8, None),
            batch(8..9, Some(ABORT)),
        ];
        let log = fetched(&log, &[4]);
        assert!(!visible(&log, 3, 9), "a commit after the last record");
        assert!(visible(&log, 2, 9), "a commit before the last record");
        assert!(!visible(&log, 6, 9), "a commit among the aborted ones");
    }

    #[test]
    fn what_a_producer_commits_after_an_abort_of_its_own_is_visible() {
        let log = [
            batch(0..3, None),
            batch(3..4, Some(ABORT)),
            batch(4..6, None),
            batch(6..7, Some(COMMIT)),
            batch(7..9, None),
            batch(9..10, Some(ABORT)),
        ];
        // The broker lists them in any order.
        for aborted in [[0, 7], [7, 0]] {
            let log = fetched(&log, &aborted);
            assert!(visible(&log, 0, 10), "the committed pair is delivered");
            assert!(!visible(&log, 6, 10), "nothing is left behind it");
        }
    }
}
