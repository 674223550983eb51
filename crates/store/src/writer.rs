//! Writing a part: bytes in, chunks into packs, packs into the store, the part manifest last.
//!
//! Memory is bounded whatever the size of the state: a batch of bytes, a pack being filled and a few on their way, and
//! the part's own lists. A writer dropped midway leaves packs that nothing refers to, and no part.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use blake3::{Hash, Hasher};
use cutline_model::{Epoch, PartRef, ProcessId};

use crate::{
    Created, Entry, EntryKind, FORMAT, Objects, PART_CHUNKS_MAX, PART_ENTRIES_MAX, StoreError,
    chunk, document, layout,
    packer::{Packer, offload},
    part::{ChunkPlace, KnownChunks, PartManifest, StoredEntry},
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
    /// For each pack of the base: its index here, or `None` when it cannot be relied on.
    base_packs: HashMap<usize, Option<u32>>,
    attributes: BTreeMap<String, String>,
    section: u32,
    entries: Vec<StoredEntry>,
    open: Option<OpenFile>,
    batch: Vec<u8>,
    packer: Packer,
    chunks: Vec<ChunkPlace>,
    own: HashMap<Hash, u32>,
    state_bytes: u64,
}

#[derive(Debug)]
struct OpenFile {
    stored: StoredEntry,
    hasher: Hasher,
    bytes: u64,
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
        Self {
            objects,
            cache,
            epoch,
            process,
            provider,
            started: Instant::now(),
            base,
            base_packs: HashMap::new(),
            attributes: BTreeMap::new(),
            section: 0,
            entries: Vec::new(),
            open: None,
            batch: Vec::new(),
            packer,
            chunks: Vec::new(),
            own: HashMap::new(),
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
        let (packs, pack_bytes) = self.packer.finish().await?;
        let manifest = PartManifest {
            format: FORMAT,
            epoch: self.epoch,
            process: self.process,
            provider: self.provider,
            state_bytes: self.state_bytes,
            attributes: self.attributes,
            entries: self.entries,
            packs,
            chunks: self.chunks,
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
            uploaded_bytes: pack_bytes + bytes.len() as u64,
            provider: manifest.provider,
            async_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        // Its name is its content: one that is there already is this one, written by an attempt whose answer got lost.
        if self.objects.put_new(&key, bytes.clone()).await? == Created::AlreadyExists {
            self.objects.put_pack(&key, bytes).await?;
        }
        let known = KnownChunks::of(manifest.packs, manifest.chunks);
        self.cache.remember(manifest.epoch, manifest.process, known);
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
        let batch = self.store_new(batch, &cuts).await?;
        let places = cuts.iter().map(|(hash, _)| self.own[hash]);
        let open = self
            .open
            .as_mut()
            .expect("it was open above and only end_file closes it");
        open.stored.chunks.extend(places);
        self.batch = batch;
        self.batch.drain(..used);
        Ok(())
    }

    async fn store_new(
        &mut self,
        batch: Vec<u8>,
        cuts: &[(Hash, Range<usize>)],
    ) -> Result<Vec<u8>, StoreError> {
        let (mut new, mut seen) = (Vec::new(), HashSet::new());
        for (hash, at) in cuts {
            if !self.is_stored(hash).await? && seen.insert(*hash) {
                new.push((*hash, at.clone()));
            }
        }
        let (batch, compressed) = offload(batch.len(), move || {
            let mut compressor = chunk::Compressor::new();
            let compress = |(hash, at): (Hash, Range<usize>)| {
                (hash, at.len(), compressor.compress(&batch[at]))
            };
            let compressed = new.into_iter().map(compress).collect::<Vec<_>>();
            (batch, compressed)
        })
        .await?;
        for (hash, size, stored) in compressed {
            let (pack, offset) = self.packer.add(&stored).await?;
            let narrow =
                |bytes: usize| u32::try_from(bytes).expect("a chunk is far smaller than 4 GiB");
            self.note_chunk(ChunkPlace(
                hash,
                pack,
                offset,
                narrow(stored.len()),
                narrow(size),
            ))?;
        }
        Ok(batch)
    }

    /// True when a chunk need not be written; it is among this part's own then.
    async fn is_stored(&mut self, hash: &Hash) -> Result<bool, StoreError> {
        if self.own.contains_key(hash) {
            return Ok(true);
        }
        let base = Arc::clone(&self.base);
        let Some(known) = base.find(hash) else {
            return Ok(false);
        };
        let Some(pack) = self.base_pack(known.pack()).await? else {
            return Ok(false);
        };
        self.note_chunk(known.in_pack(pack)).map(|()| true)
    }

    /// The index here of pack `at` of the base. A pack that is gone or too short is not relied on: its chunks are
    /// written again, so one damaged pack does not spoil every checkpoint to come.
    async fn base_pack(&mut self, at: usize) -> Result<Option<u32>, StoreError> {
        if let Some(known) = self.base_packs.get(&at) {
            return Ok(*known);
        }
        let name = self.base.packs[at].0;
        let index = self.packer.refer(name, self.base.pack_end(at)).await?;
        if index.is_none() {
            let pack = name.to_hex();
            tracing::warn!(%pack, "a pack of the last part is missing or too short; its chunks are written again");
        }
        self.base_packs.insert(at, index);
        Ok(index)
    }

    fn note_chunk(&mut self, place: ChunkPlace) -> Result<(), StoreError> {
        limit(
            "the number of chunks of a part",
            self.chunks.len() + 1,
            PART_CHUNKS_MAX,
        )?;
        let index = u32::try_from(self.chunks.len()).expect("a part has fewer than 4 G chunks");
        self.own.insert(*place.hash(), index);
        self.chunks.push(place);
        Ok(())
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

fn limit(what: &str, found: usize, limit: usize) -> Result<(), StoreError> {
    if found > limit {
        return Err(StoreError::TooLarge {
            what: what.to_owned(),
            found: found as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}
