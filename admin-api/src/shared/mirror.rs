//! What this admin API writes into Redis while it runs, and what it reads of others: a copy that is written again whenever
//! it is found gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_client::Event;
use deadpool_redis::redis::{self, Pipeline, Value};
use tokio::time::sleep;

use super::{
    Inner, Silent,
    progress::{Progress, StoredSidecar},
};
use crate::{app::App, events::RING_EVENTS_MAX};

/// How often everything is looked over when nothing happens.
const PERIOD: Duration = Duration::from_millis(500);
/// How long a copy of what changes by itself is believed when nobody renews it.
const TTL: Duration = Duration::from_secs(15);
/// Events written or read in one batch.
const BATCH_EVENTS: usize = 256;
/// How long Redis holds a question for events that are not there yet: less than the time limit for an answer.
const BLOCK: Duration = Duration::from_millis(250);
/// Before every entry.
const START: &str = "0-0";
/// After so many questions without an answer it is looked whether the stream was begun anew.
const LOOK_BACK: u32 = 20;
/// The one field of an entry of the stream.
const FIELD: &str = "event";

/// Entries of a stream: their ids, and the names and values of their fields.
type Entries = Vec<(String, Vec<(String, String)>)>;

/// Writes and reads for as long as it is not dropped.
pub(super) async fn run(inner: &Inner, app: &App) {
    tokio::join!(write(inner, app), follow(inner, app));
}

async fn write(inner: &Inner, app: &App) {
    let mut written = Written::default();
    let mut changes = app.events.changes();
    loop {
        if write_once(inner, app, &mut written).await.is_err() {
            // Whoever has no answer does not know what was written.
            written = Written::default();
        }
        // An event may mean that everything else changed too; many at once are one change.
        let _ = tokio::time::timeout(PERIOD, changes.changed()).await;
    }
}

/// What is known to stand in Redis.
#[derive(Debug, Default)]
struct Written {
    sidecars: BTreeMap<String, String>,
    known: bool,
}

async fn write_once(inner: &Inner, app: &App, written: &mut Written) -> Result<(), Silent> {
    if app.leadership.is_leading() {
        write_progress(inner, app).await?;
        write_schedule(inner, app).await?;
        write_sidecars(inner, app, written).await?;
    } else {
        *written = Written::default();
    }
    write_events(inner, app).await
}

async fn write_progress(inner: &Inner, app: &App) -> Result<(), Silent> {
    let key = inner.redis.key("running");
    let running = app.running.current();
    let command = match &running {
        None => redis::cmd("DEL").arg(key).to_owned(),
        Some(running) => {
            let text = serde_json::to_string(&Progress::from(running))
                .expect("plain data with string keys");
            redis::cmd("SET")
                .arg(key)
                .arg(text)
                .arg("PX")
                .arg(millis(TTL))
                .to_owned()
        }
    };
    inner.redis.ask::<Value>(&command).await.map(|_| ())
}

async fn write_schedule(inner: &Inner, app: &App) -> Result<(), Silent> {
    let Some(asked) = app.schedule.asked() else {
        return Ok(());
    };
    let text = serde_json::to_string(&asked).expect("plain data with string keys");
    let command = redis::cmd("SET")
        .arg(inner.redis.key("schedule"))
        .arg(text)
        .to_owned();
    inner.redis.ask::<Value>(&command).await.map(|_| ())
}

/// Writes those that changed; all of them when the hash is gone or nothing is known of it.
async fn write_sidecars(inner: &Inner, app: &App, written: &mut Written) -> Result<(), Silent> {
    let key = inner.redis.key("sidecars");
    let renew = redis::cmd("PEXPIRE").arg(&key).arg(millis(TTL)).to_owned();
    let there = inner.redis.ask::<bool>(&renew).await?;
    let connected = app.registry.connected();
    let now: BTreeMap<String, String> = connected
        .iter()
        .map(|(id, connected)| {
            let stored = StoredSidecar::of(connected, &app.config.deployment);
            let text = serde_json::to_string(&stored).expect("plain data with string keys");
            (id.to_string(), text)
        })
        .collect();
    let mut batch = Pipeline::new();
    if !there || !written.known {
        batch.del(&key).ignore();
        written.sidecars.clear();
    }
    for (id, text) in &now {
        if written.sidecars.get(id) != Some(text) {
            batch.hset(&key, id, text).ignore();
        }
    }
    for id in written.sidecars.keys().filter(|id| !now.contains_key(*id)) {
        batch.hdel(&key, id).ignore();
    }
    if !batch.is_empty() {
        let ttl = i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX);
        batch.pexpire(&key, ttl).ignore().hlen(&key);
        let (count,) = inner.redis.ask_all::<(usize,)>(&batch).await?;
        if count != now.len() {
            // It was emptied between the look at it and this.
            *written = Written::default();
            return Ok(());
        }
    }
    *written = Written {
        sidecars: now,
        known: true,
    };
    Ok(())
}

