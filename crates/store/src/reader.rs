//! Reading a part back: entries in the order they were written, every byte verified before it is handed out.
//!
//! A chunk is believed when its hash and size fit, and so is each chunk that it is a difference from; a file is believed
//! when its own hash fits too, which is told with its last bytes. Memory is bounded: a few windows, a few bases, and the
//! part's own lists.

use std::{collections::VecDeque, sync::Arc};

use blake3::{Hash, Hasher};
use bytes::Bytes;
use cutline_model::{Epoch, PartRef, ProcessId};

use crate::{
    DELTA_BASES_MAX, DOCUMENT_BYTES_MAX, Entry, EntryKind, Key, Objects, StoreError, chunk, delta,
    document, layout, packer::offload, part::PartManifest, window::Windows,
};

/// Expanded bases held at a time: where a cut point moved, two neighbouring deltas share one.
const BASES_MAX: usize = 2 * DELTA_BASES_MAX;

/// A part being read.
#[derive(Debug)]
pub struct PartReader {
    key: Key,
    manifest: PartManifest,
    section: u32,
    /// The entry that [`PartReader::next_entry`] looks at next.
    next: usize,
    open: Option<OpenFile>,
    windows: Windows,
    pack_ends: Vec<u64>,
    /// Bases that were read last, verified.
    bases: VecDeque<(u32, Bytes)>,
}

#[derive(Debug)]
struct OpenFile {
    entry: usize,
    chunk: usize,
    hasher: Hasher,
}

impl PartReader {
    pub(crate) async fn open(
        objects: Arc<dyn Objects>,
        part: &PartRef,
    ) -> Result<Self, StoreError> {
        let (key, manifest) = load(&*objects, part).await?;
        Ok(Self {
            windows: Windows::new(objects),
            pack_ends: manifest.pack_ends(),
            bases: VecDeque::new(),
            key,
            manifest,
            section: 0,
            next: 0,
            open: None,
        })
    }

