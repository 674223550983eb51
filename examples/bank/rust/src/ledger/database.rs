//! Shards in a PostgreSQL database: a row for every account, and one for every shard's book of what it sent and received.
//!
//! A batch is one transaction. A session that was lost is opened again, and a transaction that met another's is tried again:
//! what was saved twice is saved once.

use std::{error::Error, time::Duration};

use postgres::{Client, NoTls, Row, error::SqlState};

use crate::shard::Shard;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS accounts (
        shard text, account int, balance bigint NOT NULL, PRIMARY KEY (shard, account));
    CREATE TABLE IF NOT EXISTS books (
        shard text PRIMARY KEY, records bigint NOT NULL, sent jsonb NOT NULL, received jsonb NOT NULL)";
// Instances start together, and IF NOT EXISTS alone is no protection against that.
const MAKE_LOCK: &str = "SELECT pg_advisory_xact_lock(7265273)";
const READ: &str = "
    SELECT shard, records, sent::text, received::text,
           ARRAY(SELECT balance FROM accounts WHERE accounts.shard = books.shard ORDER BY account)
    FROM books WHERE $1::text IS NULL OR shard = $1 ORDER BY shard";
const SAVE_BOOK: &str = "
    INSERT INTO books VALUES ($1, $2, $3::text::jsonb, $4::text::jsonb)
    ON CONFLICT (shard) DO UPDATE SET records = $2, sent = EXCLUDED.sent, received = EXCLUDED.received";
// Most accounts of a shard are as they were.
const SAVE_ACCOUNTS: &str = "
    INSERT INTO accounts SELECT $1, account, balance FROM unnest($2::int[], $3::bigint[]) AS new (account, balance)
    ON CONFLICT (shard, account) DO UPDATE SET balance = EXCLUDED.balance
    WHERE accounts.balance <> EXCLUDED.balance";
/// How often something is asked again, and how long is waited before a lost session is opened again.
const ATTEMPTS_MAX: u32 = 150;
const SESSION_DELAY: Duration = Duration::from_millis(200);

/// Somebody else's transaction was in the way; it is over when this is said.
const PASSING: [&SqlState; 2] = [
    &SqlState::T_R_DEADLOCK_DETECTED,
    &SqlState::T_R_SERIALIZATION_FAILURE,
];

/// A database with the two tables.
pub struct Database {
    url: String,
    client: Client,
}

impl Database {
    /// Opens a session and makes the tables where they are missing.
    ///
    /// # Errors
    /// When the server does not let it in or refuses the tables.
    pub fn open(url: &str) -> Result<Self, Box<dyn Error>> {
        let mut client = Client::connect(url, NoTls)?;
        let mut making = client.transaction()?;
        making.batch_execute(MAKE_LOCK)?;
        making.batch_execute(TABLES)?;
        making.commit()?;
        Ok(Self {
            url: url.to_owned(),
            client,
        })
    }

    /// A shard as its rows have it, or a new one.
    ///
    /// # Errors
    /// When it cannot be read or is no shard.
    pub fn load(&mut self, name: &str) -> Result<Shard, Box<dyn Error>> {
        let row = self.with(|client| client.query_opt(READ, &[&Some(name)]))?;
        row.map_or_else(|| Ok(Shard::new(name)), |row| shard(&row))
    }

    /// Every shard.
    ///
    /// # Errors
    /// When one cannot be read or is none.
    pub fn all(&mut self) -> Result<Vec<Shard>, Box<dyn Error>> {
        let rows = self.with(|client| client.query(READ, &[&None::<&str>]))?;
        rows.iter().map(shard).collect()
    }

    /// Replaces these shards in one transaction.
    ///
    /// # Errors
    /// When they cannot be written: then none was.
    pub fn save<'a>(
        &mut self,
        shards: impl Iterator<Item = &'a Shard> + Clone,
    ) -> Result<(), Box<dyn Error>> {
        let shards: Vec<Written> = shards.map(Written::of).collect::<Result<_, _>>()?;
        self.with(|client| {
            let mut batch = client.transaction()?;
            for shard in &shards {
                batch.execute(
                    SAVE_BOOK,
                    &[&shard.name, &shard.records, &shard.sent, &shard.received],
                )?;
                batch.execute(
                    SAVE_ACCOUNTS,
                    &[&shard.name, &shard.accounts, &shard.balances],
                )?;
            }
            batch.commit()
        })
    }

    fn with<T>(
        &mut self,
        ask: impl Fn(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, Box<dyn Error>> {
        for _ in 0..ATTEMPTS_MAX {
            match ask(&mut self.client) {
                Ok(answer) => return Ok(answer),
                // Everything that is asked here may be asked again.
                Err(error) if self.client.is_closed() => {
                    eprintln!("bank-a: the database's session is lost: {}", why(&error));
                    std::thread::sleep(SESSION_DELAY);
                    if let Ok(client) = Client::connect(&self.url, NoTls) {
                        self.client = client;
                    }
                }
                Err(error) if error.code().is_some_and(|code| PASSING.contains(&code)) => {
                    eprintln!("bank-a: a transaction is tried again: {}", why(&error));
                }
                Err(error) => return Err(why(&error).into()),
            }
        }
        Err("the database did not come back".into())
    }
}

/// What the server said, which the error itself keeps to its cause.
fn why(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{error}: {said}"),
        None => error.to_string(),
    }
}

/// A shard as it is written.
struct Written<'a> {
    name: &'a str,
    records: i64,
    sent: String,
    received: String,
    accounts: Vec<i32>,
    balances: &'a [i64],
}

impl<'a> Written<'a> {
    fn of(shard: &'a Shard) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            name: &shard.shard,
            records: i64::try_from(shard.records)?,
            sent: serde_json::to_string(&shard.sent)?,
            received: serde_json::to_string(&shard.received)?,
            accounts: (0..i32::try_from(shard.balances.len())?).collect(),
            balances: &shard.balances,
        })
    }
}

fn shard(row: &Row) -> Result<Shard, Box<dyn Error>> {
    Ok(Shard {
        shard: row.try_get(0)?,
        records: u64::try_from(row.try_get::<_, i64>(1)?)?,
        sent: serde_json::from_str(row.try_get(2)?)?,
        received: serde_json::from_str(row.try_get(3)?)?,
        balances: row.try_get(4)?,
    })
}
