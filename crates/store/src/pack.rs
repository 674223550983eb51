//! Packs: many chunks in one object of bounded size, named by its hash.
//!
//! A pack starts with a line that names its epoch, its process and a random number, so that no two writers ever make
//! the same pack. Therefore a pack that garbage collection condemned cannot come back into use while it is deleted.

use blake3::Hash;
use bytes::Bytes;
use cutline_model::{Epoch, ProcessId};

use crate::CHUNK_BYTES_MAX;

/// The largest pack, in bytes: large enough that an object store's cost per object does not matter, small enough that
/// a few fit in memory.
pub const PACK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a pack under construction holds.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    bytes: Vec<u8>,
}

impl PackBuilder {
    pub(crate) fn new(epoch: Epoch, process: &ProcessId) -> Self {
        // A name may hold a line break; its debug form does not.
        let name = format!("{:?}", process.to_string());
        // All of it at once: growing would move what is there and hold two copies for a moment.
        let mut bytes = Vec::with_capacity(PACK_BYTES_MAX);
        let id = uuid::Uuid::new_v4().simple();
        bytes.extend_from_slice(format!("cutline-pack 1 {epoch} {name} {id}\n").as_bytes());
        Self { bytes }
    }

    /// True when the largest chunk might not fit any more.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() + CHUNK_BYTES_MAX > PACK_BYTES_MAX
    }

    /// Adds a chunk's stored form and tells where it is.
    pub(crate) fn add(&mut self, stored: &[u8]) -> u32 {
        assert!(
            !self.is_full(),
            "a full pack is sealed before the next chunk"
        );
        let offset = u32::try_from(self.bytes.len()).expect("a pack is smaller than 4 GiB");
        self.bytes.extend_from_slice(stored);
        offset
    }

    pub(crate) fn seal(self) -> (Hash, Bytes) {
        (blake3::hash(&self.bytes), self.bytes.into())
    }
}
