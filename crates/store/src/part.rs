//! A part: the state of one process at one epoch, as files made of chunks. Its manifest says where each chunk is.
//!
//! A part manifest is complete in itself: it names packs, not earlier parts, so a checkpoint never depends on another
//! one being kept. All of it is checked against itself when it is written and again when it is read.

use std::collections::BTreeMap;

use blake3::Hash;
use cutline_model::{Epoch, ProcessId};
use serde::{Deserialize, Serialize};

use crate::{
    CHUNK_BYTES_MAX, Entry, PACK_BYTES_MAX,
    chunk::hex,
    delta::{DELTA_BASES_MAX, Delta},
    entry::tree_fault,
};

/// The most chunks a part may have: about 128 GiB of state. Their list is held in memory.
pub const PART_CHUNKS_MAX: usize = 2_000_000;
/// The most files, directories and links a part may have. Their list is held in memory.
pub const PART_ENTRIES_MAX: usize = 1_000_000;

/// Where a chunk is: hash, pack (index into the part's list), offset, stored bytes, real bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkPlace(
    #[serde(with = "hex")] pub(crate) Hash,
    pub(crate) u32,
    pub(crate) u32,
    pub(crate) u32,
    pub(crate) u32,
);

impl ChunkPlace {
    pub(crate) fn hash(&self) -> &Hash {
        &self.0
    }
    pub(crate) fn pack(&self) -> usize {
        self.1 as usize
    }
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.2)
    }
    pub(crate) fn stored(&self) -> u64 {
        u64::from(self.3)
    }
    /// The same chunk, its pack at another index.
    pub(crate) fn in_pack(&self, pack: u32) -> Self {
        Self(self.0, pack, self.2, self.3, self.4)
    }
    pub(crate) fn size(&self) -> usize {
        self.4 as usize
    }
}

/// A pack as a part names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PackName(#[serde(with = "hex")] pub(crate) Hash);

/// An entry with its chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredEntry {
    #[serde(flatten)]
    pub(crate) entry: Entry,
    /// Indices into the part's chunks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chunks: Vec<u32>,
}

/// The stored form of a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PartManifest {
    pub(crate) format: u32,
    pub(crate) epoch: Epoch,
    pub(crate) process: ProcessId,
    pub(crate) provider: String,
    pub(crate) state_bytes: u64,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) entries: Vec<StoredEntry>,
    pub(crate) packs: Vec<PackName>,
    pub(crate) chunks: Vec<ChunkPlace>,
    /// Which of the chunks are stored as differences, by index, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) deltas: Vec<Delta>,
}

