//! A store with crash points: every object that is written or deleted is one. For tests of what comes after a crash alone.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Created, Key, ObjectMeta, Objects, StoreError, layout};

/// A store whose writes and deletions are crash points.
pub(crate) struct Crashing(Arc<dyn Objects>);

impl Crashing {
    /// The same store, with crash points where this program has them.
    pub(crate) fn over(inner: Arc<dyn Objects>) -> Arc<dyn Objects> {
        if cutline_crash::is_armed() {
            Arc::new(Self(inner))
        } else {
            inner
        }
    }
}

impl fmt::Debug for Crashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crashing({:?})", self.0)
    }
}

fn passed(what: &str, key: &Key) {
    // Opening a store tries whether it works, which is no step of anything.
    if !key.as_str().starts_with(layout::PROBES) {
        cutline_crash::here(&format!("{what} {key}"));
    }
}

#[async_trait]
impl Objects for Crashing {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn probe_rounds(&self) -> u32 {
        self.0.probe_rounds()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        let created = self.0.put_new(key, bytes).await?;
        passed("written", key);
        Ok(created)
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put_pack(key, bytes).await?;
        passed("written", key);
        Ok(())
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        self.0.get(key, bytes_max).await
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.0.get_range(key, offset, len).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.0.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.0.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(key).await?;
        passed("deleted", key);
        Ok(())
    }

    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        self.0.end_abandoned_writes(age).await
    }
}
