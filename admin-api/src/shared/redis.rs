//! A Redis that may be gone at any moment: every command has a time limit, and after one that failed nobody waits for the
//! next until a pause is over.
//!
//! What it answers is a hint, never a proof; whoever asks goes on without an answer. It knows commands, not what is kept.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use deadpool_redis::{
    Manager, Pool, Runtime, Timeouts,
    redis::{
        AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
        IntoConnectionInfo, Pipeline, RedisError,
    },
};
use parking_lot::Mutex;

/// Connections at most: one follows events, the others carry short commands.
const CONNECTIONS_MAX: usize = 8;
/// For a connection to be made, and for one to become free.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// For one command or one batch. A request may wait for one of them.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long nobody asks after the first failure at most; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Where it is. It shows no password.
#[derive(Clone)]
pub struct RedisAddress {
    info: ConnectionInfo,
    shown: String,
}

impl FromStr for RedisAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "redis://[user[:password]@]host[:port][/database] is expected, percent-encoded";
        if text.starts_with("rediss:") {
            return Err("TLS to Redis is not supported yet; use redis://");
        }
        // The library's own words could repeat a password that stands in the wrong place.
        let info = text.into_connection_info().map_err(|_| EXPECTED)?;
        let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
            return Err(EXPECTED);
        };
        let shown = format!("{host}:{port}/{}", info.redis_settings().db());
        Ok(Self { info, shown })
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// It did not answer, or is not asked at present. Logged when that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis does not answer")]
pub struct Silent;

/// A Redis, and the keys of one deployment in it.
pub(super) struct Redis {
    pool: Pool,
    shown: String,
    /// What every key begins with.
    prefix: String,
    breaker: Mutex<Breaker>,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    not_before: Option<Instant>,
    answered: bool,
}

impl Redis {
    /// Connects to nothing yet.
    pub(super) fn new(address: &RedisAddress, prefix: String) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let manager = Manager::new_with_config(address.info.clone(), config)?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .timeouts(Timeouts {
                wait: Some(CONNECT_TIMEOUT),
                create: Some(CONNECT_TIMEOUT),
                recycle: Some(ANSWER_TIMEOUT),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is named, which is all that a pool with time limits needs");
        Ok(Self {
            pool,
            shown: address.shown.clone(),
            prefix,
            breaker: Mutex::default(),
        })
    }

    /// The full name of a key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// True when the last command was answered.
    pub(super) fn answers(&self) -> bool {
        self.breaker.lock().answered
    }

    /// Runs one command.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Silent> {
        self.check()?;
        let asked = async {
            let mut connection = self.pool.get().await.map_err(|error| error.to_string())?;
            let answer = command.query_async(&mut connection).await;
            answer.map_err(|error: RedisError| error.to_string())
        };
        self.judge(asked.await)
    }

    /// Runs several commands.
    pub(super) async fn ask_all<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
    ) -> Result<T, Silent> {
        self.check()?;
        let asked = async {
            let mut connection = self.pool.get().await.map_err(|error| error.to_string())?;
            let answer = commands.query_async(&mut connection).await;
            answer.map_err(|error: RedisError| error.to_string())
        };
        self.judge(asked.await)
    }

    /// Whether it may be asked now.
    fn check(&self) -> Result<(), Silent> {
        match self.breaker.lock().not_before {
            Some(at) if Instant::now() < at => Err(Silent),
            _ => Ok(()),
        }
    }

    fn judge<T>(&self, answer: Result<T, String>) -> Result<T, Silent> {
        let mut breaker = self.breaker.lock();
        let error = match answer {
            Ok(answer) => {
                if !breaker.answered {
                    tracing::info!(server = self.shown, "redis answers");
                }
                *breaker = Breaker {
                    answered: true,
                    ..Breaker::default()
                };
                return Ok(answer);
            }
            Err(error) => error,
        };
        if breaker.answered || breaker.failures == 0 {
            tracing::warn!(
                server = self.shown,
                error,
                "redis does not answer; going on without it"
            );
        }
        let pause = PAUSE_FIRST
            .saturating_mul(1 << breaker.failures.min(8))
            .min(PAUSE_MAX);
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.answered = false;
        // Full jitter: admin APIs that lost it together do not come back together.
        breaker.not_before = Some(Instant::now() + pause.mul_f64(rand::random()));
        Err(Silent)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({}, {})", self.shown, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_password_and_a_wrong_one_repeats_nothing() {
        let address: RedisAddress = "redis://me:s3cret@r:7000/2".parse().unwrap();
        assert_eq!(format!("{address} {address:?}"), "r:7000/2 r:7000/2");
        for wrong in [
            "r:6379",
            "redis://:s3/cret@r",
            "rediss://:s3cret@r",
            "http://r",
            "",
        ] {
            assert!(wrong.parse::<RedisAddress>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn after_a_failure_nobody_waits_until_the_pause_is_over() {
        // A port that nobody listens on: taken and let go.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address: RedisAddress = format!("redis://127.0.0.1:{port}").parse().unwrap();
        let redis = Redis::new(&address, "x:".to_owned()).unwrap();
        let ping = deadpool_redis::redis::cmd("PING");
        assert_eq!(redis.ask::<String>(&ping).await, Err(Silent));
        assert!(redis.check().is_err() && !redis.answers());
        let again = async {
            while redis.check().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), again)
            .await
            .unwrap();
    }
}
