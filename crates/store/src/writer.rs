//! Writing a part: bytes in, chunks into packs, packs into the store, the part manifest last.
//!
//! Memory is bounded whatever the size of the state: a batch of bytes, a pack being filled and a few on their way, and
//! the part's own lists. A writer dropped midway leaves packs that nothing refers to, and no part.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use blake3::{Hash, Hasher};
use cutline_model::{Epoch, PartRef, ProcessId};

use crate::{
    Created, Entry, EntryKind, FORMAT, Objects, PART_ENTRIES_MAX, StoreError, chunk,
    chunks::{Chunks, Finished},
    compare::{Comparer, New},
    document,
    error::limit,
    known::{Cursor, KnownChunks},
    layout,
    packer::{Packer, offload},
    part::{PartManifest, StoredEntry},
    repository::BaseCache,
};

/// Bytes gathered before they are cut and hashed in one go.
const BATCH_BYTES: usize = 1024 * 1024;
/// A provider's own notes in a part; they are for small words such as a schema's version.
const ATTRIBUTES_MAX: usize = 64;

/// A part being written. Made by [`crate::Repository::part_writer`].
#[derive(Debug)]
pub struct PartWriter {
    objects: Arc<dyn Objects>,
    cache: Arc<BaseCache>,
    epoch: Epoch,
    process: ProcessId,
    provider: String,
    started: Instant,
    base: Arc<KnownChunks>,
    attributes: BTreeMap<String, String>,
    section: u32,
    entries: Vec<StoredEntry>,
    open: Option<OpenFile>,
    batch: Vec<u8>,
    chunks: Chunks,
    comparer: Comparer,
    state_bytes: u64,
}

#[derive(Debug)]
struct OpenFile {
    stored: StoredEntry,
    hasher: Hasher,
    bytes: u64,
    /// Where in the base the next bytes stood.
    cursor: Cursor,
}

impl PartWriter {
    pub(crate) fn new(
        objects: Arc<dyn Objects>,
        cache: Arc<BaseCache>,
        epoch: Epoch,
        process: ProcessId,
        provider: String,
        base: Arc<KnownChunks>,
    ) -> Self {
        let packer = Packer::new(Arc::clone(&objects), epoch, process.clone());
        let chunks = Chunks::new(Arc::clone(&base), Arc::clone(&cache), packer);
        let comparer = Comparer::new(Arc::clone(&objects), Arc::clone(&base));
        Self {
            objects,
            cache,
            epoch,
            process,
            provider,
            started: Instant::now(),
            base,
            attributes: BTreeMap::new(),
            section: 0,
            entries: Vec::new(),
            open: None,
            batch: Vec::new(),
            chunks,
            comparer,
            state_bytes: 0,
        }
    }

    /// Notes something about the part that its provider wants to know again.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when there are too many notes.
    pub fn set_attribute(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), StoreError> {
        self.attributes.insert(name.into(), value.into());
        limit(
            "the number of attributes of a part",
            self.attributes.len(),
            ATTRIBUTES_MAX,
        )
    }

    /// Entries from now on belong to state `section` of the process, when it has several; sections ascend.
    pub fn set_section(&mut self, section: u32) {
        assert!(
            section >= self.section,
            "sections are written in ascending order"
        );
        self.section = section;
    }

    /// Adds a directory or a link, or begins a file, whose bytes are [pushed](Self::push) until
    /// [`end_file`](Self::end_file).
    ///
    /// # Errors
    /// [`StoreError::BadEntry`] for a path that is not plain and relative.
    pub fn begin(&mut self, mut entry: Entry) -> Result<(), StoreError> {
        self.no_open_file()?;
        entry.check()?;
        limit(
            "the number of entries of a part",
            self.entries.len() + 1,
            PART_ENTRIES_MAX,
        )?;
        entry.section = self.section;
        let file = entry.is_file();
        let stored = StoredEntry {
            entry,
            chunks: Vec::new(),
        };
        if file {
            self.open = Some(OpenFile {
                cursor: self.base.begin(self.section, &stored.entry.path),
                stored,
                hasher: Hasher::new(),
                bytes: 0,
            });
        } else {
            self.entries.push(stored);
        }
        Ok(())
    }

