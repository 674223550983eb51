//! Looking at keys: which there are, and what each holds. Batches are bounded in keys, and in bytes as far as the size of
//! values can be foreseen.

use deadpool_redis::redis::{self, Pipeline, Value};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesOrdered};

use super::{RedisError, address::Keys, link::Link};

/// Keys that the server looks at in one turn: about half a millisecond during which it does nothing else.
const SCAN_COUNT: usize = 2_000;
/// Keys asked about in one batch.
const BATCH_KEYS_MAX: usize = 1_000;
/// What a batch should bring, going by the batches before.
const BATCH_BYTES: u64 = 2 * 1024 * 1024;
/// Batches on their way at a time.
const BATCHES_MAX: usize = 4;
/// Keys of the first batch, when nothing is known of their values.
const BATCH_KEYS_FIRST: usize = 64;

/// A key as it is: its expiry, in milliseconds since 1970 by the server's clock, and its value as `DUMP` gives it.
pub(super) type Found = (Vec<u8>, Option<i64>, Vec<u8>);

/// Goes through the keys of a state. A key may come twice, as `SCAN` has it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    cursor: u64,
    ended: bool,
}

impl Scan {
    /// Some more keys; `None` when there are no more.
    pub(super) async fn next(
        &mut self,
        link: &Link,
        keys: &Keys,
    ) -> Result<Option<Vec<Vec<u8>>>, RedisError> {
        if self.ended {
            return Ok(None);
        }
        let mut command = redis::cmd("SCAN");
        command.arg(self.cursor);
        if !keys.prefix().is_empty() {
            command.arg("MATCH").arg(keys.pattern());
        }
        command.arg("COUNT").arg(SCAN_COUNT);
        let (cursor, mut found): (u64, Vec<Vec<u8>>) = link.ask("list keys", &command).await?;
        (self.cursor, self.ended) = (cursor, cursor == 0);
        found.retain(|key| keys.holds(key));
        Ok(Some(found))
    }
}

/// Goes through keys and what they hold, several batches on their way at a time: while Redis makes one, another is
/// taken in here.
pub(super) struct Look<'a> {
    link: &'a Link,
    rest: &'a [Vec<u8>],
    batch_keys: usize,
    asked: FuturesOrdered<BoxFuture<'a, Result<Vec<Found>, RedisError>>>,
}

impl<'a> Look<'a> {
    /// Looks at `keys`, in their order.
    pub(super) fn at(link: &'a Link, keys: &'a [Vec<u8>]) -> Self {
        Self {
            link,
            rest: keys,
            batch_keys: BATCH_KEYS_FIRST,
            asked: FuturesOrdered::new(),
        }
    }

    /// Those of the next keys that are there; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Found>>, RedisError> {
        while self.asked.len() < BATCHES_MAX && !self.rest.is_empty() {
            let (batch, rest) = self.rest.split_at(self.batch_keys.min(self.rest.len()));
            self.rest = rest;
            self.asked.push_back(Box::pin(look(self.link, batch)));
        }
        let Some(found) = self.asked.next().await.transpose()? else {
            return Ok(None);
        };
        let bytes = found
            .iter()
            .map(|(_, _, value)| value.len() as u64)
            .sum::<u64>();
        let each = bytes / (found.len().max(1) as u64) + 1;
        let fitting = usize::try_from(BATCH_BYTES / each).unwrap_or(BATCH_KEYS_MAX);
        // Grown step by step: the next values may be larger.
        self.batch_keys = fitting.clamp(1, (4 * self.batch_keys).min(BATCH_KEYS_MAX));
        Ok(Some(found))
    }
}

async fn look(link: &Link, keys: &[Vec<u8>]) -> Result<Vec<Found>, RedisError> {
    let mut batch = Pipeline::with_capacity(2 * keys.len());
    for key in keys {
        batch.cmd("DUMP").arg(key).cmd("PEXPIRETIME").arg(key);
    }
    let mut answers = link.ask_all("copy keys", &batch).await?.into_iter();
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let (value, expires) = (answers.next(), answers.next());
        // One that expired between the two questions is not there; so says its expiry, -2. No expiry is -1.
        if let (Some(Value::BulkString(value)), Some(Value::Int(expires @ -1..))) = (value, expires)
        {
            found.push((key.clone(), (expires >= 0).then_some(expires), value));
        }
    }
    Ok(found)
}
