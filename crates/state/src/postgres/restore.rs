//! Putting tables back: one transaction that empties, fills and reads back all of them, and commits only what was recorded.
//!
//! Whatever goes wrong before the commit, a damaged part, a changed schema, a lock, a lost connection, leaves every table
//! as it was, and the same call can be made again. Not even a restore that ended in the middle of its commit is lost: the
//! next one does the same.

use std::{collections::BTreeMap, time::Duration};

use cutline_store::{Entry, PartReader};
use serde::de::DeserializeOwned;

use super::{
    PostgresError, Shared,
    catalog::{self, Kind, Relation, Schema, Sequence, Table},
    copy::STALL_LIMIT,
    fixed::{SCHEMA_ENTRY, SEQUENCES_ENTRY},
    load,
    name::{RelationName, literal},
    order,
    session::{QUESTION_LIMIT, Session},
    triggers::{self, Silenced},
};
use crate::StateError;

/// How long others may hold a table before a restore gives up and says who they are.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
/// At most so many differences of a schema are named.
const DIFFERENCES_MAX: usize = 5;

/// Replaces the tables by those in `part`.
pub(super) async fn restore(shared: &Shared, part: &mut PartReader) -> Result<(), StateError> {
    let schema: Schema = document(part, SCHEMA_ENTRY).await?;
    let sequences: Vec<Sequence> = document(part, SEQUENCES_ENTRY).await?;
    // A waiting session is in no transaction, but another one's lock must not be blamed on it.
    drop(shared.warm.lock().await.take());
    let session = Session::open(&shared.address).await?;
    let restoring = Restoring {
        shared,
        session,
        schema,
        sequences,
    };
    // Dropping the session on an error rolls everything back.
    restoring.run(part).await
}

struct Restoring<'a> {
    shared: &'a Shared,
    session: Session,
    schema: Schema,
    sequences: Vec<Sequence>,
}

