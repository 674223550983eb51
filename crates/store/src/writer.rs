//! Writing a part: bytes in, chunks into packs, packs into the store, the part manifest last.
//!
//! Memory is bounded whatever the size of the state: one batch of bytes, one pack being filled and
//! [`UPLOADS_MAX`] packs on their way. A writer dropped midway leaves packs that nothing refers to, and no part.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use blake3::{Hash, Hasher};
use cutline_model::{Epoch, PartRef, ProcessId};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    Created, Entry, EntryKind, FORMAT, Objects, PACK_BYTES_MAX, PART_CHUNKS_MAX, PART_ENTRIES_MAX,
    StoreError, chunk, document, layout,
    pack::PackBuilder,
    part::{ChunkPlace, KnownChunks, PackName, PartManifest, StoredEntry},
    repository::BaseCache,
};

/// Bytes gathered before they are cut and hashed in one go.
const BATCH_BYTES: usize = 1024 * 1024;
/// Packs on their way to the store at the same time.
const UPLOADS_MAX: usize = 2;
/// Work on fewer bytes is done where it is: handing it to another thread would cost more.
const INLINE_BYTES_MAX: usize = 64 * 1024;
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
    packs: Vec<Option<Hash>>,
    chunks: Vec<ChunkPlace>,
    own: HashMap<Hash, u32>,
    pack: Option<(u32, PackBuilder)>,
    uploads: JoinSet<Result<(u32, Hash), StoreError>>,
    state_bytes: u64,
    uploaded_bytes: u64,
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
            packs: Vec::new(),
            chunks: Vec::new(),
            own: HashMap::new(),
            pack: None,
            uploads: JoinSet::new(),
            state_bytes: 0,
            uploaded_bytes: 0,
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
        stored.entry.kind = EntryKind::File {
            bytes: open.bytes,
            hash: open.hasher.finalize().to_hex().to_string(),
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
    pub async fn finish(mut self) -> Result<PartRef, StoreError> {
        self.no_open_file()?;
        self.no_twins()?;
        self.seal_pack().await?;
        while !self.uploads.is_empty() {
            self.wait_for_upload().await?;
        }
        let packs = self
            .packs
            .iter()
            .map(|pack| PackName(pack.expect("every upload has ended")))
            .collect();
        let manifest = PartManifest {
            format: FORMAT,
            epoch: self.epoch,
            process: self.process.clone(),
            provider: self.provider.clone(),
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
        let key = layout::part(self.epoch, &self.process, &hash);
        let part = PartRef {
            key: key.to_string(),
            hash,
            state_bytes: self.state_bytes,
            uploaded_bytes: self.uploaded_bytes + bytes.len() as u64,
            provider: self.provider,
            async_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        // Its name is its content: one that is there already is this one, written by an attempt whose answer got lost.
        if self.objects.put_new(&key, bytes.clone()).await? == Created::AlreadyExists {
            self.objects.put_pack(&key, bytes).await?;
        }
        self.cache.remember(
            self.epoch,
            self.process,
            KnownChunks::of(manifest.packs, manifest.chunks),
        );
        Ok(part)
    }

    async fn store_batch(&mut self, last: bool) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let batch = std::mem::take(&mut self.batch);
        let mut hasher = open.hasher.clone();
        let (mut batch, cuts, hasher) = offload(batch.len(), move || {
            let cuts = chunk::cut(&batch, last);
            let used = cuts.last().map_or(0, |at| at.end);
            hasher.update(&batch[..used]);
            let cuts = cuts
                .into_iter()
                .map(|at| (blake3::hash(&batch[at.clone()]), at))
                .collect::<Vec<_>>();
            (batch, cuts, hasher)
        })
        .await?;
        let used = cuts.last().map_or(0, |(_, at)| at.end);
        open.hasher = hasher;
        open.bytes += used as u64;
        let mut wanted = Vec::new();
        let mut seen = HashSet::new();
        for (hash, at) in &cuts {
            if self.place(hash).await?.is_none() && seen.insert(*hash) {
                wanted.push((*hash, at.clone()));
            }
        }
        let (returned, compressed) = offload(batch.len(), move || {
            let mut compressor = chunk::Compressor::new();
            let compress = |(hash, at): (Hash, Range<usize>)| {
                (hash, at.len(), compressor.compress(&batch[at]))
            };
            let compressed = wanted.into_iter().map(compress).collect::<Vec<_>>();
            (batch, compressed)
        })
        .await?;
        batch = returned;
        for (hash, size, stored) in compressed {
            self.add_chunk(hash, size, &stored).await?;
        }
        let places = cuts.iter().map(|(hash, _)| self.own[hash]);
        let open = self
            .open
            .as_mut()
            .expect("it was open above and only end_file closes it");
        open.stored.chunks.extend(places);
        batch.drain(..used);
        self.batch = batch;
        Ok(())
    }

    /// The index of a chunk that need not be written again.
    async fn place(&mut self, hash: &Hash) -> Result<Option<u32>, StoreError> {
        if let Some(&index) = self.own.get(hash) {
            return Ok(Some(index));
        }
        let base = Arc::clone(&self.base);
        let Some(known) = base.find(hash) else {
            return Ok(None);
        };
        let Some(pack) = self.base_pack(known.pack()).await? else {
            return Ok(None);
        };
        let mut place = known.clone();
        place.1 = pack;
        self.note_chunk(place).map(Some)
    }

    /// The index here of pack `at` of the base. A pack that is gone or too short is not relied on: its chunks are
    /// written again, so one damaged pack does not spoil every checkpoint to come.
    async fn base_pack(&mut self, at: usize) -> Result<Option<u32>, StoreError> {
        if let Some(known) = self.base_packs.get(&at) {
            return Ok(*known);
        }
        let name = self.base.packs[at].0;
        let needed = self.base.pack_end(at);
        let head = self.objects.head(&layout::pack(&name)).await?;
        let index = head.filter(|meta| meta.bytes >= needed).map(|_| {
            self.packs.push(Some(name));
            u32::try_from(self.packs.len() - 1).expect("a part has fewer than 4 G packs")
        });
        if index.is_none() {
            tracing::warn!(pack = %name.to_hex(), epoch = self.epoch.0, "a pack of the last part is damaged; its chunks are written again");
        }
        self.base_packs.insert(at, index);
        Ok(index)
    }

    async fn add_chunk(
        &mut self,
        hash: Hash,
        size: usize,
        stored: &[u8],
    ) -> Result<(), StoreError> {
        if self.pack.as_ref().is_some_and(|(_, pack)| pack.is_full()) {
            self.seal_pack().await?;
        }
        let (index, pack) = self.pack.get_or_insert_with(|| {
            self.packs.push(None);
            let index =
                u32::try_from(self.packs.len() - 1).expect("a part has fewer than 4 G packs");
            (index, PackBuilder::new(self.epoch, &self.process))
        });
        let narrow =
            |bytes: usize| u32::try_from(bytes).expect("a chunk is far smaller than 4 GiB");
        let place = ChunkPlace(
            hash,
            *index,
            pack.add(stored),
            narrow(stored.len()),
            narrow(size),
        );
        self.note_chunk(place).map(|_| ())
    }

    fn note_chunk(&mut self, place: ChunkPlace) -> Result<u32, StoreError> {
        limit(
            "the number of chunks of a part",
            self.chunks.len() + 1,
            PART_CHUNKS_MAX,
        )?;
        let index = u32::try_from(self.chunks.len()).expect("a part has fewer than 4 G chunks");
        self.own.insert(*place.hash(), index);
        self.chunks.push(place);
        Ok(index)
    }

    async fn seal_pack(&mut self) -> Result<(), StoreError> {
        let Some((index, pack)) = self.pack.take().filter(|(_, pack)| !pack.is_empty()) else {
            return Ok(());
        };
        if self.uploads.len() >= UPLOADS_MAX {
            self.wait_for_upload().await?;
        }
        let (hash, bytes) = offload(PACK_BYTES_MAX, move || pack.seal()).await?;
        self.uploaded_bytes += bytes.len() as u64;
        let objects = Arc::clone(&self.objects);
        self.uploads.spawn(async move {
            objects.put_pack(&layout::pack(&hash), bytes).await?;
            Ok((index, hash))
        });
        Ok(())
    }

    async fn wait_for_upload(&mut self) -> Result<(), StoreError> {
        if let Some(ended) = self.uploads.join_next().await {
            let (index, hash) = ended.map_err(stopped)??;
            self.packs[index as usize] = Some(hash);
        }
        Ok(())
    }

    fn no_open_file(&self) -> Result<(), StoreError> {
        match &self.open {
            None => Ok(()),
            Some(open) => Err(StoreError::Invalid {
                what: format!(
                    "file {:?} of the part was not ended",
                    open.stored.entry.path
                ),
            }),
        }
    }

    fn no_twins(&self) -> Result<(), StoreError> {
        let mut paths: Vec<_> = self
            .entries
            .iter()
            .map(|stored| (stored.entry.section, &stored.entry.path))
            .collect();
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

/// Runs `work` on `bytes` bytes where it does not hold up other tasks.
pub(crate) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(stopped)
}

fn stopped(error: tokio::task::JoinError) -> StoreError {
    StoreError::Invalid {
        what: format!("work on a part stopped: {error}"),
    }
}
