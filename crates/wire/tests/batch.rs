//! The scanner against the schema crate's encoder, and against bytes that mean nothing.

use bytes::{Bytes, BytesMut};
use cutline_wire::{
    batch::{Control, HEADER_BYTES, batches, checksum_holds},
    mask::{MASK_BYTES, mask},
};
use kafka_protocol::{
    indexmap::IndexMap,
    records::{
        Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType,
    },
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Written {
    base: i64,
    values: Vec<Vec<u8>>,
    producer: i64,
    epoch: i16,
    transactional: bool,
    compression: Compression,
}

fn written() -> impl Strategy<Value = Written> {
    let values = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20);
    let codec = prop::sample::select(vec![
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ]);
    (
        0_i64..1 << 40,
        values,
        -1_i64..1 << 40,
        0_i16..100,
        any::<bool>(),
        codec,
    )
        .prop_map(
            |(base, values, producer, epoch, transactional, compression)| Written {
                base,
                values,
                producer,
                epoch,
                transactional,
                compression,
            },
        )
}

fn record(offset: i64, sequence: i32, value: Option<Vec<u8>>) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 7,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence,
        timestamp: 1_700_000_000_000,
        key: None,
        value: value.map(Bytes::from),
        headers: IndexMap::new(),
    }
}

fn encode(batch: &Written) -> Bytes {
    let records: Vec<Record> = (0..)
        .zip(&batch.values)
        .map(|(at, value)| Record {
            transactional: batch.transactional,
            producer_id: batch.producer,
            producer_epoch: batch.epoch,
            ..record(batch.base + i64::from(at), at, Some(value.clone()))
        })
        .collect();
    encode_records(&records, batch.compression)
}

fn encode_records(records: &[Record], compression: Compression) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut bytes, records, &options).expect("records of one test encode");
    bytes.freeze()
}

fn control(offset: i64, kind: i16) -> Bytes {
    let key = [&0_i16.to_be_bytes()[..], &kind.to_be_bytes()].concat();
    let record = Record {
        transactional: true,
        control: true,
        producer_id: 4_000,
        producer_epoch: 3,
        key: Some(key.into()),
        ..record(offset, -1, Some(vec![0; 6]))
    };
    encode_records(&[record], Compression::None)
}

proptest! {
    #[test]
    fn every_batch_is_found_where_it_is(written in prop::collection::vec(written(), 0..6), cut in 0_usize..60) {
        let encoded: Vec<Bytes> = written.iter().map(encode).collect();
        let mut all = encoded.concat();
        let torn = encode(&Written { base: 5, values: vec![vec![1; 100]], producer: 1, epoch: 1, transactional: false, compression: Compression::None });
        all.extend_from_slice(&torn[..cut]);
        let mut walk = batches(&all);
        let found: Vec<_> = walk.by_ref().collect();
        prop_assert_eq!(found.len(), written.len());
        prop_assert_eq!(walk.rest(), all.len() - cut);
        prop_assert!(walk.malformed().is_none());
        let mut at = 0;
        for ((batch, written), bytes) in found.iter().zip(&written).zip(&encoded) {
            prop_assert_eq!((batch.start, batch.end), (at, at + bytes.len()));
            at = batch.end;
            prop_assert_eq!(batch.base_offset.0, written.base);
            prop_assert_eq!(batch.last_offset.0, written.base + written.values.len() as i64 - 1);
            prop_assert_eq!(batch.record_count as usize, written.values.len());
            prop_assert_eq!((batch.producer_id, batch.producer_epoch), (written.producer, written.epoch));
            prop_assert_eq!(batch.transactional, written.transactional);
            prop_assert_eq!(batch.control, None);
            prop_assert!(!batch.has_gaps());
            prop_assert!(checksum_holds(bytes));
        }
    }

    #[test]
    fn bytes_that_mean_nothing_end_the_walk(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic in 0_u8..4) {
        if let Some(at) = bytes.get_mut(16) { *at = magic; }
        let walked = batches(&bytes).count();
        prop_assert!(walked <= bytes.len() / 18 + 1);
    }

    #[test]
    fn a_damaged_batch_never_panics(written in written(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = encode(&written).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        for batch in batches(&bytes) {
            prop_assert!(batch.end <= bytes.len() && batch.last_offset >= batch.base_offset);
            let _mask = mask(&batch);
        }
    }

    #[test]
    fn a_mask_spans_what_it_replaces(written in written()) {
        let bytes = encode(&written);
        let batch = batches(&bytes).next().unwrap();
        let mut mask = mask(&batch);
        prop_assert_eq!(mask.len(), MASK_BYTES);
        prop_assert!(checksum_holds(&mask));
        let seen = batches(&mask).next().unwrap();
        prop_assert_eq!(seen.offsets(), batch.offsets());
        prop_assert_eq!(seen.control, Some(Control::Commit));
        prop_assert_eq!(seen.commit(), None);
        prop_assert_eq!(seen.leader_epoch, batch.leader_epoch);
        let decoded = RecordBatchDecoder::decode(&mut mask).unwrap();
        prop_assert!(decoded.records.iter().all(|record| record.control && record.producer_id == -1));
    }
}

#[test]
fn control_batches_say_commit_or_abort() {
    let bytes = [control(10, 1), control(11, 0), control(12, 5)].concat();
    let found: Vec<_> = batches(&bytes)
        .map(|batch| batch.control.unwrap())
        .collect();
    assert_eq!(found, [Control::Commit, Control::Abort, Control::Other(5)]);
    let marker = batches(&bytes).next().unwrap().commit().unwrap();
    assert_eq!((marker.producer_id, marker.producer_epoch), (4_000, 3));
    assert_eq!(batches(&bytes).nth(1).unwrap().commit(), None);
}

#[test]
fn a_length_too_small_for_a_header_is_malformed() {
    let mut bytes = control(1, 1).to_vec();
    bytes[8..12].copy_from_slice(&10_i32.to_be_bytes());
    let mut walk = batches(&bytes);
    assert!(walk.next().is_none() && walk.malformed().is_some());
    assert!(bytes.len() > HEADER_BYTES);
}