    /// The epoch the part was made in.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.manifest.epoch
    }

    /// The process it is of.
    #[must_use]
    pub fn process(&self) -> &ProcessId {
        &self.manifest.process
    }

    /// The provider that made it.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.manifest.provider
    }

    /// What the provider noted.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.manifest.attributes.get(name).map(String::as_str)
    }

    /// Every entry of the section being read.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let section = self.section;
        self.manifest
            .entries
            .iter()
            .map(|stored| &stored.entry)
            .filter(move |entry| entry.section == section)
    }

    /// The section being read.
    #[must_use]
    pub fn section(&self) -> u32 {
        self.section
    }

    /// The sections it has, in order.
    #[must_use]
    pub fn sections(&self) -> Vec<u32> {
        let mut sections: Vec<u32> = self
            .manifest
            .entries
            .iter()
            .map(|stored| stored.entry.section)
            .collect();
        sections.sort_unstable();
        sections.dedup();
        sections
    }

    /// From now on only entries of `section` are read, from its start.
    pub fn set_section(&mut self, section: u32) {
        self.section = section;
        self.next = 0;
        self.open = None;
    }

    /// The next entry; what was not read of the one before is skipped.
    ///
    /// # Errors
    /// None now; a backend may need them.
    pub async fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        let rest = self.manifest.entries.iter().enumerate().skip(self.next);
        let mut rest = rest.filter(|(_, stored)| stored.entry.section == self.section);
        let Some((at, stored)) = rest.next() else {
            self.open = None;
            return Ok(None);
        };
        let entry = stored.entry.clone();
        self.next = at + 1;
        self.open = entry.is_file().then(|| OpenFile {
            entry: at,
            chunk: 0,
            hasher: Hasher::new(),
        });
        Ok(Some(entry))
    }

    /// The next verified bytes of the file that [`next_entry`](Self::next_entry) returned; `None` after its last.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Damaged`] naming the pack or part that does not fit.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        let Some(&index) = self.manifest.entries[open.entry].chunks.get(open.chunk) else {
            return self.check_file(&open).map(|()| None);
        };
        let mut bases = Vec::new();
        for &base in &self.manifest.bases(index).to_vec() {
            bases.push(self.base(&open, base).await?);
        }
        let stored = self.stored(&open, index).await?;
        let (hash, size) = self.named(index);
        let mut hasher = open.hasher;
        let (chunk, hasher) = offload(size, move || {
            let chunk = match bases.is_empty() {
                true => chunk::expand(&stored, size, &hash),
                false => delta::expand(&stored, &bases.concat(), size, &hash),
            };
            if let Ok(chunk) = &chunk {
                hasher.update(chunk);
            }
            (chunk, hasher)
        })
        .await?;
        let chunk = chunk.map_err(|detail| self.damaged(index, detail))?;
        open.hasher = hasher;
        open.chunk += 1;
        self.open = Some(open);
        Ok(Some(chunk.into()))
    }

    fn check_file(&self, open: &OpenFile) -> Result<(), StoreError> {
        let entry = &self.manifest.entries[open.entry].entry;
        let EntryKind::File { hash, .. } = &entry.kind else {
            return Ok(());
        };
        if open.hasher.finalize().to_hex().as_str() == hash.as_str() {
            return Ok(());
        }
        let detail = format!(
            "the content of entry {:?} does not match its hash",
            entry.path
        );
        Err(StoreError::Damaged {
            key: self.key.to_string(),
            detail,
        })
    }

    /// A chunk that others are stored as differences from. It is verified for itself, so that damage is told of the
    /// pack it is in.
    async fn base(&mut self, open: &OpenFile, index: u32) -> Result<Bytes, StoreError> {
        if let Some((_, base)) = self.bases.iter().find(|(held, _)| *held == index) {
            return Ok(base.clone());
        }
        let stored = self.stored(open, index).await?;
        let (hash, size) = self.named(index);
        let base = offload(size, move || chunk::expand(&stored, size, &hash)).await?;
        let base = Bytes::from(base.map_err(|detail| self.damaged(index, detail))?);
        if self.bases.len() >= BASES_MAX {
            self.bases.pop_front();
        }
        self.bases.push_back((index, base.clone()));
        Ok(base)
    }

    /// The stored form of a chunk, fetched together with what is needed next of the same pack.
    async fn stored(&mut self, open: &OpenFile, index: u32) -> Result<Bytes, StoreError> {
        if let Some(stored) = self.windows.find(&self.manifest.chunks[index as usize]) {
            return Ok(stored);
        }
        let end = self.plan(open, index);
        let place = &self.manifest.chunks[index as usize];
        let pack = &self.manifest.packs[place.pack()];
        self.windows.fetch(pack, place, end).await
    }

    /// Up to where to fetch; what is held and not needed soon makes room.
    fn plan(&mut self, open: &OpenFile, index: u32) -> u64 {
        let manifest = &self.manifest;
        let later = manifest.entries[open.entry + 1..].iter();
        let later = later.flat_map(|stored| &stored.chunks);
        let needed = manifest.entries[open.entry].chunks[open.chunk..]
            .iter()
            .chain(later)
            .flat_map(|chunk| manifest.bases(*chunk).iter().chain([chunk]))
            .map(|&index| &manifest.chunks[index as usize]);
        self.windows.keep(needed.clone());
        let place = &manifest.chunks[index as usize];
        let pack_end = self.pack_ends[place.pack()];
        self.windows.plan(place, needed, pack_end)
    }

    fn named(&self, index: u32) -> (Hash, usize) {
        let place = &self.manifest.chunks[index as usize];
        (*place.hash(), place.size())
    }

    fn damaged(&self, index: u32, detail: String) -> StoreError {
        let pack = self.manifest.chunks[index as usize].pack();
        StoreError::Damaged {
            key: layout::pack(&self.manifest.packs[pack].0).to_string(),
            detail,
        }
    }

    pub(crate) fn chunk_count(&self) -> u64 {
        self.manifest.chunks.len() as u64
    }
}

/// A part's manifest, verified by the hash it is referred to with and against itself.
pub(crate) async fn load(
    objects: &dyn Objects,
    part: &PartRef,
) -> Result<(Key, PartManifest), StoreError> {
    let key = Key::new(part.key.as_str())?;
    let bytes = objects.get(&key, DOCUMENT_BYTES_MAX).await?;
    let damaged = |detail: String| StoreError::Damaged {
        key: key.to_string(),
        detail,
    };
    // The part's own words come first: they can tell a newer format from damage.
    let manifest: PartManifest = document::unseal(&key, &bytes)?;
    if blake3::hash(&bytes).to_hex().as_str() != part.hash {
        return Err(damaged(
            "it is not the part that the manifest refers to".to_owned(),
        ));
    }
    match manifest.fault() {
        Some(fault) => Err(damaged(fault)),
        None if manifest.state_bytes != part.state_bytes || manifest.provider != part.provider => {
            Err(damaged(
                "its size or provider is not what the manifest says".to_owned(),
            ))
        }
        None => Ok((key, manifest)),
    }
}
