//! Chunks: pieces of state cut where the content says so, named by their hash.
//!
//! Because the cut points follow the content, a change in one place leaves the chunks elsewhere as they were; that makes
//! any provider incremental. A chunk is stored compressed only when that is shorter: stored and real size tell which.

use std::ops::Range;

use blake3::Hash;
use fastcdc::v2020::FastCDC;

/// The smallest chunk, in bytes, but for the last of a file.
pub const CHUNK_BYTES_MIN: usize = 16 * 1024;
/// The size chunks tend to, in bytes: a changed database page costs about this much.
pub const CHUNK_BYTES_AVERAGE: usize = 64 * 1024;
/// The largest chunk, in bytes; a reader never takes more memory for one.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// The fastest level: uploading stands beside a running application and must leave it the processor.
const COMPRESSION_LEVEL: i32 = 1;

/// Where `bytes` are to be cut. Unless `last`, what the next bytes could still change is left over at the end.
pub(crate) fn cut(bytes: &[u8], last: bool) -> Vec<Range<usize>> {
    let chunker = FastCDC::new(bytes, CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX);
    let mut cuts = Vec::with_capacity(bytes.len() / CHUNK_BYTES_AVERAGE + 1);
    let mut start = 0;
    while start < bytes.len() && (last || bytes.len() - start >= CHUNK_BYTES_MAX) {
        let (_, end) = chunker.cut(start, bytes.len() - start);
        assert!(
            end > start && end <= bytes.len(),
            "the chunker goes on and stays inside"
        );
        cuts.push(start..end);
        start = end;
    }
    cuts
}

/// Compresses chunk after chunk.
pub(crate) struct Compressor(Option<zstd::bulk::Compressor<'static>>);

impl Compressor {
    pub(crate) fn new() -> Self {
        // Without one, which only a lack of memory explains, chunks are stored as they are.
        Self(zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok())
    }

    /// The form `chunk` is stored in: shorter than it when compressed, the same length when not.
    pub(crate) fn compress(&mut self, chunk: &[u8]) -> Vec<u8> {
        let compressed = self
            .0
            .as_mut()
            .and_then(|compressor| compressor.compress(chunk).ok());
        match compressed {
            Some(mut compressed) if compressed.len() < chunk.len() => {
                // It was made large enough for the worst case.
                compressed.shrink_to_fit();
                compressed
            }
            _ => chunk.to_vec(),
        }
    }
}

/// The chunk of `size` bytes named `hash` from its stored form; what does not fit is said in words.
pub(crate) fn expand(stored: &[u8], size: usize, hash: &Hash) -> Result<Vec<u8>, String> {
    assert!(
        size <= CHUNK_BYTES_MAX,
        "sizes are checked when a part is opened"
    );
    let chunk = if stored.len() == size {
        stored.to_vec()
    } else {
        // The capacity is the bound: a forged frame cannot make it grow.
        zstd::bulk::decompress(stored, size)
            .map_err(|error| format!("a chunk does not decompress: {error}"))?
    };
    check(&chunk, size, hash)?;
    Ok(chunk)
}

/// Whether `chunk` is the one of `size` bytes named `hash`; what does not fit is said in words.
pub(crate) fn check(chunk: &[u8], size: usize, hash: &Hash) -> Result<(), String> {
    if chunk.len() != size {
        return Err(format!(
            "a chunk has {} bytes instead of {size}",
            chunk.len()
        ));
    }
    if blake3::hash(chunk) != *hash {
        return Err(format!("chunk {} does not match its hash", hash.to_hex()));
    }
    Ok(())
}

/// A hash as 64 hexadecimal digits in JSON.
pub(crate) mod hex {
    use blake3::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hash.to_hex())
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        Hash::from_hex(&text).map_err(|_| D::Error::custom("a hash is 64 hexadecimal digits"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut noise);
        noise
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let before = noise(4 << 20, 1);
        let mut after = before.clone();
        after.splice(2_000_000..2_000_000, *b"inserted");
        let hashes = |bytes: &[u8]| {
            cut(bytes, true)
                .into_iter()
                .map(|at| blake3::hash(&bytes[at]))
                .collect::<Vec<_>>()
        };
        let (before, after) = (hashes(&before), hashes(&after));
        let new = after.iter().filter(|hash| !before.contains(hash)).count();
        assert!(new <= 3, "{new} of {} chunks are new", after.len());
    }

    #[test]
    fn a_bomb_is_stopped_at_the_declared_size() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(expand(&bomb, 1000, &blake3::hash(&[0; 1000])).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn cutting_in_pieces_is_cutting_at_once(seed: u64, bytes in 0_usize..2_000_000, step in 300_000_usize..900_000) {
            let whole = noise(bytes, seed);
            let mut pieces = Vec::new();
            let (mut buffer, mut start) = (Vec::new(), 0);
            for part in whole.chunks(step) {
                buffer.extend_from_slice(part);
                let cuts = cut(&buffer, false);
                let used = cuts.last().map_or(0, |at| at.end);
                pieces.extend(cuts.into_iter().map(|at| start + at.start..start + at.end));
                start += used;
                buffer.drain(..used);
            }
            pieces.extend(cut(&buffer, true).into_iter().map(|at| start + at.start..start + at.end));
            prop_assert_eq!(pieces, cut(&whole, true));
        }

        #[test]
        fn what_was_compressed_expands(bytes in proptest::collection::vec(0_u8..4, 0..5000)) {
            let stored = Compressor::new().compress(&bytes);
            prop_assert!(stored.len() <= bytes.len());
            prop_assert_eq!(expand(&stored, bytes.len(), &blake3::hash(&bytes)).unwrap(), bytes);
        }
    }
}
