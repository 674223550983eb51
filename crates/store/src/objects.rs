//! The contract between Cutline and whatever keeps its objects: a directory, or S3 with the same meaning.
//!
//! An object appears whole or not at all, never changes, and once a write was acknowledged it survives a crash.
//! Backends know keys and bytes; they know nothing of checkpoints.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Key, StoreError};

/// Who won a conditional create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call created the object.
    Created,
    /// It was there before; nothing was changed.
    AlreadyExists,
}

/// What a store tells of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, by the store's own clock.
    pub modified: SystemTime,
}

/// A store of immutable objects.
#[async_trait]
pub trait Objects: Send + Sync + fmt::Debug {
    /// The store's address, for messages; without secrets.
    fn describe(&self) -> String;

    /// How many races of creates it takes to believe that of several exactly one wins.
    fn probe_rounds(&self) -> u32 {
        1
    }

    /// Creates the object unless it exists. Of two racing calls exactly one is told [`Created::Created`].
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError>;

    /// Writes an object whose key follows from its content. An identical one that exists is success; one with other
    /// content is [`StoreError::Damaged`].
    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError>;

    /// The whole object, of at most `bytes_max` bytes.
    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError>;

    /// `len` bytes from `offset`; an object that ends before is [`StoreError::Damaged`].
    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError>;

    /// What is known of the object; `None` when there is none.
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError>;

    /// Every object whose key starts with `prefix` (whole segments, ending in `/`, or empty for all), by key.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError>;

    /// Removes the object; that it was not there is success.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Gives up writes that began longer than `age` ago and never ended; tells how many. What a backend cannot leave
    /// behind it need not look for.
    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        let _ = age;
        Ok(0)
    }
}
