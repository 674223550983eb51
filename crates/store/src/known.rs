//! Chunks that an earlier part left in the store: found by their hash, and by where they stood.
//!
//! The place is a guess that decides only what a new chunk is compared with: a wrong one costs bytes, never correctness.

use std::collections::HashMap;

use blake3::Hash;

use crate::{
    delta::Delta,
    part::{ChunkPlace, PackName, PartManifest},
};

/// How far ahead of where it is expected a known chunk is looked for in its own file.
const AHEAD_CHUNKS_MAX: usize = 256;
/// The place of a chunk that stands in no file: other chunks are stored as differences from it.
const NOWHERE: u32 = u32::MAX;
/// The place of a chunk that stands at more than one, and so tells nothing about where its neighbours do.
const SEVERAL: u32 = u32::MAX - 1;

/// Chunks that are already in the store.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    pub(crate) packs: Vec<PackName>,
    pub(crate) chunks: Vec<ChunkPlace>,
    bases: HashMap<u32, Vec<u32>>,
    by_hash: HashMap<Hash, u32>,
    pack_ends: Vec<u64>,
    /// The chunks of every file, file after file.
    order: Vec<u32>,
    /// Where in `order` each file starts, ascending.
    starts: Vec<usize>,
    /// The same by name. Names are kept as numbers: two that collide cost a bad guess.
    files: HashMap<u64, usize>,
    /// Where in `order` a chunk stands, when it stands at one place.
    homes: Vec<u32>,
}

/// Where in the earlier part the bytes stood that are being written now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    at: usize,
    end: usize,
    /// Bytes of the chunk at `at` that are behind.
    inside: usize,
}

/// An old chunk where a new one stands now, and where it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) chunk: u32,
    at: usize,
    end: usize,
}

impl KnownChunks {
    pub(crate) fn of(part: PartManifest) -> Self {
        let index = |at: usize| u32::try_from(at).expect("a part has fewer than 4 G chunks");
        let pack_ends = part.pack_ends();
        let chunks = part.chunks;
        let by_hash = chunks
            .iter()
            .enumerate()
            .map(|(at, chunk)| (*chunk.hash(), index(at)))
            .collect();
        let bases = part.deltas.into_iter().map(|Delta(chunk, of)| (chunk, of));
        let mut known = Self {
            packs: part.packs,
            bases: bases.collect(),
            by_hash,
            pack_ends,
            homes: vec![NOWHERE; chunks.len()],
            chunks,
            ..Self::default()
        };
        for stored in part.entries.iter().filter(|stored| stored.entry.is_file()) {
            known.note_file(stored.entry.section, &stored.entry.path, &stored.chunks);
        }
        known
    }

    fn note_file(&mut self, section: u32, path: &str, chunks: &[u32]) {
        if chunks.is_empty() {
            return;
        }
        let start = self.order.len();
        self.files.insert(name(section, path), start);
        self.starts.push(start);
        for &chunk in chunks {
            let home = &mut self.homes[chunk as usize];
            *home = match *home {
                NOWHERE => u32::try_from(self.order.len()).unwrap_or(SEVERAL),
                _ => SEVERAL,
            };
            self.order.push(chunk);
        }
    }

    /// How long pack `at` must be to hold every chunk that is known in it.
    pub(crate) fn pack_end(&self, at: usize) -> u64 {
        self.pack_ends[at]
    }

    pub(crate) fn find(&self, hash: &Hash) -> Option<u32> {
        self.by_hash.get(hash).copied()
    }

    pub(crate) fn place(&self, chunk: u32) -> &ChunkPlace {
        &self.chunks[chunk as usize]
    }

    /// The chunks that `chunk` is stored as a difference from; none when it is stored whole.
    pub(crate) fn bases(&self, chunk: u32) -> &[u32] {
        self.bases.get(&chunk).map_or(&[], Vec::as_slice)
    }

    /// The start of a file; of one that was not there, nowhere.
    pub(crate) fn begin(&self, section: u32, path: &str) -> Cursor {
        self.files
            .get(&name(section, path))
            .map_or_else(Cursor::default, |&start| self.cursor(start, 0))
    }

    fn cursor(&self, at: usize, inside: usize) -> Cursor {
        let next = self.starts.partition_point(|&start| start <= at);
        let end = self.starts.get(next).copied();
        Cursor {
            at,
            end: end.unwrap_or(self.order.len()),
            inside,
        }
    }

    fn size_at(&self, at: usize) -> usize {
        self.place(self.order[at]).size()
    }
}

impl Cursor {
    /// A chunk that is known comes next: it tells where we are.
    pub(crate) fn pass(&mut self, known: &KnownChunks, chunk: u32) {
        let ahead = self.end.min(self.at + AHEAD_CHUNKS_MAX);
        let near = (self.at..ahead).find(|&at| known.order[at] == chunk);
        let home = || match known.homes[chunk as usize] {
            NOWHERE | SEVERAL => None,
            home => Some(home as usize),
        };
        match near.or_else(home) {
            Some(at) => *self = known.cursor(at, 0).after(known),
            None => self.advance(known, known.place(chunk).size()),
        }
    }

    /// A new chunk of `bytes` comes next: tells what stood there.
    pub(crate) fn replace(&mut self, known: &KnownChunks, bytes: usize) -> Vec<Replaced> {
        let from = self.at;
        self.advance(known, bytes);
        let to = self.end.min(self.at + usize::from(self.inside > 0));
        let replaced = |at: usize| Replaced {
            chunk: known.order[at],
            at,
            end: self.end,
        };
        (from..to).map(replaced).collect()
    }

    /// What was written last turned out to end `bytes` after the start of `old`.
    pub(crate) fn align(&mut self, known: &KnownChunks, old: Replaced, bytes: usize) {
        *self = Self {
            at: old.at,
            end: old.end,
            inside: 0,
        };
        self.advance(known, bytes);
    }

    fn after(self, known: &KnownChunks) -> Self {
        let mut after = self;
        after.advance(known, known.size_at(self.at));
        after
    }

    fn advance(&mut self, known: &KnownChunks, bytes: usize) {
        self.inside += bytes;
        while self.at < self.end {
            let size = known.size_at(self.at);
            if self.inside < size {
                return;
            }
            self.inside -= size;
            self.at += 1;
        }
        self.inside = 0;
    }
}

fn name(section: u32, path: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&section.to_le_bytes())
        .update(path.as_bytes());
    let hash = hasher.finalize();
    let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}
