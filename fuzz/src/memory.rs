//! A store in memory: what a hostile store may hold is put in by key, and what is asked of it is noted.
//!
//! It is as strict as the contract asks for and no stricter: bytes are given out as they were put in.

use std::{collections::BTreeMap, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use cutline_store::{Created, Key, ObjectMeta, Objects, StoreError};
use parking_lot::Mutex;

/// Objects in memory.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<Key, Bytes>>,
    asked: Mutex<Vec<String>>,
}

impl Memory {
    /// Puts an object there, whatever was there.
    pub fn put(&self, key: &Key, bytes: impl Into<Bytes>) {
        self.objects.lock().insert(key.clone(), bytes.into());
    }

    /// All objects.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Key, Bytes> {
        self.objects.lock().clone()
    }

    /// Leaves only these objects.
    pub fn reset(&self, objects: BTreeMap<Key, Bytes>) {
        *self.objects.lock() = objects;
    }

    /// Which keys and prefixes were asked for since the last call.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }

    fn note(&self, what: &str) {
        self.asked.lock().push(what.to_owned());
    }

    fn find(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.note(key.as_str());
        let found = self.objects.lock().get(key).cloned();
        found.ok_or_else(|| StoreError::Missing {
            key: key.to_string(),
        })
    }
}

#[async_trait]
impl Objects for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        self.note(key.as_str());
        let mut objects = self.objects.lock();
        if objects.contains_key(key) {
            return Ok(Created::AlreadyExists);
        }
        objects.insert(key.clone(), bytes);
        Ok(Created::Created)
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        self.put_new(key, bytes).await.map(|_| ())
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        let bytes = self.find(key)?;
        match bytes.len() as u64 {
            found if found > bytes_max => Err(StoreError::TooLarge {
                what: key.to_string(),
                found,
                limit: bytes_max,
            }),
            _ => Ok(bytes),
        }
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let bytes = self.find(key)?;
        let end = offset.checked_add(len);
        let end = end.filter(|end| *end <= bytes.len() as u64);
        let Some(end) = end else {
            return Err(StoreError::Damaged {
                key: key.to_string(),
                detail: "it is truncated".to_owned(),
            });
        };
        Ok(bytes.slice(offset as usize..end as usize))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        match self.find(key) {
            Ok(bytes) => Ok(Some(meta(key, &bytes))),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.note(prefix);
        let objects = self.objects.lock();
        let within = objects
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix));
        Ok(within.map(|(key, bytes)| meta(key, bytes)).collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.note(key.as_str());
        self.objects.lock().remove(key);
        Ok(())
    }
}

fn meta(key: &Key, bytes: &Bytes) -> ObjectMeta {
    ObjectMeta {
        key: key.clone(),
        bytes: bytes.len() as u64,
        modified: SystemTime::UNIX_EPOCH,
    }
}
