//! A store behind circuit breakers: when it has failed several times in a row, calls fail at once for a while, and whoever
//! is about to begin something knows before it begins.
//!
//! Reads and writes are judged apart: a full disk still reads. An answer that is not the wanted one, such as an object
//! that is missing, is no failure of the store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use cutline_breaker::{Breaker, Open, Standing};

use crate::{Created, Key, ObjectMeta, Objects, StoreError};

/// A store's breakers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreBreakers {
    reads: Arc<Breaker>,
    writes: Arc<Breaker>,
}

impl Default for StoreBreakers {
    fn default() -> Self {
        Self {
            reads: Arc::new(Breaker::new("reading from the store")),
            writes: Arc::new(Breaker::new("writing to the store")),
        }
    }
}

impl StoreBreakers {
    /// `objects` behind these breakers.
    #[must_use]
    pub fn over(&self, objects: Arc<dyn Objects>) -> Arc<dyn Objects> {
        Arc::new(Guarded {
            objects,
            breakers: self.clone(),
        })
    }

    /// The worse of how the two stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (reads, writes) = (self.reads.standing(), self.writes.standing());
        if reads == Standing::Closed {
            writes
        } else {
            reads
        }
    }
}

#[derive(Debug)]
struct Guarded {
    objects: Arc<dyn Objects>,
    breakers: StoreBreakers,
}

impl Guarded {
    async fn call<T>(
        &self,
        breaker: &Breaker,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let permit = breaker.ask().map_err(|open| self.refused(&open))?;
        let answer = call.await;
        match &answer {
            Err(error) if error.is_outage() => permit.failed(error),
            _ => permit.succeeded(),
        }
        answer
    }

    fn refused(&self, open: &Open) -> StoreError {
        StoreError::NotAsked {
            store: self.objects.describe(),
            detail: open.to_string(),
            again_in_ms: u64::try_from(open.again_in.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[async_trait]
impl Objects for Guarded {
    fn describe(&self) -> String {
        self.objects.describe()
    }

    fn probe_rounds(&self) -> u32 {
        self.objects.probe_rounds()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        let call = self.objects.put_new(key, bytes);
        self.call(&self.breakers.writes, call).await
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        let call = self.objects.put_pack(key, bytes);
        self.call(&self.breakers.writes, call).await
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        let call = self.objects.get(key, bytes_max);
        self.call(&self.breakers.reads, call).await
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let call = self.objects.get_range(key, offset, len);
        self.call(&self.breakers.reads, call).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let call = self.objects.head(key);
        self.call(&self.breakers.reads, call).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let call = self.objects.list(prefix);
        self.call(&self.breakers.reads, call).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        // Deleting frees what is full, so a breaker that is open for that does not stand in its way.
        self.objects.delete(key).await
    }

    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        self.objects.end_abandoned_writes(age).await
    }
}
