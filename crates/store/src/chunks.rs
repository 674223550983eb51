//! The chunks of a part being written: what the store has is referred to, what is new goes into packs.
//!
//! A chunk is listed once, before every delta that needs it. What an earlier part left is relied on only while its pack is
//! there and nothing read of it was wrong; what a delta needs is then listed too, so that the part is complete in itself.

use std::{collections::HashMap, sync::Arc};

use blake3::Hash;

use crate::{
    PART_CHUNKS_MAX, StoreError,
    delta::Delta,
    error::limit,
    known::KnownChunks,
    layout,
    packer::Packer,
    part::{ChunkPlace, PackName},
    repository::BaseCache,
};

/// The chunks that a part refers to so far.
#[derive(Debug)]
pub(crate) struct Chunks {
    base: Arc<KnownChunks>,
    cache: Arc<BaseCache>,
    /// For each pack of the base: its index here, or `None` when it cannot be relied on.
    base_packs: HashMap<usize, Option<u32>>,
    packer: Packer,
    list: Vec<ChunkPlace>,
    deltas: Vec<Delta>,
    own: HashMap<Hash, u32>,
}

/// All of it, when every pack is durable.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) packs: Vec<PackName>,
    pub(crate) chunks: Vec<ChunkPlace>,
    pub(crate) deltas: Vec<Delta>,
    pub(crate) uploaded_bytes: u64,
}

impl Chunks {
    pub(crate) fn new(base: Arc<KnownChunks>, cache: Arc<BaseCache>, packer: Packer) -> Self {
        Self {
            base,
            cache,
            base_packs: HashMap::new(),
            packer,
            list: Vec::new(),
            deltas: Vec::new(),
            own: HashMap::new(),
        }
    }

    /// The index of a chunk that is listed.
    pub(crate) fn index(&self, hash: &Hash) -> Option<u32> {
        self.own.get(hash).copied()
    }

    /// True when a chunk need not be written; it is listed then.
    pub(crate) async fn is_stored(&mut self, hash: &Hash) -> Result<bool, StoreError> {
        if self.own.contains_key(hash) {
            return Ok(true);
        }
        let base = Arc::clone(&self.base);
        let Some(old) = base.find(hash) else {
            return Ok(false);
        };
        let Some(place) = self.place(old).await? else {
            return Ok(false);
        };
        for &of in base.bases(old) {
            if !self.is_reliable(of).await? {
                return Ok(false);
            }
        }
        self.list_with(place, base.bases(old)).await?;
        Ok(true)
    }

    /// True when deltas can be made from a chunk of the base: it is whole and can be read back.
    pub(crate) async fn is_reliable(&mut self, old: u32) -> Result<bool, StoreError> {
        let whole = self.base.bases(old).is_empty();
        if !whole || self.place(old).await?.is_none() {
            return Ok(false);
        }
        let index = self.index(self.base.place(old).hash());
        Ok(index.is_none_or(|index| !self.is_delta(index)))
    }

    /// Writes a chunk in its stored form: whole, or as the difference from `bases`, which are reliable.
    pub(crate) async fn add(
        &mut self,
        hash: Hash,
        size: usize,
        stored: &[u8],
        bases: &[u32],
    ) -> Result<(), StoreError> {
        let (pack, offset) = self.packer.add(stored).await?;
        let narrow =
            |bytes: usize| u32::try_from(bytes).expect("a chunk is far smaller than 4 GiB");
        let place = ChunkPlace(hash, pack, offset, narrow(stored.len()), narrow(size));
        self.list_with(place, bases).await
    }

    /// A chunk of the base turned out not to be what was written. It is not relied on again.
    ///
    /// # Errors
    /// When this part refers to it already, and so could never be restored.
    pub(crate) fn spoil(&mut self, old: u32, detail: String) -> Result<(), StoreError> {
        let place = self.base.place(old);
        let pack = self.base.packs[place.pack()].0;
        self.cache.spoil(pack, *place.hash());
        let key = layout::pack(&pack);
        if self.own.contains_key(place.hash()) {
            let key = key.to_string();
            return Err(StoreError::Damaged { key, detail });
        }
        tracing::warn!(pack = %key, %detail, "a chunk of the last part is damaged; what needs it is written again");
        Ok(())
    }

    /// Waits until every pack is durable.
    pub(crate) async fn finish(self) -> Result<Finished, StoreError> {
        let (names, uploaded_bytes) = self.packer.finish().await?;
        // A pack that was only looked at would be kept for nothing.
        let (mut packs, mut indices) = (Vec::new(), HashMap::new());
        let mut place = |place: ChunkPlace| {
            let index = *indices.entry(place.pack()).or_insert_with(|| {
                packs.push(names[place.pack()].clone());
                packs.len() - 1
            });
            place.in_pack(u32::try_from(index).expect("a part has fewer than 4 G packs"))
        };
        let chunks = self.list.into_iter().map(&mut place).collect();
        Ok(Finished {
            packs,
            chunks,
            deltas: self.deltas,
            uploaded_bytes,
        })
    }

    /// Where a chunk of the base is, in terms of this part; `None` when it cannot be relied on.
    async fn place(&mut self, old: u32) -> Result<Option<ChunkPlace>, StoreError> {
        let place = self.base.place(old).clone();
        let pack = self.base.packs[place.pack()].0;
        if self.cache.is_spoilt(pack, *place.hash()) {
            return Ok(None);
        }
        let pack = self.base_pack(place.pack()).await?;
        Ok(pack.map(|pack| place.in_pack(pack)))
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

    async fn list_with(&mut self, place: ChunkPlace, bases: &[u32]) -> Result<(), StoreError> {
        let mut listed = Vec::with_capacity(bases.len());
        for &base in bases {
            listed.push(self.list_base(base).await?);
        }
        let index = self.list(place)?;
        if !listed.is_empty() {
            self.deltas.push(Delta(index, listed));
        }
        Ok(())
    }

    async fn list_base(&mut self, old: u32) -> Result<u32, StoreError> {
        if let Some(index) = self.index(self.base.place(old).hash()) {
            return Ok(index);
        }
        let place = self.place(old).await?;
        self.list(
            place.expect("it was reliable when the delta was made, and nothing was read since"),
        )
    }

    fn list(&mut self, place: ChunkPlace) -> Result<u32, StoreError> {
        let count = self.list.len();
        limit("the number of chunks of a part", count + 1, PART_CHUNKS_MAX)?;
        let index = u32::try_from(count).expect("it is below a limit far below 4 G");
        self.own.insert(*place.hash(), index);
        self.list.push(place);
        Ok(index)
    }

    fn is_delta(&self, index: u32) -> bool {
        let found = self.deltas.binary_search_by_key(&index, |Delta(at, _)| *at);
        found.is_ok()
    }
}
