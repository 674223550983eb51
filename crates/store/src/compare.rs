//! Comparing new chunks with what stood in their place: which old chunks to read back, and which form is stored.
//!
//! Old chunks are read back in windows and verified. One that is missing, damaged or cannot be read is not relied on: the
//! new chunk is stored whole. Memory is bounded by [`BASE_BYTES_MAX`] and the windows.

use std::{collections::HashMap, ops::Range, sync::Arc};

use blake3::Hash;
use bytes::Bytes;

use crate::{
    DELTA_BASES_MAX, Objects, StoreError, chunk,
    chunks::Chunks,
    delta,
    known::{KnownChunks, Replaced},
    packer::offload,
    window::Windows,
};

/// Bytes of old chunks that one batch of new ones is compared with.
const BASE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A chunk shorter than this is stored whole: what it saves is not worth reading its bases.
const COMPARED_BYTES_MIN: usize = 4 * 1024;

/// A new chunk: its name, where it is in the batch, and what stood there.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) hash: Hash,
    pub(crate) at: Range<usize>,
    pub(crate) replaced: Vec<Replaced>,
}

/// A new chunk as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) hash: Hash,
    pub(crate) size: usize,
    pub(crate) bytes: Vec<u8>,
    /// Chunks of the base that it is a difference from; none when it is whole.
    pub(crate) bases: Vec<u32>,
}

/// Reads back what new chunks are compared with.
#[derive(Debug)]
pub(crate) struct Comparer {
    known: Arc<KnownChunks>,
    windows: Windows,
    /// The store did not answer: waiting for it again and again would cost more than writing.
    unreadable: bool,
}

/// A new chunk and what it is to be compared with.
#[derive(Debug)]
struct Pair {
    new: New,
    bases: Vec<u32>,
    /// For each base, what it stood for, and how far behind the start of that.
    stood: Vec<(Replaced, usize)>,
}

/// What came of comparing a batch.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) batch: Vec<u8>,
    pub(crate) stored: Vec<Stored>,
    /// Where in the base the last of the new chunks ends, if its end was found there: so many bytes after a start.
    pub(crate) end: Option<(Replaced, usize)>,
    damaged: Vec<(u32, String)>,
}

impl Comparer {
    pub(crate) fn new(objects: Arc<dyn Objects>, known: Arc<KnownChunks>) -> Self {
        Self {
            known,
            windows: Windows::new(objects),
            unreadable: false,
        }
    }

    /// The forms in which the `new` chunks of `batch` are stored.
    pub(crate) async fn compare(
        &mut self,
        chunks: &mut Chunks,
        batch: Vec<u8>,
        new: Vec<New>,
    ) -> Result<Compared, StoreError> {
        let pairs = self.pairs(chunks, new).await?;
        let old = self.read(chunks, &pairs).await?;
        let known = Arc::clone(&self.known);
        let bytes = batch.len();
        let work = move || compress(&known, batch, pairs, old);
        let mut compared = offload(bytes, work).await?;
        for (old, detail) in compared.damaged.drain(..) {
            chunks.spoil(old, detail)?;
        }
        Ok(compared)
    }

    async fn pairs(&self, chunks: &mut Chunks, new: Vec<New>) -> Result<Vec<Pair>, StoreError> {
        let mut pairs = Vec::with_capacity(new.len());
        for new in new {
            let (mut bases, mut stood) = (Vec::new(), Vec::new());
            let compared = new.at.len() >= COMPARED_BYTES_MIN && !self.unreadable;
            for &old in &new.replaced {
                let mut behind = 0;
                for base in self.whole(old.chunk) {
                    let room = bases.len() < DELTA_BASES_MAX;
                    if compared
                        && room
                        && !bases.contains(&base)
                        && chunks.is_reliable(base).await?
                    {
                        bases.push(base);
                        stood.push((old, behind));
                    }
                    behind += self.known.place(base).size();
                }
            }
            pairs.push(Pair { new, bases, stood });
        }
        Ok(pairs)
    }

    /// `old`, or what it is a difference from.
    fn whole(&self, old: u32) -> Vec<u32> {
        match self.known.bases(old) {
            [] => vec![old],
            bases => bases.to_vec(),
        }
    }

