//! One connection to a database: set up so that nothing of the role's settings ends or bends what is done on it.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{
    PostgresError,
    address::{Address, CONNECT_LIMIT},
    catalog::{Relation, oids},
    error::{is_lock_timeout, is_lost, text},
};

/// How long one short question may take when nobody is paused for it.
pub(super) const QUESTION_LIMIT: Duration = Duration::from_secs(30);
/// At most so many holders of locks are named.
const HOLDERS_MAX: usize = 10;
/// The oldest server whose catalogs are read here.
const VERSION_MIN: u32 = 120_000;

/// Settings that a role or a database may have otherwise, which would end a snapshot, bend bytes, or hide rows. Those a
/// server does not know are passed over.
const SETTINGS: &str = "SELECT pg_catalog.set_config(s.name, v.value, false) FROM (VALUES \
    ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), \
    ('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('client_connection_check_interval', '5s'), \
    ('row_security', 'off'), ('synchronize_seqscans', 'off'), ('DateStyle', 'ISO, YMD'), \
    ('IntervalStyle', 'iso_8601'), ('TimeZone', 'UTC'), ('extra_float_digits', '3'), ('bytea_output', 'hex'), \
    ('default_transaction_read_only', 'off'), ('default_transaction_deferrable', 'off')) v(name, value) \
    JOIN pg_catalog.pg_settings s ON lower(s.name) = lower(v.name)";

/// What the server and the role allow.
const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), \
    pg_catalog.pg_is_in_recovery()::text, \
    (pg_catalog.has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE') \
     AND pg_catalog.current_setting('wal_level') <> 'minimal')::text, \
    pg_catalog.current_setting('is_superuser')";

/// What the server and the role allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// The server's version, as 150018.
    pub(super) version: u32,
    /// The role may write a named restore point.
    pub(super) may_mark: bool,
    /// The role is a superuser.
    pub(super) superuser: bool,
}

/// A connection; dropping it ends it and whatever is under way on it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) facts: Facts,
    driver: JoinHandle<()>,
}

impl Session {
    /// Connects and sets the session up.
    pub(super) async fn open(address: &Address) -> Result<Self, PostgresError> {
        let shown = address.shown();
        let unreachable = |detail: String| PostgresError::Unreachable {
            address: shown.clone(),
            detail,
        };
        let config = address.config();
        let connected = timeout(CONNECT_LIMIT * 2, config.connect(NoTls)).await;
        let connected = connected.map_err(|_| unreachable("no answer in time".to_owned()))?;
        let (client, connection) = connected.map_err(|error| unreachable(text(&error)))?;
        // How it ended shows in the client's next call.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let facts = Facts {
            version: 0,
            may_mark: false,
            superuser: false,
        };
        let mut session = Self {
            client,
            address: shown,
            facts,
            driver,
        };
        session
            .rows("set the session up", SETTINGS, QUESTION_LIMIT)
            .await?;
        session.facts = session.look().await?;
        Ok(session)
    }

    /// True when it can be used no more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements without an answer.
    pub(super) async fn run(
        &self,
        what: &'static str,
        sql: &str,
        limit: Duration,
    ) -> Result<(), PostgresError> {
        self.within(what, limit, self.client.batch_execute(sql))
            .await
    }

    /// Rows as text, in one round trip; a missing value is an empty text.
    pub(super) async fn rows(
        &self,
        what: &'static str,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<Vec<String>>, PostgresError> {
        let messages = self
            .within(what, limit, self.client.simple_query(sql))
            .await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |at| row.get(at).unwrap_or_default().to_owned();
                Some((0..row.len()).map(cell).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Waits for the server no longer than `limit`.
    pub(super) async fn within<T>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        let answered = timeout(limit, call).await;
        let answered = answered.map_err(|_| PostgresError::Timeout {
            address: self.address.clone(),
            what,
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        })?;
        answered.map_err(|error| self.failed(what, &error))
    }

    /// Locks tables; when somebody else holds them, says who.
    pub(super) async fn lock(
        &self,
        address: &Address,
        relations: &[Relation],
        sql: &str,
        limit: Duration,
    ) -> Result<(), PostgresError> {
        let locking = timeout(limit * 2, self.client.batch_execute(sql)).await;
        let error = match locking {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if !is_lock_timeout(&error) => {
                return Err(self.failed("lock its tables", &error));
            }
            other => other,
        };
        // Our own locks go with our transaction; what is left is others'.
        if error.is_ok() {
            let _broken = self.run("end a transaction", "ROLLBACK", limit).await;
        }
        Err(PostgresError::Locked {
            address: self.address.clone(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            holders: holders(address, relations).await,
        })
    }

    /// An error of the server's, as ours.
    pub(super) fn failed(
        &self,
        what: &'static str,
        error: &tokio_postgres::Error,
    ) -> PostgresError {
        let (address, detail) = (self.address.clone(), text(error));
        match is_lost(error) {
            true => PostgresError::Lost {
                address,
                what,
                detail,
            },
            false => PostgresError::Failed {
                address,
                what,
                detail,
            },
        }
    }

    /// A refusal that names this database.
    pub(super) fn refused(&self, reason: String) -> PostgresError {
        PostgresError::Refused {
            address: self.address.clone(),
            reason,
        }
    }

    async fn look(&self) -> Result<Facts, PostgresError> {
        let rows = self.rows("say what it is", FACTS, QUESTION_LIMIT).await?;
        let [row] = &rows[..] else {
            return Err(self.refused("it does not say what it is".to_owned()));
        };
        let version = row[0].parse().unwrap_or(0);
        if version < VERSION_MIN {
            return Err(self.refused("it is older than PostgreSQL 12".to_owned()));
        }
        if row[1] == "true" {
            return Err(self.refused("it is a standby; name the primary".to_owned()));
        }
        Ok(Facts {
            version,
            may_mark: row[2] == "true",
            superuser: row[3] == "on",
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Who holds locks on `relations`, for people.
async fn holders(address: &Address, relations: &[Relation]) -> String {
    let sql = format!(
        "SELECT DISTINCT 'process ' || a.pid || ' (' || COALESCE(NULLIF(a.application_name, ''), 'no name') || ', user ' \
         || COALESCE(a.usename, '?') || ', ' || COALESCE(a.state, 'state not shown') || ') holds ' || l.mode || ' on ' \
         || l.relation::regclass::text FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid) \
         WHERE l.granted AND l.relation IN ({}) AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY 1 LIMIT {HOLDERS_MAX}",
        oids(relations)
    );
    let asked = timeout(CONNECT_LIMIT, async {
        let session = Session::open(address).await?;
        session
            .rows("name who holds locks", &sql, CONNECT_LIMIT)
            .await
    });
    match asked.await {
        Ok(Ok(rows)) if !rows.is_empty() => rows
            .into_iter()
            .map(|mut row| row.remove(0))
            .collect::<Vec<_>>()
            .join("; "),
        _ => "see pg_locks and pg_stat_activity".to_owned(),
    }
}
