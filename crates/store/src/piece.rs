//! Pieces: what a restore worked out and needs again, whoever goes on with it. They lie beside its journal.
//!
//! A piece is verified by the hash in front of it, a series of pieces by a hash over theirs. Nothing refers to pieces but
//! the journal; when the restore is over they are of no use.

use blake3::Hasher;
use bytes::{BufMut, Bytes, BytesMut};

use crate::{Created, Key, Repository, StoreError, layout};

/// The largest piece, in bytes.
pub const PIECE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const HASH_BYTES: usize = 32;

/// A series of pieces being written.
#[derive(Debug)]
pub struct PieceWriter {
    repository: Repository,
    restore: String,
    name: String,
    count: u64,
    hasher: Hasher,
}

impl PieceWriter {
    /// The next piece.
    ///
    /// # Errors
    /// When the store does not take it, or the series was written by somebody else.
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let hash = blake3::hash(piece);
        let mut bytes = BytesMut::with_capacity(HASH_BYTES + piece.len());
        bytes.put_slice(hash.as_bytes());
        bytes.put_slice(piece);
        let key = layout::piece(&self.restore, &self.name, self.count)?;
        let objects = &self.repository.objects;
        if objects.put_new(&key, bytes.freeze()).await? == Created::AlreadyExists {
            let what = format!("{key} of restore {}", self.restore);
            return Err(StoreError::Superseded { what });
        }
        self.hasher.update(hash.as_bytes());
        self.count += 1;
        Ok(())
    }

    /// How many pieces there are, and the hash over them.
    #[must_use]
    pub fn finish(self) -> (u64, String) {
        (self.count, self.hasher.finalize().to_hex().to_string())
    }
}

impl Repository {
    /// Begins a series of pieces of a restore, under a name of its own.
    #[must_use]
    pub fn piece_writer(&self, restore: &str, name: &str) -> PieceWriter {
        PieceWriter {
            repository: self.clone(),
            restore: restore.to_owned(),
            name: name.to_owned(),
            count: 0,
            hasher: Hasher::new(),
        }
    }

    /// One piece, verified.
    ///
    /// # Errors
    /// When it is missing or not what was written.
    pub async fn read_piece(
        &self,
        restore: &str,
        name: &str,
        at: u64,
    ) -> Result<Bytes, StoreError> {
        let key = layout::piece(restore, name, at)?;
        self.piece(&key).await.map(|(_, piece)| piece)
    }

    /// Checks that `count` pieces are there and are those that `hash` was made over.
    ///
    /// # Errors
    /// When they are not.
    pub async fn check_pieces(
        &self,
        restore: &str,
        name: &str,
        count: u64,
        hash: &str,
    ) -> Result<(), StoreError> {
        let mut hasher = Hasher::new();
        for at in 0..count {
            let key = layout::piece(restore, name, at)?;
            hasher.update(self.piece(&key).await?.0.as_bytes());
        }
        if hasher.finalize().to_hex().as_str() == hash {
            return Ok(());
        }
        Err(StoreError::Damaged {
            key: layout::pieces(restore)?,
            detail: format!("the pieces {name} are not those that the journal names"),
        })
    }

    /// Removes every piece of a restore.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delete_pieces(&self, restore: &str) -> Result<(), StoreError> {
        for meta in self.objects.list(&layout::pieces(restore)?).await? {
            self.objects.delete(&meta.key).await?;
        }
        Ok(())
    }

    async fn piece(&self, key: &Key) -> Result<(blake3::Hash, Bytes), StoreError> {
        let bytes = self.objects.get(key, PIECE_BYTES_MAX).await?;
        let damaged = || StoreError::Damaged {
            key: key.to_string(),
            detail: "its content does not match its hash".to_owned(),
        };
        let stored = bytes.first_chunk::<HASH_BYTES>().ok_or_else(damaged)?;
        let hash = blake3::Hash::from_bytes(*stored);
        let piece = bytes.slice(HASH_BYTES..);
        if blake3::hash(&piece) == hash {
            Ok((hash, piece))
        } else {
            Err(damaged())
        }
    }
}