/// Writes events that are in no stream yet; all that are kept when the stream is gone. Only who leads begins a stream.
async fn write_events(inner: &Inner, app: &App) -> Result<(), Silent> {
    let key = inner.redis.key("events");
    let exists = redis::cmd("EXISTS").arg(&key).to_owned();
    let mut there = inner.redis.ask::<bool>(&exists).await?;
    let leads = app.leadership.is_leading();
    if !there && leads {
        app.events.all_unstored();
    }
    loop {
        let events = app.events.unstored(BATCH_EVENTS);
        if events.is_empty() {
            return Ok(());
        }
        let begins = !there && leads;
        let batch = additions(&key, &events, begins);
        let added: Vec<Option<String>> = inner.redis.ask_all(&batch).await?;
        there = added.iter().all(Option::is_some);
        if !there {
            // Emptied since it was looked for: next time everything is written again.
            return Ok(());
        }
        let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
        app.events.stored(&ids);
    }
}

/// Appends `events` to the stream, which only the first of them may begin, and only when it `begins`: a stream that was emptied
/// meanwhile takes none and says so.
fn additions(key: &str, events: &[Arc<Event>], begins: bool) -> Pipeline {
    let mut batch = Pipeline::new();
    for (at, event) in events.iter().enumerate() {
        let text = serde_json::to_string(&**event).expect("plain data with string keys");
        let add = batch.cmd("XADD").arg(key);
        if at > 0 || !begins {
            add.arg("NOMKSTREAM");
        }
        let limit = add.arg("MAXLEN").arg("~").arg(RING_EVENTS_MAX);
        limit.arg("*").arg(FIELD).arg(text);
    }
    batch
}

/// Takes in what others write.
async fn follow(inner: &Inner, app: &App) {
    let (mut last, mut empty) = (START.to_owned(), 0_u32);
    loop {
        match read_events(inner, &last, BLOCK).await {
            Ok(entries) if entries.is_empty() => {
                empty += 1;
                if empty.is_multiple_of(LOOK_BACK) && is_behind(inner, &last).await {
                    START.clone_into(&mut last);
                }
            }
            Ok(entries) => {
                for (id, event) in entries {
                    if let Some(event) = event {
                        app.events.take_in(event);
                    }
                    last = id;
                }
            }
            Err(Silent) => sleep(PERIOD).await,
        }
    }
}

/// True when the stream ends before `last`: it was begun anew by a Redis whose clock is behind that of the one before.
async fn is_behind(inner: &Inner, last: &str) -> bool {
    let mut command = redis::cmd("XREVRANGE");
    command
        .arg(inner.redis.key("events"))
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1);
    let newest: Entries = inner.redis.ask(&command).await.unwrap_or_default();
    let order = |id: &str| {
        let (time, number) = id.split_once('-')?;
        Some((time.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
    };
    newest
        .first()
        .is_some_and(|(id, _)| order(id) < order(last))
}

/// What was written before, for an admin API that starts.
pub(super) async fn load(inner: &Inner) -> Vec<Event> {
    let (mut last, mut events) = (START.to_owned(), Vec::new());
    while let Ok(entries) = read_events(inner, &last, Duration::from_millis(1)).await {
        let Some((id, _)) = entries.last() else { break };
        last.clone_from(id);
        events.extend(entries.into_iter().filter_map(|(_, event)| event));
        if events.len() > 2 * RING_EVENTS_MAX {
            break;
        }
    }
    events
}

/// Entries after `last`; what is no event of this version is passed over.
async fn read_events(
    inner: &Inner,
    last: &str,
    wait: Duration,
) -> Result<Vec<(String, Option<Event>)>, Silent> {
    let mut command = redis::cmd("XREAD");
    command
        .arg("COUNT")
        .arg(BATCH_EVENTS)
        .arg("BLOCK")
        .arg(millis(wait));
    command
        .arg("STREAMS")
        .arg(inner.redis.key("events"))
        .arg(last);
    let streams: Option<Vec<(String, Entries)>> = inner.redis.ask(&command).await?;
    let entries = streams
        .into_iter()
        .flatten()
        .flat_map(|(_, entries)| entries);
    Ok(entries
        .map(|(id, fields)| {
            let text = fields.into_iter().find(|(name, _)| name == FIELD);
            let event = text.and_then(|(_, text)| serde_json::from_str(&text).ok());
            (id, event)
        })
        .collect())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
