//! Deltas: a chunk stored as its difference from chunks that stood where it stands now.
//!
//! One level deep: what a delta is a difference from is stored whole, so that reading a chunk never takes more than
//! [`DELTA_BASES_MAX`] others. A delta is a zstd frame whose prefix is the content of its bases, one after another. What
//! comes out is believed when its hash fits; where chunks stood, and whether a delta pays, is only a matter of bytes.

use blake3::Hash;
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::{CParameter, DCtx};

use crate::{CHUNK_BYTES_MAX, chunk};

/// The most chunks that one is stored as a difference from: after cut points moved, a chunk lies across several old ones.
pub const DELTA_BASES_MAX: usize = 4;

/// As for whole chunks, the fastest level.
const COMPRESSION_LEVEL: i32 = 1;
/// Logarithm of a window in which all bases and the chunk itself fit.
const WINDOW_LOG: u32 = 21;
/// Logarithm of how many places of the bases are remembered: with fewer those in front are forgotten.
const HASH_LOG: u32 = 17;
const _: () = assert!((DELTA_BASES_MAX + 1) * CHUNK_BYTES_MAX <= 1 << WINDOW_LOG);
/// A delta is taken when it is at most the whole chunk's stored form divided by this.
const SAVING_MIN: usize = 2;
/// At least this share of a delta is taken for new since the last one: rows that change each time hide how much it is.
const FRESH_SHARE: usize = 16;
/// Where in front of its end a chunk is looked at to find its end in the old bytes again.
const TAILS: [usize; 5] = [32, 256, 2_048, 8_192, 32_768];
/// Bytes compared there.
const TAIL_BYTES: usize = 32;

/// That a chunk is stored as a difference: its index, and the indices of its bases in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta(pub(crate) u32, pub(crate) Vec<u32>);

/// `chunk` as a difference from `prefix`; `None` when it cannot be made.
pub(crate) fn compress(chunk: &[u8], prefix: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok()?;
    for parameter in [
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::HashLog(HASH_LOG),
    ] {
        compressor.set_parameter(parameter).ok()?;
    }
    compressor.context_mut().ref_prefix(prefix).ok()?;
    let mut delta = compressor.compress(chunk).ok()?;
    delta.shrink_to_fit();
    Some(delta)
}

/// The chunk of `size` bytes named `hash` from its difference from `prefix`; what does not fit is said in words.
pub(crate) fn expand(
    delta: &[u8],
    prefix: &[u8],
    size: usize,
    hash: &Hash,
) -> Result<Vec<u8>, String> {
    assert!(
        size <= CHUNK_BYTES_MAX,
        "sizes are checked when a part is opened"
    );
    let named = |code| zstd::zstd_safe::get_error_name(code);
    let mut context = DCtx::try_create().ok_or("there is no memory to decompress a chunk")?;
    context
        .ref_prefix(prefix)
        .map_err(|code| format!("a chunk's bases cannot be used: {}", named(code)))?;
    // The capacity is the bound: a forged frame cannot make it grow.
    let mut chunk = Vec::with_capacity(size);
    context
        .decompress(&mut chunk, delta)
        .map_err(|code| format!("a chunk does not decompress: {}", named(code)))?;
    chunk::check(&chunk, size, hash)?;
    Ok(chunk)
}

/// Whether to store a delta of `delta` bytes rather than the chunk whole in `whole`, where the one before took `before`
/// bytes (0: what stood there was whole).
///
/// Deltas from one base grow with every change, and each is paid in full. As with renting or buying, the whole is bought
/// when what was paid for old changes reaches its price: about before²/2 divided by what is new each time.
pub(crate) fn is_worth_it(delta: usize, whole: usize, before: usize) -> bool {
    let fresh = delta.saturating_sub(before).max(delta / FRESH_SHARE).max(1);
    delta <= whole / SAVING_MIN && before.saturating_mul(before) / 2 <= whole.saturating_mul(fresh)
}

/// Where in `old` the end of `chunk` seems to be: its last bytes are looked for, then bytes further in front.
pub(crate) fn end_in(old: &[u8], chunk: &[u8]) -> Option<usize> {
    TAILS.iter().find_map(|&back| {
        let start = chunk.len().checked_sub(back)?;
        let tail = &chunk[start..start + TAIL_BYTES];
        // A run of one byte is found anywhere.
        let plain = tail.iter().all(|&byte| byte == tail[0]);
        let found = (!plain)
            .then(|| memchr::memmem::find(old, tail))
            .flatten()?;
        Some(found + back)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::tests::noise;

    #[test]
    fn a_delta_costs_what_changed_however_large_the_bases_are() {
        let old = noise(DELTA_BASES_MAX * CHUNK_BYTES_MAX, 1);
        for start in [0, CHUNK_BYTES_MAX, 3 * CHUNK_BYTES_MAX] {
            let mut chunk = old[start..start + CHUNK_BYTES_MAX].to_vec();
            chunk.splice(100_000..100_200, noise(200, 2));
            chunk.truncate(CHUNK_BYTES_MAX);
            let delta = compress(&chunk, &old).unwrap();
            assert!(delta.len() < 300, "{} bytes", delta.len());
            let hash = blake3::hash(&chunk);
            assert_eq!(expand(&delta, &old, chunk.len(), &hash).unwrap(), chunk);
            let other = noise(old.len(), 3);
            assert!(expand(&delta, &other, chunk.len(), &hash).is_err());
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_declared_size() {
        let old = noise(100_000, 1);
        let bomb = compress(&vec![0; 64 << 20], &old).unwrap();
        let zeros = blake3::hash(&[0; 1000]);
        let error = expand(&bomb, &old, 1000, &zeros).unwrap_err();
        assert!(error.contains("does not decompress"), "{error}");
    }

    #[test]
    fn deltas_are_taken_while_they_are_cheaper_in_the_long_run() {
        let whole = 65_536;
        assert!(is_worth_it(1_000, whole, 0));
        assert!(!is_worth_it(40_000, whole, 0), "it saves too little");
        // A new kilobyte with every checkpoint: the whole is stored again before the deltas have cost much more than it.
        let kept = (1..).take_while(|n| is_worth_it(n * 1_000, whole, (n - 1) * 1_000));
        assert_eq!(kept.count(), 12);
        assert!(
            is_worth_it(5_000, whole, 5_000),
            "the same few rows each time cost nothing more"
        );
    }

    #[test]
    fn the_end_of_a_chunk_is_found_although_its_last_bytes_changed() {
        let old = noise(150_000, 1);
        let mut chunk = old[30_000..100_000].to_vec();
        assert_eq!(end_in(&old, &chunk), Some(100_000));
        chunk.truncate(69_900);
        chunk.extend_from_slice(&noise(100, 2));
        assert_eq!(end_in(&old, &chunk), Some(100_000));
        assert_eq!(end_in(&old, &noise(50_000, 3)), None);
        assert_eq!(end_in(&[0; 1000], &[0; 1000]), None);
    }
}