impl PartManifest {
    /// What contradicts itself, in words: a part is believed only when all of it fits together.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.chunks.len() > PART_CHUNKS_MAX || self.entries.len() > PART_ENTRIES_MAX {
            return Some("it has more chunks or entries than a part may have".to_owned());
        }
        self.chunks
            .iter()
            .find_map(|chunk| self.chunk_fault(chunk))
            .or_else(|| self.delta_fault())
            .or_else(|| {
                self.entries
                    .iter()
                    .find_map(|stored| self.entry_fault(stored))
            })
            .or_else(|| tree_fault(self.entries.iter().map(|stored| &stored.entry)))
            .or_else(|| {
                let sizes = self.entries.iter().map(|stored| stored.entry.bytes());
                let sum = sizes.map(u128::from).sum::<u128>();
                (sum != u128::from(self.state_bytes))
                    .then(|| format!("its entries hold {sum} bytes, it says {}", self.state_bytes))
            })
    }

    fn chunk_fault(&self, chunk: &ChunkPlace) -> Option<String> {
        let ends_inside = chunk.offset() + chunk.stored() <= PACK_BYTES_MAX as u64;
        let sizes = chunk.size() <= CHUNK_BYTES_MAX && chunk.stored() <= chunk.size() as u64;
        let fits = chunk.pack() < self.packs.len() && ends_inside && sizes;
        (!fits).then(|| {
            format!(
                "chunk {} has an impossible place or size",
                chunk.hash().to_hex()
            )
        })
    }

    /// How far the chunks in each pack reach.
    pub(crate) fn pack_ends(&self) -> Vec<u64> {
        let mut ends = vec![0; self.packs.len()];
        for chunk in &self.chunks {
            let end = &mut ends[chunk.pack()];
            *end = (*end).max(chunk.offset() + chunk.stored());
        }
        ends
    }

    /// The chunks that `chunk` is stored as a difference from; none when it is stored whole.
    pub(crate) fn bases(&self, chunk: u32) -> &[u32] {
        let found = self
            .deltas
            .binary_search_by_key(&chunk, |Delta(chunk, _)| *chunk);
        found.map_or(&[], |at| &self.deltas[at].1)
    }

    /// Looked for before anything is read by them: that bases are whole chunks bounds how much a chunk can take.
    fn delta_fault(&self) -> Option<String> {
        let ascending = self.deltas.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascending {
            return Some("its deltas are not in order, or a chunk is there twice".to_owned());
        }
        self.deltas.iter().find_map(|Delta(chunk, bases)| {
            let is_whole =
                |base: &u32| (*base as usize) < self.chunks.len() && self.bases(*base).is_empty();
            let fits = self
                .chunks
                .get(*chunk as usize)
                .is_some_and(|place| place.stored() < place.size() as u64)
                && (1..=DELTA_BASES_MAX).contains(&bases.len())
                && bases.iter().all(is_whole);
            (!fits)
                .then(|| format!("the delta of chunk {chunk} is impossible: its size or its bases"))
        })
    }

    fn entry_fault(&self, stored: &StoredEntry) -> Option<String> {
        if let Err(error) = stored.entry.check() {
            return Some(error.to_string());
        }
        let sizes = stored.chunks.iter().map(|&chunk| {
            self.chunks
                .get(chunk as usize)
                .map(|chunk| chunk.size() as u64)
        });
        let sum = sizes.sum::<Option<u64>>();
        (sum != Some(stored.entry.bytes())).then(|| {
            format!(
                "the chunks of entry {:?} do not make up its size",
                stored.entry.path
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryKind;

    /// A part of one file with two whole chunks and one that is a difference from them.
    fn part() -> PartManifest {
        let place = |name: &str, offset, stored| {
            ChunkPlace(blake3::hash(name.as_bytes()), 0, offset, stored, 70_000)
        };
        let chunks = vec![
            place("first", 100, 70_000),
            place("second", 80_000, 70_000),
            place("delta", 200_000, 500),
        ];
        let mut entry = Entry::file("a");
        entry.kind = EntryKind::File {
            bytes: 70_000,
            hash: String::new(),
        };
        PartManifest {
            format: crate::FORMAT,
            epoch: Epoch(1),
            process: ProcessId {
                service: "bank".into(),
                instance: None,
            },
            provider: "dir".to_owned(),
            state_bytes: 70_000,
            attributes: BTreeMap::new(),
            entries: vec![StoredEntry {
                entry,
                chunks: vec![2],
            }],
            packs: vec![PackName(blake3::hash(b"pack"))],
            chunks,
            deltas: vec![Delta(2, vec![0, 1])],
        }
    }

    #[test]
    fn forged_deltas_are_refused_before_anything_is_read() {
        assert_eq!(part().fault(), None);
        let forged = [
            (
                "a delta of a delta",
                vec![Delta(1, vec![0]), Delta(2, vec![1])],
            ),
            ("a circle", vec![Delta(1, vec![2]), Delta(2, vec![1])]),
            ("a delta of itself", vec![Delta(2, vec![2])]),
            ("a base that is not there", vec![Delta(2, vec![3])]),
            ("a chunk that is not there", vec![Delta(3, vec![0])]),
            ("no base", vec![Delta(2, vec![])]),
            (
                "too many bases",
                vec![Delta(2, vec![0; DELTA_BASES_MAX + 1])],
            ),
            ("twice", vec![Delta(2, vec![0]), Delta(2, vec![1])]),
            ("out of order", vec![Delta(2, vec![0]), Delta(1, vec![0])]),
            ("no shorter than it is", vec![Delta(0, vec![1])]),
        ];
        for (what, deltas) in forged {
            let fault = PartManifest { deltas, ..part() }.fault();
            assert!(fault.is_some_and(|fault| fault.contains("delta")), "{what}");
        }
    }

    #[test]
    fn sizes_that_no_number_holds_are_refused() {
        let mut huge = part();
        let mut entry = huge.entries[0].clone();
        entry.entry.path = "b".to_owned();
        entry.entry.kind = EntryKind::File {
            bytes: u64::MAX,
            hash: String::new(),
        };
        huge.entries.push(entry);
        assert!(huge.fault().is_some());
    }
}