    /// The stored forms of all bases that can be had.
    async fn read(
        &mut self,
        chunks: &mut Chunks,
        pairs: &[Pair],
    ) -> Result<HashMap<u32, Bytes>, StoreError> {
        let mut needed: Vec<u32> = pairs.iter().flat_map(|pair| pair.bases.clone()).collect();
        needed.dedup();
        let known = Arc::clone(&self.known);
        let (mut old, mut bytes) = (HashMap::new(), 0);
        for (at, &base) in needed.iter().enumerate() {
            let place = known.place(base);
            bytes += place.size();
            if self.unreadable || bytes > BASE_BYTES_MAX {
                break;
            }
            let read = match self.windows.find(place) {
                Some(stored) => Ok(stored),
                None => {
                    let next = needed[at..].iter().map(|&base| known.place(base));
                    let pack_end = known.pack_end(place.pack());
                    let end = self.windows.plan(place, next, pack_end);
                    let pack = &known.packs[place.pack()];
                    self.windows.fetch(pack, place, end).await
                }
            };
            match read {
                Ok(stored) => drop(old.insert(base, stored)),
                Err(error) if error.is_damage() => chunks.spoil(base, error.to_string())?,
                Err(error) => {
                    tracing::warn!(%error, "the last part cannot be read back; what changed is written whole");
                    self.unreadable = true;
                }
            }
        }
        Ok(old)
    }
}

fn compress(
    known: &KnownChunks,
    batch: Vec<u8>,
    pairs: Vec<Pair>,
    old: HashMap<u32, Bytes>,
) -> Compared {
    let (mut whole, mut damaged) = (HashMap::new(), Vec::new());
    for (base, stored) in old {
        let place = known.place(base);
        match chunk::expand(&stored, place.size(), place.hash()) {
            Ok(chunk) => drop(whole.insert(base, chunk)),
            Err(detail) => damaged.push((base, detail)),
        }
    }
    let mut compressor = chunk::Compressor::new();
    let (mut stored, mut end) = (Vec::with_capacity(pairs.len()), None);
    for mut pair in pairs {
        let chunk = &batch[pair.new.at.clone()];
        pair.keep(&whole);
        let prefix: Vec<u8> = pair
            .bases
            .iter()
            .flat_map(|base| &whole[base])
            .copied()
            .collect();
        let mut bytes = compressor.compress(chunk);
        let delta = match prefix.is_empty() {
            true => None,
            false => delta::compress(chunk, &prefix),
        };
        end = pair.end(known, &prefix, chunk);
        match delta {
            Some(delta) if delta::is_worth_it(delta.len(), bytes.len(), pair.before(known)) => {
                bytes = delta;
            }
            _ => pair.bases.clear(),
        }
        stored.push(Stored {
            hash: pair.new.hash,
            size: chunk.len(),
            bytes,
            bases: pair.bases,
        });
    }
    Compared {
        batch,
        stored,
        end,
        damaged,
    }
}

impl Pair {
    /// Keeps the bases that could be read.
    fn keep(&mut self, whole: &HashMap<u32, Vec<u8>>) {
        let stood = std::mem::take(&mut self.stood);
        let bases = std::mem::take(&mut self.bases);
        let pairs = bases.into_iter().zip(stood);
        (self.bases, self.stood) = pairs.filter(|(base, _)| whole.contains_key(base)).unzip();
    }

    /// Stored bytes of the deltas that stood there.
    fn before(&self, known: &KnownChunks) -> usize {
        let deltas = self.new.replaced.iter().map(|old| old.chunk);
        let deltas = deltas.filter(|&old| !known.bases(old).is_empty());
        deltas
            .map(|old| usize::try_from(known.place(old).stored()).unwrap_or(usize::MAX))
            .sum()
    }

    /// Where in the base the chunk ends, if its end is found in `prefix`.
    fn end(&self, known: &KnownChunks, prefix: &[u8], chunk: &[u8]) -> Option<(Replaced, usize)> {
        let mut left = delta::end_in(prefix, chunk)?;
        for (&base, &(old, behind)) in self.bases.iter().zip(&self.stood) {
            let size = known.place(base).size();
            if left <= size {
                return Some((old, behind + left));
            }
            left -= size;
        }
        None
    }
}
