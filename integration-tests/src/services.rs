//! What the systems people have stand on, in place of files: PostgreSQL, Redis and an S3 server, all real.
//!
//! It promises that all of them answer when `start` returns, and knows how the parts of Cutline and the banks are pointed at them.

use tokio::sync::OnceCell;

use crate::{AdminOptions, Postgres, Redis, RedisOptions, S3, bank::Databases};

/// All of them; they end when this is dropped.
#[derive(Debug)]
pub struct Services {
    postgres: Postgres,
    redis: Redis,
    s3: S3,
}

static SHARED: OnceCell<Services> = OnceCell::const_new();

impl Services {
    /// Starts all of them at once.
    ///
    /// # Panics
    /// When one does not come up, or is not installed.
    pub async fn start() -> Self {
        let options = RedisOptions::default();
        let (postgres, redis, s3) =
            tokio::join!(Postgres::start(&[]), Redis::start(&options), S3::start());
        Self {
            postgres,
            redis,
            s3,
        }
    }

    /// Those that all tests of this process share: use names of your own.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// A place for the state of two banks that is theirs alone.
    pub async fn databases(&self, name: &str) -> Databases {
        Databases {
            postgres: self.postgres.create_database(&name.replace('-', "_")).await,
            redis: self.redis.url(),
            prefix: format!("{name}:"),
        }
    }

    /// An admin API whose store is in S3 and whose coordination is in Redis.
    #[must_use]
    pub fn under(&self, mut options: AdminOptions, name: &str) -> AdminOptions {
        options.store = Some(self.s3.store(name));
        options.environment.extend(self.environment());
        let redis = format!("{}/1", self.redis.url());
        options.environment.push(("CUTLINE_REDIS".into(), redis));
        options
    }

    /// What admin API and sidecars need in their environment to be let into the store.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        S3::credentials()
    }
}
