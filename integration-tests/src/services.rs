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

/// How long the value of a key is.
const KEY_BYTES: usize = 1_024;

static SHARED: OnceCell<Services> = OnceCell::const_new();

impl Services {
    /// Starts all of them at once.
    ///
    /// # Panics
    /// When one does not come up, or is not installed.
    pub async fn start() -> Self {
        Self::start_with(S3::start()).await
    }

    /// The same with that S3 server.
    ///
    /// # Panics
    /// When one does not come up, or is not installed.
    pub async fn start_with(s3: impl Future<Output = S3>) -> Self {
        let options = RedisOptions::default();
        let (postgres, redis, s3) = tokio::join!(Postgres::start(&[]), Redis::start(&options), s3);
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

    /// Bank A's PostgreSQL, to be frozen.
    pub fn postgres(&mut self) -> &mut Postgres {
        &mut self.postgres
    }

    /// Bank B's Redis, to be frozen.
    pub fn redis(&mut self) -> &mut Redis {
        &mut self.redis
    }

    /// The S3 server, to be killed or frozen.
    pub fn s3(&mut self) -> &mut S3 {
        &mut self.s3
    }

    /// A place for the state of two banks that is theirs alone.
    pub async fn databases(&self, name: &str) -> Databases {
        Databases {
            postgres: self.postgres.create_database(&name.replace('-', "_")).await,
            redis: self.redis.url(),
            prefix: format!("{name}:"),
        }
    }

    /// A database with one table that holds about `bytes`; where it is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn table(&self, name: &str, bytes: usize) -> String {
        let url = self.postgres.create_database(name).await;
        let make = format!(
            "CREATE TABLE filling (id bigint PRIMARY KEY, body text NOT NULL); \
             INSERT INTO filling SELECT id, repeat(md5(id::text), 31) FROM generate_series(1, {}) AS id",
            bytes.div_ceil(1_024)
        );
        let client = self.postgres.client(name).await;
        client.batch_execute(&make).await.expect("a table is made");
        url
    }

    /// Keys that hold about `bytes`; where they are.
    ///
    /// # Panics
    /// When they cannot be written.
    pub async fn keys(&self, prefix: &str, bytes: usize) -> String {
        let url = self.redis.url();
        let mut set = redis::pipe();
        for key in 0..bytes.div_ceil(KEY_BYTES) {
            set.set(format!("{prefix}{key}"), vec![b'x'; KEY_BYTES])
                .ignore();
        }
        let server = redis::Client::open(url.as_str()).expect("it is an address");
        let write = move || {
            let mut connection = server.get_connection()?;
            set.query::<()>(&mut connection)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written
            .expect("writing keys does not panic")
            .expect("keys are written");
        format!("{url}/0?prefix={prefix}")
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
