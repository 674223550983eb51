//! Record batches: what the scanner finds are exact slices, what stands in their place covers the same offsets, and what
//! is in them is read or refused.

use bytes::Bytes;
use cutline_admin::table::LineReader;
use cutline_wire::{
    batch::{Batch, Control, batches, checksum_holds},
    mask::{MASK_BYTES, mask},
    records::{BATCH_PARTS_MAX, decode},
};
use fuzz::Target;

/// Bytes a record or header takes in memory, at the most.
const PART_BYTES: usize = 160;
/// What compressed inputs of the corpus' size may come to, twice while it grows.
const EXPANDED_BYTES: usize = 32 * 1024 * 1024;

#[test]
fn batches_are_exact_slices_and_masks_cover_their_offsets() {
    Target::new("batches").hold(|input| {
        let mut walk = batches(input);
        let mut at = 0;
        for batch in walk.by_ref() {
            assert_eq!(batch.start, at, "batches stand back to back");
            assert!(batch.start < batch.end && batch.end <= input.len());
            at = batch.end;
            scanned(&batch, &input[batch.start..batch.end]);
        }
        assert_eq!(walk.rest(), at, "the rest begins where the last one ends");
        // Sixteen bytes tell a batch's length, the next one its format.
        if walk.malformed().is_none() && input.len() - at > 16 {
            let length = u32::from_be_bytes(input[at + 8..at + 12].try_into().unwrap());
            assert!(
                at + 12 + length as usize > input.len(),
                "what is neither broken nor cut off is a batch"
            );
        }
    });
}

fn scanned(batch: &Batch, bytes: &[u8]) {
    let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    if batch.magic >= 2 {
        assert_eq!(batch.base_offset.0, number(0));
    }
    assert!(batch.base_offset.0 >= 0 && batch.base_offset <= batch.last_offset);
    let length = i32::from_be_bytes(bytes[8..12].try_into().unwrap());
    assert_eq!(bytes.len(), 12 + length as usize);
    let masked = mask(batch);
    assert_eq!(masked.len(), MASK_BYTES);
    assert!(checksum_holds(&masked));
    let mut found = batches(&masked);
    let only = found.next().expect("a mask is a batch");
    assert!(found.next().is_none() && found.malformed().is_none());
    assert_eq!(only.offsets(), batch.offsets());
    assert_eq!(only.leader_epoch, batch.leader_epoch);
    assert_eq!(only.control, Some(Control::Commit));
    assert_eq!(only.commit(), None, "a mask ends nobody's transaction");
}

#[test]
fn records_are_decoded_or_refused_within_their_limits() {
    let most = EXPANDED_BYTES + BATCH_PARTS_MAX * PART_BYTES;
    Target::new("records").taking(most).hold(|input| {
        let all = Bytes::copy_from_slice(input);
        for batch in batches(input) {
            let bytes = all.slice(batch.start..batch.end);
            if let Ok(records) = decode(&batch, &bytes) {
                assert_eq!(records.len(), batch.record_count.max(0) as usize);
            }
        }
    });
}

#[test]
fn rows_of_tables_are_read_or_refused() {
    Target::new("rows").hold(|input| {
        let mut reader = LineReader::default();
        let mut read = 0;
        for piece in input.chunks(100) {
            reader.push(piece);
            loop {
                match reader.next_line() {
                    Ok(Some(line)) => {
                        let mut again = bytes::BytesMut::new();
                        line.write(&mut again);
                        read += again.len();
                    }
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
        if reader.finish().is_ok() {
            assert_eq!(read, input.len(), "rows are all there is, and nothing else");
        }
    });
}
