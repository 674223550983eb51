//! The packs of a part being written: chunks go in one after another, full packs go to the store beside it.

use std::sync::Arc;

use blake3::Hash;
use cutline_model::{Epoch, ProcessId};
use cutline_telemetry::as_now;
use tokio::task::{JoinError, JoinSet, spawn_blocking};

use crate::{Objects, PACK_BYTES_MAX, StoreError, layout, pack::PackBuilder, part::PackName};

/// Packs on their way to the store at the same time.
const UPLOADS_MAX: usize = 2;
/// Work on fewer bytes is done where it is: handing it to another thread would cost more.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Fills packs and uploads them. Dropped midway it leaves packs that nothing refers to.
#[derive(Debug)]
pub(crate) struct Packer {
    objects: Arc<dyn Objects>,
    epoch: Epoch,
    process: ProcessId,
    /// Every pack of the part; `None` while its content, and so its name, is not complete.
    packs: Vec<Option<Hash>>,
    filling: Option<(u32, PackBuilder)>,
    uploads: JoinSet<Result<(u32, Hash), StoreError>>,
    uploaded_bytes: u64,
}

impl Packer {
    pub(crate) fn new(objects: Arc<dyn Objects>, epoch: Epoch, process: ProcessId) -> Self {
        Self {
            objects,
            epoch,
            process,
            packs: Vec::new(),
            filling: None,
            uploads: JoinSet::new(),
            uploaded_bytes: 0,
        }
    }

    /// The index of a pack that is in the store already; `None` when it is gone or does not hold `bytes` bytes.
    pub(crate) async fn refer(
        &mut self,
        name: Hash,
        bytes: u64,
    ) -> Result<Option<u32>, StoreError> {
        let head = self.objects.head(&layout::pack(&name)).await?;
        Ok(head
            .filter(|meta| meta.bytes >= bytes)
            .map(|_| self.next(Some(name))))
    }

    /// Adds a chunk's stored form; tells the index of its pack and where it is in there.
    pub(crate) async fn add(&mut self, stored: &[u8]) -> Result<(u32, u32), StoreError> {
        if self
            .filling
            .as_ref()
            .is_some_and(|(_, pack)| pack.is_full())
        {
            self.seal().await?;
        }
        let (index, mut pack) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.next(None), PackBuilder::new(self.epoch, &self.process)),
        };
        let offset = pack.add(stored);
        self.filling = Some((index, pack));
        Ok((index, offset))
    }

    /// Waits until every pack is durable; answers their names and how many bytes were written.
    pub(crate) async fn finish(mut self) -> Result<(Vec<PackName>, u64), StoreError> {
        self.seal().await?;
        while !self.uploads.is_empty() {
            self.wait().await?;
        }
        let packs = self
            .packs
            .iter()
            .map(|pack| PackName(pack.expect("every upload has ended")));
        Ok((packs.collect(), self.uploaded_bytes))
    }

    fn next(&mut self, name: Option<Hash>) -> u32 {
        self.packs.push(name);
        u32::try_from(self.packs.len() - 1).expect("a part has fewer than 4 G packs")
    }

    async fn seal(&mut self) -> Result<(), StoreError> {
        let Some((index, pack)) = self.filling.take() else {
            return Ok(());
        };
        if self.uploads.len() >= UPLOADS_MAX {
            self.wait().await?;
        }
        let (hash, bytes) = offload(PACK_BYTES_MAX, move || pack.seal()).await?;
        self.uploaded_bytes += bytes.len() as u64;
        let objects = Arc::clone(&self.objects);
        self.uploads.spawn(as_now(async move {
            objects.put_pack(&layout::pack(&hash), bytes).await?;
            Ok((index, hash))
        }));
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        if let Some(ended) = self.uploads.join_next().await {
            let (index, hash) = ended.map_err(stopped)??;
            self.packs[index as usize] = Some(hash);
        }
        Ok(())
    }
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

fn stopped(error: JoinError) -> StoreError {
    StoreError::Invalid {
        what: format!("work on a part stopped: {error}"),
    }
}
