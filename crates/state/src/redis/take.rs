//! Copying keys inside the pause.
//!
//! The copy is of one moment, its end: whatever was changed while it was made is noticed, since Redis tells of every key
//! under the prefix that anyone writes, removes, evicts or lets expire, and only expiry is forgiven. Keys that had expired
//! by then are left out.

use std::{collections::BTreeSet, time::Instant};

use async_trait::async_trait;
use cutline_store::{Entry, PartWriter};

use super::{
    RedisError,
    address::Address,
    keys::{Look, Scan},
    link::Link,
    record::{ABOUT, About, FORMAT, KEYS},
    spool::{Spool, Spooled},
};
use crate::{Fixed, StateError};

/// Keys that can be copied inside a pause; their index is in memory.
pub(super) const KEYS_MAX: usize = 1_000_000;
/// Bytes of values that can be copied inside a pause.
pub(super) const VALUES_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of values read back at a time when they are stored.
const STORE_BYTES: u64 = 1024 * 1024;

/// Keys as they were at one moment.
#[derive(Debug)]
pub(super) struct Taken {
    about: About,
    index: Vec<Spooled>,
    spool: Spool,
}

/// Copies all keys of a state as they are now.
pub(super) async fn take(address: &Address) -> Result<Taken, StateError> {
    let began = Instant::now();
    let link = Link::open(address).await?;
    // Before the first look: nothing changes unseen.
    link.watch().await?;
    let mut spool = Spool::create().await?;
    let keys = list(address, &link).await?;
    let mut index = Vec::with_capacity(keys.len());
    let mut look = Look::at(&link, &keys);
    while let Some(found) = look.next().await? {
        index.extend(spool.keep(found).await?);
        check_size(address, index.len(), spool.bytes())?;
    }
    drop(look);
    let cut_ms = check_changes(address, &link, &index, &spool).await?;
    index.retain(|record| record.expires_ms.is_none_or(|expires| expires > cut_ms));
    tracing::info!(
        server = address.server,
        keys = index.len(),
        bytes = spool.bytes(),
        latencyMs = began.elapsed().as_millis() as u64,
        "keys copied while the application is paused"
    );
    let about = About {
        format: FORMAT,
        cut_ms,
        redis_version: link.server.version,
        prefix: address.keys.prefix().to_owned(),
        count: index.len() as u64,
    };
    Ok(Taken {
        about,
        index,
        spool,
    })
}

/// All keys of the state, in their order.
async fn list(address: &Address, link: &Link) -> Result<Vec<Vec<u8>>, RedisError> {
    let (mut keys, mut scan) = (BTreeSet::new(), Scan::default());
    while let Some(more) = scan.next(link, &address.keys).await? {
        keys.extend(more);
        check_size(address, keys.len(), 0)?;
    }
    Ok(keys.into_iter().collect())
}

fn check_size(address: &Address, keys: usize, bytes: u64) -> Result<(), RedisError> {
    let limit = match () {
        () if keys > KEYS_MAX => format!("{KEYS_MAX} keys"),
        () if bytes > VALUES_BYTES_MAX => format!("{VALUES_BYTES_MAX} bytes"),
        () => return Ok(()),
    };
    Err(RedisError::TooLarge {
        server: address.server.clone(),
        keys: address.keys.to_string(),
        limit,
    })
}

/// Fails when anyone wrote since the copy began. Gives the moment that the copy is of.
async fn check_changes(
    address: &Address,
    link: &Link,
    index: &[Spooled],
    spool: &Spool,
) -> Result<i64, StateError> {
    let changed = |detail: &str| RedisError::Changed {
        server: address.server.clone(),
        keys: address.keys.to_string(),
        detail: detail.to_owned(),
    };
    let seen = link.changed().await?;
    let cut_ms = link.now_ms().await?;
    if seen.many {
        return Err(changed("many keys at once").into());
    }
    let find = |key: &[u8]| {
        let found = index.binary_search_by(|record| record.key.as_slice().cmp(key));
        found.ok().map(|at| &index[at])
    };
    // The names that are told bear no database: keys of another one are looked at, and found as they were.
    let mut missing = seen.keys;
    let keys: Vec<Vec<u8>> = missing.iter().cloned().collect();
    let mut look = Look::at(link, &keys);
    while let Some(found) = look.next().await? {
        for (key, expires_ms, value) in found {
            missing.remove(&key);
            let then = find(&key).ok_or_else(|| changed("a key was made"))?;
            let before = spool.values(std::slice::from_ref(then)).await?;
            // Byte by byte: a hash table that is written in another order is rare, and another attempt costs less than
            // a change that goes unseen.
            if then.expires_ms != expires_ms || before != [value] {
                return Err(changed("a key was written").into());
            }
        }
    }
    let expired = |record: &Spooled| record.expires_ms.is_some_and(|expires| expires <= cut_ms);
    match missing.iter().filter_map(|key| find(key)).all(expired) {
        true => Ok(cut_ms),
        false => Err(changed("a key was removed or evicted").into()),
    }
}

#[async_trait]
impl Fixed for Taken {
    async fn copy(self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError> {
        let about = serde_json::to_vec_pretty(&self.about).expect("plain data with string keys");
        part.begin(Entry::file(ABOUT))?;
        part.push(&about).await?;
        part.end_file().await?;
        part.begin(Entry::file(KEYS))?;
        for records in batches(&self.index, STORE_BYTES) {
            let values = self.spool.values(records).await?;
            for (record, value) in records.iter().zip(values) {
                part.push(&record.head().to_bytes()).await?;
                part.push(&record.key).await?;
                part.push(&value).await?;
            }
        }
        part.end_file().await?;
        Ok(())
    }

    async fn discard(self: Box<Self>) -> Result<(), StateError> {
        Ok(())
    }
}

/// Slices of `records` of about `bytes` each: one record at least, so that a larger one passes too.
pub(super) fn batches(records: &[Spooled], bytes: u64) -> impl Iterator<Item = &[Spooled]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fitting = rest
            .iter()
            .take_while(|record| {
                sum += record.head().record_bytes();
                sum <= bytes
            })
            .count();
        let (batch, after) = rest.split_at(fitting.max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}
