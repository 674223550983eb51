//! One connection to a Redis, made for one copy or one restore, with a time limit on everything.
//!
//! It refuses what cannot be copied consistently (a cluster, a replica, an old version), and it can be told of every key
//! that anyone changes. It knows nothing of parts.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Cmd, FromRedisValue, InfoDict, Pipeline, PushInfo, PushKind,
    Value, aio::MultiplexedConnection,
};

use super::{RedisError, address::Address};

/// For the connection, its greeting included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For one command or one batch of them. A Redis that takes longer is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// `PEXPIRETIME` came with it.
const VERSION_MIN: u32 = 7;
/// Changed keys that are remembered; more are simply many. As many as may be copied: all of them may expire meanwhile.
const CHANGED_KEYS_MAX: usize = 1_000_000;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// `None` when it never evicts.
    pub(super) eviction: Option<String>,
}

/// A connection.
pub(super) struct Link {
    connection: MultiplexedConnection,
    address: Address,
    changed: Arc<Mutex<Changed>>,
    pub(super) server: Server,
}

/// Which keys others changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) keys: BTreeSet<Vec<u8>>,
    /// All of them, or more than are remembered.
    pub(super) many: bool,
}

impl Link {
    /// Connects, and looks whether keys of this server can be state.
    pub(super) async fn open(address: &Address) -> Result<Self, RedisError> {
        let changed = Arc::new(Mutex::new(Changed::default()));
        let noting = Arc::clone(&changed);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_push_sender(move |push| {
                note(&noting, push);
                Ok::<(), redis::aio::SendError>(())
            });
        let connecting = async {
            let client = redis::Client::open(address.info.clone())?;
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await
        };
        let connection = connecting
            .await
            .map_err(RedisError::of(&address.server, "connect"))?;
        let mut link = Self {
            connection,
            address: address.clone(),
            changed,
            server: Server {
                version: String::new(),
                eviction: None,
            },
        };
        let info: InfoDict = link.ask("ask what it is", &redis::cmd("INFO")).await?;
        link.server = fit(&info).map_err(|reason| RedisError::Unfit {
            server: address.server.clone(),
            reason,
        })?;
        Ok(link)
    }

    /// From now on [`changed`](Self::changed) tells of every key that others change, remove, or that expires.
    pub(super) async fn watch(&self) -> Result<(), RedisError> {
        let mut command = redis::cmd("CLIENT");
        command.arg("TRACKING").arg("ON").arg("BCAST").arg("NOLOOP");
        if !self.address.keys.prefix().is_empty() {
            command.arg("PREFIX").arg(self.address.keys.prefix());
        }
        self.ask("watch keys", &command).await
    }

    /// The keys changed until now.
    pub(super) async fn changed(&self) -> Result<Changed, RedisError> {
        // What was changed in the same turn of the server as the first PING may be told after its answer, never after
        // the second's.
        for _ in 0..2 {
            self.ask::<Value>("ping", &redis::cmd("PING")).await?;
        }
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(changed.clone())
    }

    /// The server's own time, in milliseconds since 1970: what its expiry times count in.
    pub(super) async fn now_ms(&self) -> Result<i64, RedisError> {
        let (seconds, micros): (i64, i64) = self.ask("ask the time", &redis::cmd("TIME")).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    /// Runs one command.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        doing: &'static str,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        // A copy of it is the same connection.
        command
            .query_async(&mut self.connection.clone())
            .await
            .map_err(RedisError::of(&self.address.server, doing))
    }

    /// Runs many commands at once, beside others that are under way; the first that fails is the error.
    pub(super) async fn ask_all(
        &self,
        doing: &'static str,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, RedisError> {
        commands
            .query_async(&mut self.connection.clone())
            .await
            .map_err(RedisError::of(&self.address.server, doing))
    }
}

fn note(changed: &Mutex<Changed>, push: PushInfo) {
    let mut changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
    match (push.kind, push.data.into_iter().next()) {
        (PushKind::Invalidate, Some(Value::Array(keys))) => {
            for key in keys {
                match key {
                    Value::BulkString(key) if changed.keys.len() < CHANGED_KEYS_MAX => {
                        changed.keys.insert(key);
                    }
                    _ => changed.many = true,
                }
            }
        }
        // Nil instead of keys: a whole database was emptied.
        (PushKind::Invalidate, _) => changed.many = true,
        // Whoever waits for an answer learns of the end of a connection; nothing else is asked for.
        _ => {}
    }
}

fn fit(info: &InfoDict) -> Result<Server, String> {
    let text = |key: &str| info.get::<String>(key).unwrap_or_default();
    let version = text("redis_version");
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if text("cluster_enabled") == "1" || text("redis_mode") == "cluster" {
        return Err("it is part of a cluster, whose nodes cannot be copied at one moment; use a standalone server, or let the application hand its state out through the hook (--state http://…)".to_owned());
    }
    if text("redis_mode") == "sentinel" {
        return Err("it is a sentinel; name the server itself".to_owned());
    }
    if text("role") == "slave" {
        return Err(
            "it is a replica, which may be behind and takes no restore; name its primary"
                .to_owned(),
        );
    }
    if major < VERSION_MIN {
        return Err(format!(
            "its version is {version:?}; {VERSION_MIN}.0 is the oldest that tells expiry times"
        ));
    }
    let policy = text("maxmemory_policy");
    let bounded = text("maxmemory") != "0";
    Ok(Server {
        version,
        eviction: Some(policy).filter(|policy| bounded && policy != "noeviction"),
    })
}
