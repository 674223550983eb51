//! What admin APIs of one deployment share through Redis, when one is given: who is connected, what is in progress,
//! events, idempotency keys, a changed schedule.
//!
//! None of it is needed: checkpoints and restores are in the store, fences and masks in the control topic, and who leads is
//! decided in Kafka. Redis may be slow, emptied or gone at any moment; then what it held is missing or written again, and
//! everything else goes on.

mod mirror;
mod progress;
mod redis;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use cutline_client::{Event, ScheduleRequest};
use cutline_model::SidecarId;
use deadpool_redis::redis::cmd;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use progress::Progress;
pub use redis::{RedisAddress, Silent};

use self::redis::Redis;
use crate::{app::App, registry::Connected};

/// How long an idempotency key is remembered.
const KEY_TTL: Duration = Duration::from_secs(24 * 3_600);

/// What is shared. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shared(Option<Arc<Inner>>);

struct Inner {
    redis: Redis,
    deployment: String,
}

/// Whether there is a Redis and it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None is configured.
    None,
    /// The last command was answered.
    Up,
    /// It was not.
    Down,
}

impl Standing {
    /// As probes show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What a key began.
#[derive(Serialize, Deserialize)]
struct StoredKey<R, A> {
    request: R,
    answer: A,
}

impl Shared {
    /// What the admin APIs of `deployment` on the Kafka cluster `cluster` share in the Redis at `address`.
    ///
    /// # Errors
    /// When the address cannot be one, in words.
    pub fn new(
        address: Option<&RedisAddress>,
        deployment: &str,
        cluster: &str,
    ) -> Result<Self, String> {
        let Some(address) = address else {
            return Ok(Self(None));
        };
        let prefix = format!("cutline:{deployment}@{cluster}:");
        let redis = Redis::new(address, prefix).map_err(|error| error.to_string())?;
        let deployment = deployment.to_owned();
        Ok(Self(Some(Arc::new(Inner { redis, deployment }))))
    }

    /// Whether it can be used.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.0 {
            None => Standing::None,
            Some(inner) if inner.redis.answers() => Standing::Up,
            Some(_) => Standing::Down,
        }
    }

    /// Whether it answers now.
    pub async fn is_there(&self) -> bool {
        match &self.0 {
            Some(inner) => inner.redis.ask::<String>(&cmd("PING")).await.is_ok(),
            None => false,
        }
    }

    /// Keeps Redis and this admin API alike for as long as it is not dropped.
    pub async fn run(self, app: App) {
        match &self.0 {
            Some(inner) => mirror::run(inner, &app).await,
            None => std::future::pending().await,
        }
    }

    /// The events that others wrote before this admin API started.
    pub async fn events(&self) -> Vec<Event> {
        match &self.0 {
            Some(inner) => mirror::load(inner).await,
            None => Vec::new(),
        }
    }

    /// What `key` of `kind` began, as far as it is known here.
    pub async fn recall<R: DeserializeOwned, A: DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
    ) -> Option<(R, A)> {
        let stored: StoredKey<R, A> = self.get(&format!("{kind}-key:{key}")).await?;
        Some((stored.request, stored.answer))
    }

    /// Notes what `key` of `kind` began; it is written when this returns, or cannot be written at present.
    pub async fn note<R: Serialize, A: Serialize>(
        &self,
        kind: &str,
        key: &str,
        request: R,
        answer: A,
    ) {
        let Some(inner) = &self.0 else { return };
        let text = serde_json::to_string(&StoredKey { request, answer });
        let text = text.expect("requests and answers are plain data");
        let mut command = cmd("SET");
        command
            .arg(inner.redis.key(&format!("{kind}-key:{key}")))
            .arg(text)
            .arg("PX")
            .arg(mirror::millis(KEY_TTL));
        // Not written: a repetition that meets another admin API begins another one, as without Redis.
        let _ = inner
            .redis
            .ask::<deadpool_redis::redis::Value>(&command)
            .await;
    }

    /// The schedule that was asked for last.
    pub async fn schedule(&self) -> Option<ScheduleRequest> {
        self.get("schedule").await
    }

    /// Notes the schedule that was asked for.
    pub async fn note_schedule(&self, asked: &ScheduleRequest) {
        let Some(inner) = &self.0 else { return };
        let text = serde_json::to_string(asked).expect("plain data with string keys");
        let mut command = cmd("SET");
        command.arg(inner.redis.key("schedule")).arg(text);
        // Not written now, it is written with everything else when Redis answers again.
        let _ = inner
            .redis
            .ask::<deadpool_redis::redis::Value>(&command)
            .await;
    }

    /// The epoch that the leader has in progress.
    pub async fn progress(&self) -> Option<Progress> {
        self.get("running").await
    }

    /// The sidecars connected to the leader; `None` when nothing is known of them.
    pub async fn sidecars(&self) -> Option<BTreeMap<SidecarId, Connected>> {
        let inner = self.0.as_ref()?;
        let command = cmd("HGETALL").arg(inner.redis.key("sidecars")).to_owned();
        let stored = inner.redis.ask(&command).await.ok()?;
        Some(progress::sidecars(stored, &inner.deployment))
    }

    async fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let inner = self.0.as_ref()?;
        let command = cmd("GET").arg(inner.redis.key(name)).to_owned();
        let text: Option<String> = inner.redis.ask(&command).await.ok()?;
        // Of another version it is as good as missing.
        serde_json::from_str(&text?).ok()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(inner) => inner.redis.fmt(f),
            None => f.write_str("Shared(none)"),
        }
    }
}