impl Restoring<'_> {
    async fn run(self, part: &mut PartReader) -> Result<(), StateError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}",
            LOCK_LIMIT.as_millis()
        );
        self.session.run("begin", &begin, QUESTION_LIMIT).await?;
        let relations = self.lock().await?;
        self.compare(&relations).await?;
        let silenced = triggers::silence(&self.session, &relations).await?;
        self.look_at_order(&relations, &silenced).await?;
        self.empty(&relations).await?;
        let filled = self.fill(part).await?;
        for sequence in &self.sequences {
            self.set(sequence).await?;
        }
        self.session
            .run(
                "check constraints",
                "SET CONSTRAINTS ALL IMMEDIATE",
                STALL_LIMIT,
            )
            .await?;
        if silenced.replica {
            self.look_at_references(&relations).await?;
        }
        silenced.wake(&self.session).await?;
        for (table, (entry, taken)) in self.schema.tables.iter().zip(&filled) {
            load::verify(&self.session, table, entry, *taken).await?;
        }
        Ok(self.session.run("commit", "COMMIT", STALL_LIMIT).await?)
    }

    async fn lock(&self) -> Result<Vec<Relation>, PostgresError> {
        let (session, selection) = (&self.session, &self.shared.selection);
        let relations = catalog::relations(session, selection, QUESTION_LIMIT).await?;
        let names: Vec<String> = relations
            .iter()
            .filter(|r| r.kind != Kind::Foreign)
            .map(|r| r.name.quoted())
            .collect();
        if !names.is_empty() {
            let sql = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "));
            session
                .lock(&self.shared.address, &relations, &sql, LOCK_LIMIT)
                .await?;
        }
        Ok(relations)
    }

    /// Fails unless every table is defined as it was. A partition that has come since is emptied with its table.
    async fn compare(&self, relations: &[Relation]) -> Result<(), PostgresError> {
        let now = catalog::schema(&self.session, relations, QUESTION_LIMIT).await?;
        let now: BTreeMap<&RelationName, &Table> = now
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        let was: BTreeMap<&RelationName, &Table> = self
            .schema
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        let mut differences: Vec<String> = Vec::new();
        for (name, was) in &was {
            match now.get(name) {
                None => differences.push(format!("table {name} is gone")),
                Some(now) => differences.extend(difference(was, now)),
            }
        }
        for (name, now) in now.iter().filter(|(name, _)| !was.contains_key(*name)) {
            match now.bound {
                Some(_) => {
                    tracing::warn!(table = %name, "a partition made since the checkpoint is emptied")
                }
                None => differences.push(format!("table {name} has come since")),
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let count = differences.len();
        differences.truncate(DIFFERENCES_MAX);
        if count > DIFFERENCES_MAX {
            differences.push(format!("and {} more", count - DIFFERENCES_MAX));
        }
        Err(PostgresError::Changed {
            differences: differences.join("; "),
        })
    }

    /// Foreign keys that act are either checked at the end, or never before what they refer to is there.
    async fn look_at_order(
        &self,
        relations: &[Relation],
        silenced: &Silenced,
    ) -> Result<(), PostgresError> {
        if silenced.replica {
            return Ok(());
        }
        let keys = order::foreign_keys(&self.session, relations).await?;
        if let Some(key) = order::checked_too_early(&self.schema.tables, relations, &keys) {
            let reason = format!(
                "foreign key {} is part of a cycle and is checked at once, so its tables cannot be filled one after \
                 another; make it DEFERRABLE, or let the role of the state: \
                 GRANT SET ON PARAMETER session_replication_role",
                key.name
            );
            return Err(self.session.refused(reason));
        }
        let sql = "SET CONSTRAINTS ALL DEFERRED";
        self.session
            .run("defer constraints", sql, QUESTION_LIMIT)
            .await
    }

    async fn empty(&self, relations: &[Relation]) -> Result<(), PostgresError> {
        if relations.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = relations
            .iter()
            .map(|relation| relation.name.quoted())
            .collect();
        let sql = format!("TRUNCATE {}", names.join(", "));
        self.session
            .run("empty its tables", &sql, STALL_LIMIT)
            .await
    }

    /// The part's entries of the tables, in the order of the schema, and how many rows each gave.
    async fn fill(&self, part: &mut PartReader) -> Result<Vec<(Entry, u64)>, StateError> {
        let mut filled = Vec::with_capacity(self.schema.tables.len());
        for table in &self.schema.tables {
            let entry = part.next_entry().await?;
            let Some(entry) = entry.filter(|entry| entry.path == table.name.entry()) else {
                return Err(PostgresError::cut_short(&table.name.to_string()).into());
            };
            let taken = load::fill(&self.session, table, part).await?;
            filled.push((entry, taken));
        }
        Ok(filled)
    }

    /// Restarting gives the sequence a new file within the transaction; what is set after that goes with it when the
    /// transaction is rolled back, which setting alone would not.
    async fn set(&self, sequence: &Sequence) -> Result<(), PostgresError> {
        let name = sequence.name.quoted();
        let sql = format!(
            "ALTER SEQUENCE {name} RESTART; SELECT pg_catalog.setval({}::pg_catalog.regclass, {}, {})",
            literal(&name),
            sequence.last_value,
            sequence.is_called
        );
        self.session
            .run("set its sequences", &sql, QUESTION_LIMIT)
            .await
    }

    /// What foreign keys would have checked of tables that are not part of the state.
    async fn look_at_references(&self, relations: &[Relation]) -> Result<(), PostgresError> {
        let oids = catalog::oids(relations);
        let sql = format!(
            "SELECT k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text, pg_catalog.format( \
             'SELECT 1 FROM ONLY %s c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s r WHERE %s) LIMIT 1', \
             k.conrelid::regclass, string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname), ' AND '), \
             k.confrelid::regclass, string_agg(pg_catalog.format('r.%I = c.%I', f.attname, a.attname), ' AND ')) \
             FROM pg_catalog.pg_constraint k CROSS JOIN LATERAL unnest(k.conkey, k.confkey) u(own, other) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.own \
             JOIN pg_catalog.pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = u.other \
             WHERE k.contype = 'f' AND k.conrelid IN ({oids}) AND k.confrelid NOT IN ({oids}) \
             GROUP BY k.oid, k.conname, k.conrelid, k.confrelid"
        );
        for row in self
            .session
            .rows("list its foreign keys", &sql, QUESTION_LIMIT)
            .await?
        {
            let dangling = self
                .session
                .rows("check foreign keys", &row[3], STALL_LIMIT)
                .await?;
            if !dangling.is_empty() {
                let reason = format!(
                    "rows of {} refer by {} to rows of {} that are gone; put them back, or make {} part of the state",
                    row[1], row[0], row[2], row[2]
                );
                return Err(self.session.refused(reason));
            }
        }
        Ok(())
    }
}

/// What is different about a table, in words.
fn difference(was: &Table, now: &Table) -> Vec<String> {
    let name = &was.name;
    let mut found = Vec::new();
    for (at, column) in was.columns.iter().enumerate() {
        match now
            .columns
            .iter()
            .position(|other| other.name == column.name)
        {
            None => found.push(format!("column {}.{} is gone", name, column.name)),
            Some(place) if now.columns[place] != *column => {
                let (was, now) = (&column.kind, &now.columns[place].kind);
                found.push(if was == now {
                    format!(
                        "column {name}.{} is NOT NULL, generated or an identity otherwise",
                        column.name
                    )
                } else {
                    format!("column {name}.{} was {was} and is {now}", column.name)
                });
            }
            Some(place) if place != at && now.columns.len() == was.columns.len() => {
                found.push(format!("column {name}.{} stands elsewhere", column.name));
            }
            Some(_) => {}
        }
    }
    let new = now
        .columns
        .iter()
        .filter(|column| !was.columns.iter().any(|old| old.name == column.name));
    found.extend(new.map(|column| format!("column {name}.{} has come", column.name)));
    let gone = was
        .constraints
        .iter()
        .filter(|constraint| !now.constraints.contains(constraint));
    found.extend(
        gone.map(|constraint| format!("constraint {constraint} of {name} is gone or changed")),
    );
    let new = now
        .constraints
        .iter()
        .filter(|constraint| !was.constraints.contains(constraint));
    found.extend(new.map(|constraint| format!("constraint {constraint} of {name} is new")));
    if found.is_empty() && was.key != now.key {
        found.push(format!(
            "the unique key of {name} was ({}) and is ({})",
            was.key.join(", "),
            now.key.join(", ")
        ));
    }
    if found.is_empty() && was.bound != now.bound {
        found.push(format!("{name} is another partition"));
    }
    if found.is_empty() && was.binary != now.binary {
        found.push(format!(
            "types of {name} have got or lost their binary form"
        ));
    }
    found
}

async fn document<T: DeserializeOwned>(
    part: &mut PartReader,
    name: &'static str,
) -> Result<T, StateError> {
    let wrong = |detail: String| PostgresError::NotRestored {
        table: name.to_owned(),
        detail,
    };
    let entry = part.next_entry().await?;
    if entry.as_ref().is_none_or(|entry| entry.path != name) {
        return Err(wrong("the part does not hold it".to_owned()).into());
    }
    let mut bytes = Vec::new();
    while let Some(more) = part.read().await? {
        bytes.extend_from_slice(&more);
    }
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()).into())
}
