//! A store that fails on purpose: how full disks, read-only mounts and lost answers are tested.
//!
//! It wraps any other store and, from a chosen call on, answers with a chosen fault. It belongs to tests of this crate
//! and of those that use it; nothing else opens one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use crate::{Created, Key, ObjectMeta, Objects, StoreError};

/// What is answered instead of doing the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room left.
    Full,
    /// Writes are refused.
    ReadOnly,
    /// The work is not done and the answer is an error that may pass.
    Unavailable,
    /// The work is done and the answer is lost: an error that may pass.
    AnswerLost,
    /// The work is done by overwriting: conditional creates are not honoured.
    Overwrites,
    /// The call never returns.
    Hangs,
    /// The work is done once the store is healed.
    Waits,
}

/// Which calls a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `put_new` and `put_pack`.
    Write,
    /// `get`, `get_range`, `head` and `list`.
    Read,
    /// `delete`.
    Delete,
}

#[derive(Clone, Debug)]
struct Rule {
    operation: Operation,
    contains: String,
    skip: u64,
    times: u64,
    fault: Fault,
}

/// A store with faults.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Objects>,
    rules: Arc<Mutex<Vec<Rule>>>,
    heals: watch::Sender<u64>,
    waiting: watch::Sender<u64>,
    writes: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl Faulty {
    /// A store that works, for now.
    #[must_use]
    pub fn new(inner: Arc<dyn Objects>) -> Self {
        Self {
            inner,
            rules: Arc::default(),
            heals: watch::Sender::default(),
            waiting: watch::Sender::default(),
            writes: Arc::default(),
            reads: Arc::default(),
        }
    }

    /// From now on: after `skip` more matching calls, the next `times` fail with `fault`. A call matches when it is of
    /// this kind and its key contains `contains`.
    pub async fn inject(
        &self,
        operation: Operation,
        contains: &str,
        skip: u64,
        times: u64,
        fault: Fault,
    ) {
        let rule = Rule {
            operation,
            contains: contains.to_owned(),
            skip,
            times,
            fault,
        };
        self.rules.lock().await.push(rule);
    }

    /// Works again.
    pub async fn heal(&self) {
        self.rules.lock().await.clear();
        self.heals.send_modify(|heals| *heals += 1);
    }

    /// Returns when a call waits for the store to be healed.
    pub async fn is_waited_for(&self) {
        let mut waiting = self.waiting.subscribe();
        let found = waiting.wait_for(|waiting| *waiting > 0).await;
        debug_assert!(found.is_ok(), "this store has the sender");
    }

    /// How many reads of one object were tried.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many writes were tried.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    async fn fault(&self, operation: Operation, key: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().await;
        for rule in rules
            .iter_mut()
            .filter(|rule| rule.operation == operation && key.contains(&rule.contains))
        {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                return Some(rule.fault);
            }
        }
        None
    }

    async fn before(&self, operation: Operation, key: &str) -> Result<Option<Fault>, StoreError> {
        let store = self.describe();
        let mut heals = self.heals.subscribe();
        match self.fault(operation, key).await {
            Some(Fault::Full) => Err(StoreError::Full {
                store,
                detail: "injected".to_owned(),
            }),
            Some(Fault::ReadOnly) => Err(StoreError::NotWritable {
                store,
                detail: "injected".to_owned(),
            }),
            Some(Fault::Unavailable) => Err(self.lost(key)),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Waits) => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                let healed = heals.changed().await;
                debug_assert!(healed.is_ok(), "this store has the sender");
                Ok(None)
            }
            done => Ok(done),
        }
    }

    fn lost(&self, key: &str) -> StoreError {
        StoreError::Backend {
            store: self.describe(),
            operation: "call",
            key: key.to_owned(),
            detail: "injected".to_owned(),
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.inner)
    }
}

#[async_trait]
impl Objects for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn probe_rounds(&self) -> u32 {
        self.inner.probe_rounds()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        match self.before(Operation::Write, key.as_str()).await? {
            Some(Fault::Overwrites) => {
                self.inner.delete(key).await?;
                self.inner.put_new(key, bytes).await
            }
            Some(_) => {
                self.inner.put_new(key, bytes).await?;
                Err(self.lost(key.as_str()))
            }
            None => self.inner.put_new(key, bytes).await,
        }
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fault = self.before(Operation::Write, key.as_str()).await?;
        self.inner.put_pack(key, bytes).await?;
        fault.map_or(Ok(()), |_| Err(self.lost(key.as_str())))
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.before(Operation::Read, key.as_str()).await?;
        self.inner.get(key, bytes_max).await
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.before(Operation::Read, key.as_str()).await?;
        self.inner.get_range(key, offset, len).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.before(Operation::Read, key.as_str()).await?;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.before(Operation::Read, prefix).await?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let fault = self.before(Operation::Delete, key.as_str()).await?;
        self.inner.delete(key).await?;
        fault.map_or(Ok(()), |_| Err(self.lost(key.as_str())))
    }

    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        self.inner.end_abandoned_writes(age).await
    }
}
