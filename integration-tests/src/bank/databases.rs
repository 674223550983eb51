//! The state of bank A in PostgreSQL and of bank B in Redis, as somebody with a prompt sees it.

use std::time::{Duration, Instant};

use redis::Commands;

use super::spoil::{BATCH_TIME, DEADLINE, MEAN_OF_NONSENSE_MAX, NONSENSE};
use crate::postgres;

/// What the names of a copy begin with.
const COPY: &str = "naive_";

/// Where the state of both banks is.
#[derive(Clone, Debug)]
pub struct Databases {
    /// A database of bank A's own: `postgres://user:password@host:port/name`.
    pub postgres: String,
    /// The server with bank B's keys: `redis://host:port`.
    pub redis: String,
    /// What those keys begin with.
    pub prefix: String,
}

impl Databases {
    /// What a bank is told with `--state`.
    #[must_use]
    pub fn place(&self, bank: &str) -> String {
        match bank {
            "a" => self.postgres.clone(),
            _ => format!("{}/0?prefix={}", self.redis, self.prefix),
        }
    }

    /// What the sidecar of an instance is told with `--state`.
    #[must_use]
    pub fn spec(&self, bank: &str) -> String {
        match bank {
            "a" => format!("{}?tables=accounts,books&scope=service", self.postgres),
            _ => format!("{}&scope=service", self.place(bank)),
        }
    }

    /// Whether a bank has written anything yet.
    pub async fn has_state(&self, bank: &str) -> bool {
        match bank {
            "a" => {
                let count = "SELECT count(*) FROM books";
                let client = postgres::connect(&self.postgres).await;
                let client = client.expect("the PostgreSQL of this run answers");
                let counted = client.query_one(count, &[]).await;
                // The bank makes its tables itself.
                counted.is_ok_and(|row| row.get::<_, i64>(0) > 0)
            }
            _ => !tokio::task::block_in_place(|| self.keys(&self.prefix)).is_empty(),
        }
    }

    /// Sets every balance of both banks to nonsense, and insists until it has stuck.
    ///
    /// # Panics
    /// When it does not.
    pub async fn spoil(&self) {
        let start = Instant::now();
        loop {
            // Locked in the order in which a bank writes: whoever waited for one row and held another would be a deadlock.
            let update = format!(
                "BEGIN; LOCK TABLE books, accounts IN EXCLUSIVE MODE; UPDATE accounts SET balance = {NONSENSE}; COMMIT"
            );
            self.sql(&update).await;
            tokio::task::block_in_place(|| self.spoil_keys());
            tokio::time::sleep(BATCH_TIME).await;
            let in_redis = tokio::task::block_in_place(|| self.mean_of_keys());
            if self.mean_of_rows().await.max(in_redis) <= MEAN_OF_NONSENSE_MAX {
                return;
            }
            let elapsed = start.elapsed();
            assert!(
                elapsed < DEADLINE,
                "the banks write faster than nonsense can"
            );
        }
    }

    /// Copies one after the other, beside the original.
    pub async fn copy(&self) {
        self.sql(&format!(
            "CREATE TABLE {COPY}accounts AS TABLE accounts; CREATE TABLE {COPY}books AS TABLE books"
        ))
        .await;
        tokio::task::block_in_place(|| {
            let mut redis = self.redis();
            for key in self.keys(&self.prefix) {
                copy_key(&mut redis, &key, &format!("{COPY}{key}"));
            }
        });
    }

    /// Makes the state of both banks what it was when it was copied.
    pub async fn put_back(&self) {
        self.sql(&format!(
            "BEGIN; TRUNCATE accounts, books; INSERT INTO accounts TABLE {COPY}accounts;
             INSERT INTO books TABLE {COPY}books; COMMIT"
        ))
        .await;
        tokio::task::block_in_place(|| {
            let mut redis = self.redis();
            let gone: i64 = redis
                .del(self.keys(&self.prefix))
                .expect("keys can be removed");
            assert!(gone > 0, "bank B had no state");
            for copy in self.keys(&format!("{COPY}{}", self.prefix)) {
                let key = &copy[COPY.len()..];
                copy_key(&mut redis, &copy, key);
            }
        });
    }

    async fn sql(&self, statements: &str) {
        let client = postgres::connect(&self.postgres).await;
        let client = client.expect("the PostgreSQL of this run answers");
        let done = client.batch_execute(statements).await;
        done.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    async fn mean_of_rows(&self) -> i64 {
        let client = postgres::connect(&self.postgres).await;
        let client = client.expect("the PostgreSQL of this run answers");
        let mean = "SELECT coalesce(avg(balance), 0)::bigint FROM accounts";
        client.query_one(mean, &[]).await.expect("a mean").get(0)
    }

    fn redis(&self) -> redis::Connection {
        let client = redis::Client::open(self.redis.as_str()).expect("an address");
        let connection = client.get_connection_with_timeout(Duration::from_secs(10));
        connection.expect("the Redis of this run answers")
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.redis()
            .keys(format!("{prefix}*"))
            .expect("keys can be listed")
    }

    fn account_keys(&self) -> Vec<String> {
        let mut keys = self.keys(&self.prefix);
        keys.retain(|key| key.ends_with(":accounts"));
        keys
    }

    fn spoil_keys(&self) {
        let mut redis = self.redis();
        for key in self.account_keys() {
            let accounts: Vec<String> = redis.hkeys(&key).expect("accounts");
            let nonsense: Vec<(String, i64)> = accounts
                .into_iter()
                .map(|account| (account, NONSENSE))
                .collect();
            let () = redis
                .hset_multiple(&key, &nonsense)
                .expect("a hash can be written");
        }
    }

    fn mean_of_keys(&self) -> i64 {
        let mut redis = self.redis();
        let balances: Vec<i64> = self
            .account_keys()
            .iter()
            .flat_map(|key| redis.hvals::<_, Vec<i64>>(key).expect("balances"))
            .collect();
        balances.iter().sum::<i64>() / i64::try_from(balances.len().max(1)).expect("few accounts")
    }
}

fn copy_key(redis: &mut redis::Connection, from: &str, to: &str) {
    let mut copying = redis::cmd("COPY");
    let copied: bool = copying
        .arg(from)
        .arg(to)
        .query(redis)
        .expect("a key can be copied");
    assert!(copied, "{to} was there already");
}
