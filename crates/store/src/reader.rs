//! Reading a part back: entries in the order they were written, every byte verified before it is handed out.
//!
//! A chunk is believed when its hash and size fit; a file is believed when its own hash fits too, which is told with its
//! last bytes. Memory is bounded by [`WINDOW_BYTES_MAX`] and the part's own lists.

use std::sync::Arc;

use blake3::Hasher;
use bytes::Bytes;
use cutline_model::{Epoch, PartRef, ProcessId};

use crate::{
    DOCUMENT_BYTES_MAX, Entry, EntryKind, Key, Objects, StoreError, chunk, document, layout,
    packer::offload,
    part::{ChunkPlace, PartManifest},
};

/// Neighbouring chunks are fetched together, up to so many stored bytes.
const WINDOW_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// A part being read.
#[derive(Debug)]
pub struct PartReader {
    objects: Arc<dyn Objects>,
    key: Key,
    manifest: PartManifest,
    section: u32,
    /// The entry that [`PartReader::next_entry`] looks at next.
    next: usize,
    open: Option<OpenFile>,
    window: Option<Window>,
}

#[derive(Debug)]
struct OpenFile {
    entry: usize,
    chunk: usize,
    hasher: Hasher,
}

#[derive(Debug)]
struct Window {
    pack: usize,
    offset: u64,
    bytes: Bytes,
}

impl PartReader {
    pub(crate) async fn open(
        objects: Arc<dyn Objects>,
        part: &PartRef,
    ) -> Result<Self, StoreError> {
        let (key, manifest) = load(&*objects, part).await?;
        Ok(Self {
            objects,
            key,
            manifest,
            section: 0,
            next: 0,
            open: None,
            window: None,
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
        let place = self.manifest.chunks[index as usize].clone();
        let stored = self.stored(&open, &place).await?;
        let pack = self.pack_key(place.pack());
        let (hash, size) = (*place.hash(), place.size());
        let mut hasher = open.hasher;
        let (chunk, hasher) = offload(size, move || {
            let chunk = chunk::expand(&stored, size, &hash);
            if let Ok(chunk) = &chunk {
                hasher.update(chunk);
            }
            (chunk, hasher)
        })
        .await?;
        let chunk = chunk.map_err(|detail| StoreError::Damaged {
            key: pack.to_string(),
            detail,
        })?;
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

    /// The stored form of a chunk, fetched together with those that follow it both in the file and in the pack.
    async fn stored(&mut self, open: &OpenFile, place: &ChunkPlace) -> Result<Bytes, StoreError> {
        if let Some(stored) = self.window.as_ref().and_then(|window| window.slice(place)) {
            return Ok(stored);
        }
        let mut end = place.offset() + place.stored();
        for &index in &self.manifest.entries[open.entry].chunks[open.chunk + 1..] {
            let next = &self.manifest.chunks[index as usize];
            let follows = next.pack() == place.pack() && next.offset() == end;
            if !follows || end + next.stored() - place.offset() > WINDOW_BYTES_MAX {
                break;
            }
            end += next.stored();
        }
        // The old window goes first, so that there are never two.
        self.window = None;
        let key = self.pack_key(place.pack());
        let bytes = self
            .objects
            .get_range(&key, place.offset(), end - place.offset())
            .await?;
        let window = self.window.insert(Window {
            pack: place.pack(),
            offset: place.offset(),
            bytes,
        });
        Ok(window
            .slice(place)
            .expect("the window begins with this chunk"))
    }

    fn pack_key(&self, pack: usize) -> Key {
        layout::pack(&self.manifest.packs[pack].0)
    }

    pub(crate) fn chunk_count(&self) -> u64 {
        self.manifest.chunks.len() as u64
    }
}

impl Window {
    fn slice(&self, place: &ChunkPlace) -> Option<Bytes> {
        let start = place
            .offset()
            .checked_sub(self.offset)
            .filter(|_| place.pack() == self.pack)?;
        let end = start + place.stored();
        (end <= self.bytes.len() as u64).then(|| {
            let index = |at: u64| usize::try_from(at).expect("it lies inside a buffer");
            self.bytes.slice(index(start)..index(end))
        })
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
