//! A store that tells somebody of every request: which kind, how long, how much, and whether it went well.
//!
//! Whoever is told must not wait; keys and contents are not told.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Created, Key, ObjectMeta, Objects, StoreError};

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Writing an object.
    Put,
    /// Reading one, or a part of it.
    Get,
    /// Looking whether there is one.
    Head,
    /// Listing.
    List,
    /// Removing one.
    Delete,
}

impl Verb {
    /// In metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// In traces.
    #[must_use]
    pub fn span_name(self) -> &'static str {
        match self {
            Self::Put => "store put",
            Self::Get => "store get",
            Self::Head => "store head",
            Self::List => "store list",
            Self::Delete => "store delete",
        }
    }
}

/// A request that was answered just now.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Its kind.
    pub verb: Verb,
    /// When it was made.
    pub began: Instant,
    /// Bytes written or read.
    pub bytes: u64,
    /// True when there was an error; that there is no such object is none.
    pub failed: bool,
}

/// Who is told.
pub type Watch = Arc<dyn Fn(Answered) + Send + Sync>;

/// A store that is watched.
pub struct Observed {
    inner: Arc<dyn Objects>,
    watch: Watch,
}

impl Observed {
    /// The same store, watched.
    pub fn over(inner: Arc<dyn Objects>, watch: Watch) -> Arc<dyn Objects> {
        Arc::new(Self { inner, watch })
    }

    async fn told<T>(
        &self,
        verb: Verb,
        bytes: impl FnOnce(&T) -> u64,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let answer = request.await;
        (self.watch)(Answered {
            verb,
            began,
            bytes: answer.as_ref().map(bytes).unwrap_or_default(),
            failed: answer
                .as_ref()
                .is_err_and(|error| !matches!(error, StoreError::Missing { .. })),
        });
        answer
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observed({:?})", self.inner)
    }
}

#[async_trait]
impl Objects for Observed {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn probe_rounds(&self) -> u32 {
        self.inner.probe_rounds()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        let size = bytes.len() as u64;
        let request = self.inner.put_new(key, bytes);
        self.told(Verb::Put, |_| size, request).await
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        let size = bytes.len() as u64;
        let request = self.inner.put_pack(key, bytes);
        self.told(Verb::Put, |()| size, request).await
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        let request = self.inner.get(key, bytes_max);
        let size = |bytes: &Bytes| bytes.len() as u64;
        self.told(Verb::Get, size, request).await
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let request = self.inner.get_range(key, offset, len);
        let size = |bytes: &Bytes| bytes.len() as u64;
        self.told(Verb::Get, size, request).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let request = self.inner.head(key);
        self.told(Verb::Head, |_| 0, request).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let request = self.inner.list(prefix);
        self.told(Verb::List, |_| 0, request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.inner.delete(key);
        self.told(Verb::Delete, |()| 0, request).await
    }

    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        self.inner.end_abandoned_writes(age).await
    }
}
