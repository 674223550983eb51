//! Putting keys back: read and verified whole, tried, then put in place, then looked at again.
//!
//! What a key had left to live at the cut it has from the restore on: neither the age of the checkpoint nor the time the
//! copy took eats it up. Broken off anywhere, the same call repairs it.

use cutline_store::PartReader;
use deadpool_redis::redis::{self, Pipeline};

use super::{
    RedisError,
    address::Address,
    keys::{Found, Look, Scan},
    link::Link,
    record::{ABOUT, ABOUT_BYTES_MAX, About, FORMAT, KEYS},
    spool::{Spool, Spooled},
    take::batches,
    value::same_value,
};
use crate::StateError;

/// Bytes of values on their way to Redis at a time.
const PUT_BYTES: u64 = 4 * 1024 * 1024;
/// Keys looked at again at a time.
const VERIFY_KEYS: usize = 20_000;
/// A key of our own, made to try a value and removed at once, is gone after this whatever happens.
const TRIAL_TTL_MS: i64 = 60_000;

/// Replaces the keys of `address` by those in `part`.
pub(super) async fn restore(address: &Address, part: &mut PartReader) -> Result<(), StateError> {
    let recorded = Recorded::read(part).await?;
    recorded.check(address)?;
    let link = Link::open(address).await?;
    let mut putting = Putting {
        address,
        trial: format!(
            "{}__cutline__:{}",
            address.keys.prefix(),
            uuid::Uuid::new_v4().simple()
        )
        .into_bytes(),
        link,
        recorded,
        shift_ms: 0,
    };
    putting.run().await
}

/// A part, verified, out of the store.
struct Recorded {
    about: About,
    /// In the order of keys.
    index: Vec<Spooled>,
    spool: Spool,
}

impl Recorded {
    async fn read(part: &mut PartReader) -> Result<Self, StateError> {
        next_file(part, ABOUT).await?;
        let mut about = Vec::new();
        while let Some(bytes) = part.read().await? {
            about.extend_from_slice(&bytes);
            if about.len() > ABOUT_BYTES_MAX {
                return Err(wrong(format!(
                    "{ABOUT} is longer than {ABOUT_BYTES_MAX} bytes"
                )));
            }
        }
        let about: About = serde_json::from_slice(&about)
            .map_err(|error| wrong(format!("{ABOUT} cannot be read: {error}")))?;
        if about.format > FORMAT {
            return Err(wrong(format!(
                "their form is {}, newer than the {FORMAT} that is known here; use a newer sidecar",
                about.format
            )));
        }
        next_file(part, KEYS).await?;
        let mut spool = Spool::create().await?;
        while let Some(bytes) = part.read().await? {
            spool.append(bytes.to_vec()).await?;
        }
        let index = spool.index().await?;
        Ok(Self {
            about,
            index,
            spool,
        })
    }

    fn check(&self, address: &Address) -> Result<(), RedisError> {
        if self.about.prefix != address.keys.prefix() {
            return Err(RedisError::Part(format!(
                "they are those under {:?}, the state is {}; use the prefix they were recorded with",
                self.about.prefix, address.keys
            )));
        }
        if self.about.count != self.index.len() as u64 {
            return Err(RedisError::Part(format!(
                "{ABOUT} says {} keys, {KEYS} holds {}",
                self.about.count,
                self.index.len()
            )));
        }
        let in_order = self.index.is_sorted_by(|a, b| a.key < b.key);
        if !in_order
            || !self
                .index
                .iter()
                .all(|record| address.keys.holds(&record.key))
        {
            return Err(RedisError::Part(format!(
                "{KEYS} holds keys out of order or of another prefix"
            )));
        }
        Ok(())
    }

    fn find(&self, key: &[u8]) -> bool {
        let found = self
            .index
            .binary_search_by(|record| record.key.as_slice().cmp(key));
        found.is_ok()
    }
}

async fn next_file(part: &mut PartReader, name: &str) -> Result<(), StateError> {
    match part.next_entry().await? {
        Some(entry) if entry.is_file() && entry.path == name => Ok(()),
        found => {
            let found = found.map_or_else(|| "nothing".to_owned(), |entry| entry.path);
            Err(wrong(format!("{name} is expected, {found} is there")))
        }
    }
}

fn wrong(reason: String) -> StateError {
    RedisError::Part(reason).into()
}

struct Putting<'a> {
    address: &'a Address,
    /// The key that values are tried with.
    trial: Vec<u8>,
    link: Link,
    recorded: Recorded,
    /// From expiry times as recorded to those now.
    shift_ms: i64,
}

