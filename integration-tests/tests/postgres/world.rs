//! A database and a repository of a test's own.

use std::sync::Arc;

use cutline_model::{Capture, Epoch, Guarantee, Mode, PartRef, ProcessId, Scope, Timings};
use cutline_state::{Provider, StateError, parse_state_spec};
use cutline_store::{Entry, Manifest, Outcome, PartWriter, ProcessRecord, Repository, StoreSpec};
use integration_tests::Postgres;
use tokio_postgres::Client;

/// The password of roles that tests make.
pub const ROLE_PASSWORD: &str = "shibboleth-9";

pub struct World {
    pub url: String,
    database: String,
    client: Client,
    repository: Repository,
    _root: tempfile::TempDir,
}

pub fn provider(url: &str, options: &str) -> Arc<dyn Provider> {
    parse_state_spec(&format!("{url}?{options}"))
        .unwrap()
        .provider
}

fn process() -> ProcessId {
    ProcessId {
        service: "bank".into(),
        instance: None,
    }
}

fn process_record(part: &PartRef) -> ProcessRecord {
    ProcessRecord {
        process: process(),
        sidecars: Vec::new(),
        capture: Capture::Commit,
        scope: Scope::Service,
        guarantee: Guarantee::Consistent,
        unaligned: false,
        part: Some(part.clone()),
        timings: Timings::default(),
        async_ms: 0,
    }
}

impl World {
    pub async fn new(database: &str, sql: &str) -> Self {
        let postgres = Postgres::shared().await;
        let url = postgres.create_database(database).await;
        let client = postgres.client(database).await;
        client.batch_execute(sql).await.unwrap();
        let root = tempfile::tempdir().unwrap();
        let spec: StoreSpec = format!("file:{}", root.path().display()).parse().unwrap();
        let repository = Repository::open(spec.open().await.unwrap()).await.unwrap();
        Self {
            url,
            database: database.to_owned(),
            client,
            repository,
            _root: root,
        }
    }

    pub fn provider(&self, options: &str) -> Arc<dyn Provider> {
        provider(&self.url, options)
    }

    pub async fn client(&self) -> Client {
        Postgres::shared().await.client(&self.database).await
    }

    /// A role that owns what it makes and may nothing else.
    pub async fn role(&self, name: &str) -> String {
        let sql = format!(
            "CREATE ROLE {name} LOGIN PASSWORD '{ROLE_PASSWORD}'; GRANT ALL ON DATABASE \"{}\" TO {name}",
            self.database
        );
        self.sql(&sql).await;
        Postgres::shared()
            .await
            .url_of(name, ROLE_PASSWORD, &self.database)
    }

    pub async fn sql(&self, sql: &str) {
        // One at a time: some cannot stand in the transaction that several are.
        let done = match sql.contains("VACUUM") {
            true => {
                for sql in sql.split(';') {
                    self.client.batch_execute(sql).await.unwrap();
                }
                Ok(())
            }
            false => self.client.batch_execute(sql).await,
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub async fn text(&self, sql: &str) -> String {
        let row = self
            .client
            .query_one(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// Every row and every sequence, as text, but for what is named.
    pub async fn dump(&self, without: &[&str]) -> Vec<String> {
        let relations = "SELECT format('%I.%I', nspname, relname), relkind = 'S' FROM pg_class c JOIN pg_namespace n \
            ON n.oid = relnamespace WHERE relkind IN ('r', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1";
        let mut dump = Vec::new();
        for row in self.client.query(relations, &[]).await.unwrap() {
            let (name, sequence): (String, bool) = (row.get(0), row.get(1));
            let sql = match sequence {
                true => format!("SELECT last_value || ' ' || is_called FROM {name}"),
                false => format!("SELECT t::text FROM {name} t ORDER BY t::text COLLATE \"C\""),
            };
            if !without.contains(&name.as_str()) {
                let rows = self.client.query(&sql, &[]).await.unwrap();
                dump.extend(
                    rows.iter()
                        .map(|row| format!("{name} {}", row.get::<_, String>(0))),
                );
            }
        }
        dump
    }

    pub async fn writer(&self, epoch: u64) -> PartWriter {
        writer_in(&self.repository, epoch, "postgres").await
    }

    pub async fn record(&self, epoch: u64, provider: &dyn Provider) -> Result<PartRef, StateError> {
        record_in(&self.repository, epoch, provider).await
    }

    /// A COMPLETED checkpoint, for the next one to build on.
    pub async fn checkpoint(&self, epoch: u64, provider: &dyn Provider) -> PartRef {
        checkpoint_in(&self.repository, epoch, provider).await
    }

    pub async fn restore(&self, provider: &dyn Provider, part: &PartRef) -> Result<(), StateError> {
        provider
            .restore(&mut self.repository.part_reader(part).await?)
            .await
    }

    pub async fn entries(&self, part: &PartRef) -> Vec<Entry> {
        self.repository
            .part_reader(part)
            .await
            .unwrap()
            .entries()
            .cloned()
            .collect()
    }
}

/// A COMPLETED checkpoint in a repository, for the next one to build on.
pub async fn checkpoint_in(
    repository: &Repository,
    epoch: u64,
    provider: &dyn Provider,
) -> PartRef {
    repository.claim_epoch(Epoch(epoch), "test").await.unwrap();
    let part = record_in(repository, epoch, provider).await.unwrap();
    let mut manifest = Manifest::new(
        Epoch(epoch),
        Outcome::Completed,
        Mode::Aligned,
        jiff::Timestamp::now(),
    );
    manifest.processes = vec![process_record(&part)];
    repository.decide(&manifest).await.unwrap();
    part
}

async fn record_in(
    repository: &Repository,
    epoch: u64,
    provider: &dyn Provider,
) -> Result<PartRef, StateError> {
    let fixed = provider.fix().await?;
    let mut part = writer_in(repository, epoch, provider.name()).await;
    fixed.copy(&mut part).await?;
    Ok(part.finish().await?)
}

async fn writer_in(repository: &Repository, epoch: u64, provider: &str) -> PartWriter {
    repository
        .part_writer(Epoch(epoch), &process(), provider)
        .await
        .unwrap()
}
