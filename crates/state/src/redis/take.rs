//! Copying keys inside the pause.
//!
//! The copy is of one moment, its end: whatever was changed while it was made is noticed, since Redis tells of every key
//! under the prefix that anyone writes, removes, evicts or lets expire, and only expiry is forgiven. Keys that had expired
//! by then are left out.

use std::{collections::BTreeMap, time::Instant};

use async_trait::async_trait;
use cutline_store::{Entry, PartWriter};

use super::{
    RedisError,
    address::Address,
    keys::{Look, Scan},
    link::Link,
    record::{ABOUT, About, FORMAT, KEYS, same_value},
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
    let mut link = Link::open(address).await?;
    // Before the first look: nothing changes unseen.
    link.watch().await?;
    let mut spool = Spool::create().await?;
    let mut index = BTreeMap::new();
    let (mut scan, mut look) = (Scan::default(), Look::default());
    while let Some(mut keys) = scan.next(&mut link, &address.keys).await? {
        keys.retain(|key| !index.contains_key(key));
        while !keys.is_empty() {
            let rest = keys.split_off(look.batch_keys().min(keys.len()));
            let found = look.at(&mut link, &keys).await?;
            for record in spool.keep(found).await? {
                index.insert(record.key.clone(), record);
            }
            check_size(address, index.len(), spool.bytes())?;
            keys = rest;
        }
    }
    let cut_ms = check_changes(address, &mut link, &mut look, &index, &spool).await?;
    let index: Vec<Spooled> = index
        .into_values()
        .filter(|record| record.expires_ms.is_none_or(|expires| expires > cut_ms))
        .collect();
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
    link: &mut Link,
    look: &mut Look,
    index: &BTreeMap<Vec<u8>, Spooled>,
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
    // The names that are told bear no database: keys of another one are looked at, and found as they were.
    let keys: Vec<Vec<u8>> = seen.keys.into_iter().collect();
    for keys in keys.chunks(look.batch_keys().max(1)) {
        let mut now: BTreeMap<_, _> = look
            .at(link, keys)
            .await?
            .into_iter()
            .map(|(key, expires_ms, value)| (key, (expires_ms, value)))
            .collect();
        for key in keys {
            match (index.get(key), now.remove(key)) {
                (None, None) => {}
                (None, Some(_)) => return Err(changed("a key was made").into()),
                (Some(then), None) if then.expires_ms.is_some_and(|expires| expires <= cut_ms) => {}
                (Some(_), None) => return Err(changed("a key was removed or evicted").into()),
                (Some(then), Some((expires_ms, value))) => {
                    let before = spool.values(std::slice::from_ref(then)).await?;
                    let same = before.iter().all(|before| same_value(before, &value));
                    if then.expires_ms != expires_ms || !same {
                        return Err(changed("a key was written").into());
                    }
                }
            }
        }
    }
    Ok(cut_ms)
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