impl Putting<'_> {
    async fn run(&mut self) -> Result<(), StateError> {
        self.check_values_fit().await?;
        let removed = self.remove_extra().await?;
        self.shift_ms = self.link.now_ms().await? - self.recorded.about.cut_ms;
        self.put_and_verify().await?;
        self.check_nothing_else().await?;
        tracing::info!(
            server = self.address.server,
            keys = self.recorded.index.len(),
            removed,
            "keys put back and verified"
        );
        Ok(())
    }

    /// Tries one value before anything is changed: all of a part are of one version.
    async fn check_values_fit(&self) -> Result<(), StateError> {
        let smallest = self
            .recorded
            .index
            .iter()
            .min_by_key(|record| record.value_bytes());
        let Some(smallest) = smallest else {
            return Ok(());
        };
        let value = self
            .recorded
            .spool
            .values(std::slice::from_ref(smallest))
            .await?;
        match self.try_value(&value[0]).await {
            Ok(_) => Ok(()),
            Err(RedisError::Failed { server, detail, .. }) if is_unreadable(&detail) => {
                Err(RedisError::Newer {
                    server,
                    version: self.link.server.version.clone(),
                    recorded: self.recorded.about.redis_version.clone(),
                    detail,
                }
                .into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What this server makes of a value.
    async fn try_value(&self, value: &[u8]) -> Result<Vec<u8>, RedisError> {
        let mut restore = redis::cmd("RESTORE");
        restore
            .arg(&self.trial)
            .arg(TRIAL_TTL_MS)
            .arg(value)
            .arg("REPLACE");
        self.link.ask::<()>("try a value", &restore).await?;
        let dump = redis::cmd("DUMP").arg(&self.trial).to_owned();
        let made = self.link.ask("look at a value", &dump).await;
        let unlink = redis::cmd("UNLINK").arg(&self.trial).to_owned();
        self.link.ask::<i64>("remove a value", &unlink).await?;
        made
    }

    /// Removes keys that were not recorded; first, since the others need room.
    async fn remove_extra(&self) -> Result<usize, RedisError> {
        let mut removed = 0;
        let mut scan = Scan::default();
        while let Some(mut keys) = scan.next(&self.link, &self.address.keys).await? {
            keys.retain(|key| !self.recorded.find(key));
            if !keys.is_empty() {
                let unlink = redis::cmd("UNLINK").arg(&keys).to_owned();
                removed += self.link.ask::<usize>("remove keys", &unlink).await?;
            }
        }
        Ok(removed)
    }

    async fn put_and_verify(&self) -> Result<(), StateError> {
        for records in batches(&self.recorded.index, PUT_BYTES) {
            let values = self.recorded.spool.values(records).await?;
            let mut batch = Pipeline::with_capacity(records.len());
            for (record, value) in records.iter().zip(values) {
                let expires = self.expires(record).unwrap_or(0);
                batch
                    .cmd("RESTORE")
                    .arg(&record.key)
                    .arg(expires)
                    .arg(value)
                    .arg("REPLACE");
                if expires != 0 {
                    batch.arg("ABSTTL");
                }
            }
            self.link.ask_all("put keys back", &batch).await?;
        }
        for records in self.recorded.index.chunks(VERIFY_KEYS) {
            self.verify(records).await?;
        }
        Ok(())
    }

    /// When the key expires now: it has left what it had left at the cut.
    fn expires(&self, record: &Spooled) -> Option<i64> {
        record
            .expires_ms
            .map(|expires| expires.saturating_add(self.shift_ms))
    }

    async fn verify(&self, records: &[Spooled]) -> Result<(), StateError> {
        let keys: Vec<Vec<u8>> = records.iter().map(|record| record.key.clone()).collect();
        let mut look = Look::at(&self.link, &keys);
        let mut rest = records;
        while let Some(found) = look.next().await? {
            // Keys come in the order of the records; those that are passed over were not found.
            let last = found.last().map(|(key, ..)| key.clone());
            let count = rest
                .iter()
                .take_while(|record| last.as_ref().is_some_and(|last| record.key <= *last))
                .count();
            let (looked_at, after) = rest.split_at(count);
            self.compare(looked_at, found).await?;
            rest = after;
        }
        self.compare(rest, Vec::new()).await
    }

    async fn compare(&self, records: &[Spooled], found: Vec<Found>) -> Result<(), StateError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut found = found.into_iter().peekable();
        let now_ms = self.link.now_ms().await?;
        let values = self.recorded.spool.values(records).await?;
        for (record, recorded) in records.iter().zip(values) {
            let Some((_, expires_ms, value)) = found.next_if(|(key, ..)| *key == record.key) else {
                // What had little left to live at the cut may be gone again.
                if self
                    .expires(record)
                    .is_some_and(|expires| expires <= now_ms)
                {
                    continue;
                }
                return Err(self.differs("a key is missing").into());
            };
            if expires_ms != self.expires(record) {
                return Err(self.differs("an expiry time differs").into());
            }
            if same_value(&recorded, &value) {
                continue;
            }
            // Another version writes the same value in another way: what matters is what it makes of the recorded one.
            if !same_value(&self.try_value(&recorded).await?, &value) {
                return Err(self.differs("a value differs").into());
            }
        }
        Ok(())
    }

    async fn check_nothing_else(&self) -> Result<(), RedisError> {
        let mut scan = Scan::default();
        while let Some(keys) = scan.next(&self.link, &self.address.keys).await? {
            if !keys.iter().all(|key| self.recorded.find(key)) {
                return Err(self.differs("there is a key that was not recorded"));
            }
        }
        Ok(())
    }

    fn differs(&self, detail: &str) -> RedisError {
        RedisError::NotRestored {
            server: self.address.server.clone(),
            keys: self.address.keys.to_string(),
            detail: detail.to_owned(),
        }
    }
}

/// How Redis refuses a value of a newer version, or of a type it does not know.
fn is_unreadable(detail: &str) -> bool {
    ["payload version", "Bad data format"]
        .iter()
        .any(|words| detail.contains(words))
}