    /// The next bytes of the file that is open.
    ///
    /// # Errors
    /// When the store cannot take them; the part is then lost.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        if self.open.is_none() {
            return Err(StoreError::Invalid {
                what: "bytes were pushed into a part without an open file".to_owned(),
            });
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BATCH_BYTES - self.batch.len()));
            self.batch.extend_from_slice(now);
            bytes = later;
            if self.batch.len() == BATCH_BYTES {
                self.store_batch(false).await?;
            }
        }
        Ok(())
    }

    /// Ends the file that is open.
    ///
    /// # Errors
    /// When the store cannot take its bytes; the part is then lost.
    pub async fn end_file(&mut self) -> Result<(), StoreError> {
        self.store_batch(true).await?;
        let Some(open) = self.open.take() else {
            return Err(StoreError::Invalid {
                what: "a file was ended in a part without an open file".to_owned(),
            });
        };
        let mut stored = open.stored;
        let hash = open.hasher.finalize().to_hex().to_string();
        stored.entry.kind = EntryKind::File {
            bytes: open.bytes,
            hash,
        };
        self.state_bytes += open.bytes;
        self.entries.push(stored);
        Ok(())
    }

    /// Bytes of state so far.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.state_bytes + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// Waits until every pack is durable, then writes the part manifest.
    ///
    /// # Errors
    /// When the store could not take something, a file is still open, or two entries have one path.
    pub async fn finish(self) -> Result<PartRef, StoreError> {
        self.no_open_file()?;
        self.no_twins()?;
        let Finished {
            packs,
            chunks,
            deltas,
            uploaded_bytes,
        } = self.chunks.finish().await?;
        let manifest = PartManifest {
            format: FORMAT,
            epoch: self.epoch,
            process: self.process,
            provider: self.provider,
            state_bytes: self.state_bytes,
            attributes: self.attributes,
            entries: self.entries,
            packs,
            chunks,
            deltas,
        };
        if let Some(fault) = manifest.fault() {
            return Err(StoreError::Invalid {
                what: format!("the part contradicts itself: {fault}"),
            });
        }
        let bytes = document::seal(&manifest, document::Layout::Compact)?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let key = layout::part(manifest.epoch, &manifest.process, &hash);
        let part = PartRef {
            key: key.to_string(),
            hash,
            state_bytes: manifest.state_bytes,
            uploaded_bytes: uploaded_bytes + bytes.len() as u64,
            provider: manifest.provider.clone(),
            async_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        // Its name is its content: one that is there already is this one, written by an attempt whose answer got lost.
        if self.objects.put_new(&key, bytes.clone()).await? == Created::AlreadyExists {
            self.objects.put_pack(&key, bytes).await?;
        }
        let (epoch, process) = (manifest.epoch, manifest.process.clone());
        self.cache
            .remember(epoch, process, KnownChunks::of(manifest));
        Ok(part)
    }

    /// Cuts what was gathered and writes the chunks that are new. What is left over stays, unless this is the `last`.
    async fn store_batch(&mut self, last: bool) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let batch = std::mem::take(&mut self.batch);
        let hasher = std::mem::take(&mut open.hasher);
        let Cut {
            batch,
            cuts,
            used,
            hasher,
        } = offload(batch.len(), move || Cut::of(batch, hasher, last)).await?;
        open.hasher = hasher;
        open.bytes += used as u64;
        let mut cursor = open.cursor;
        let batch = self.store_new(batch, &cuts, &mut cursor).await?;
        let places = cuts.iter().map(|(hash, _)| {
            let index = self.chunks.index(hash);
            index.expect("it was stored just now or before")
        });
        let open = self
            .open
            .as_mut()
            .expect("it was open above and only end_file closes it");
        open.stored.chunks.extend(places);
        open.cursor = cursor;
        self.batch = batch;
        self.batch.drain(..used);
        Ok(())
    }

    /// Writes what of `cuts` the store does not have, and moves `cursor` past all of it.
    async fn store_new(
        &mut self,
        batch: Vec<u8>,
        cuts: &[(Hash, Range<usize>)],
        cursor: &mut Cursor,
    ) -> Result<Vec<u8>, StoreError> {
        let base = Arc::clone(&self.base);
        let (mut new, mut seen) = (Vec::new(), HashSet::new());
        let mut ends_new = false;
        for (hash, at) in cuts {
            let known = base.find(hash);
            let stored = self.chunks.is_stored(hash).await?;
            let replaced = match known {
                Some(known) if stored => {
                    cursor.pass(&base, known);
                    Vec::new()
                }
                _ => cursor.replace(&base, at.len()),
            };
            ends_new = !stored && seen.insert(*hash);
            if ends_new {
                new.push(New {
                    hash: *hash,
                    at: at.clone(),
                    replaced,
                });
            }
        }
        if new.is_empty() {
            return Ok(batch);
        }
        let compared = self.comparer.compare(&mut self.chunks, batch, new).await?;
        for new in &compared.stored {
            self.chunks
                .add(new.hash, new.size, &new.bytes, &new.bases)
                .await?;
        }
        if let Some((old, bytes)) = compared.end.filter(|_| ends_new) {
            cursor.align(&base, old, bytes);
        }
        Ok(compared.batch)
    }

    fn no_open_file(&self) -> Result<(), StoreError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let what = format!(
            "file {:?} of the part was not ended",
            open.stored.entry.path
        );
        Err(StoreError::Invalid { what })
    }

    fn no_twins(&self) -> Result<(), StoreError> {
        let entries = self
            .entries
            .iter()
            .map(|stored| (stored.entry.section, &stored.entry.path));
        let mut paths: Vec<_> = entries.collect();
        paths.sort_unstable();
        match paths.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(pair) => Err(StoreError::BadEntry {
                path: pair[0].1.clone(),
                reason: "it is there twice".to_owned(),
            }),
        }
    }
}

/// A batch cut into chunks, `used` bytes of it.
struct Cut {
    batch: Vec<u8>,
    cuts: Vec<(Hash, Range<usize>)>,
    used: usize,
    hasher: Hasher,
}

impl Cut {
    fn of(batch: Vec<u8>, mut hasher: Hasher, last: bool) -> Self {
        let cuts = chunk::cut(&batch, last);
        let used = cuts.last().map_or(0, |at| at.end);
        hasher.update(&batch[..used]);
        let cuts = cuts
            .into_iter()
            .map(|at| (blake3::hash(&batch[at.clone()]), at))
            .collect();
        Self {
            batch,
            cuts,
            used,
            hasher,
        }
    }
}
