//! Fixing the state inside the pause: one exported snapshot, the tables locked against being emptied, the sequences read.
//!
//! It takes a handful of round trips, whatever the size. The session that exported the snapshot keeps it until the copy
//! is made or discarded. No wait in here is longer than [`FIX_LIMIT`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cutline_store::{Entry, PartWriter};
use tokio::time::timeout;

use super::{
    PostgresError, Shared,
    catalog::{self, Kind, Relation, Sequence},
    copy,
    name::literal,
    order,
    session::{QUESTION_LIMIT, Session},
};
use crate::{Fixed, StateError};

/// The most that fixing may add to a pause. A database that hangs fails the checkpoint, not the application.
const FIX_LIMIT: Duration = Duration::from_secs(3);
/// How long, of that, to wait for somebody who holds a table exclusively.
const FIX_LOCK_LIMIT: Duration = Duration::from_secs(2);

/// A part's entry with the definitions of its tables.
pub(super) const SCHEMA_ENTRY: &str = "schema.json";
/// A part's entry with what its sequences stood at.
pub(super) const SEQUENCES_ENTRY: &str = "sequences.json";

/// A snapshot that waits to be copied.
pub(super) struct FixedTables {
    shared: Arc<Shared>,
    session: Session,
    snapshot: String,
    lsn: String,
    restore_point: Option<String>,
    relations: Vec<Relation>,
    sequences: Vec<Sequence>,
}

/// Looks whether the tables can be recorded, and leaves a session waiting for the first pause.
pub(super) async fn look(shared: &Arc<Shared>) -> Result<(), PostgresError> {
    let session = Session::open(&shared.address).await?;
    session
        .run(
            "begin",
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            QUESTION_LIMIT,
        )
        .await?;
    let relations = catalog::relations(&session, &shared.selection, QUESTION_LIMIT).await?;
    let schema = catalog::schema(&session, &relations, QUESTION_LIMIT).await?;
    refuse_what_cannot_come_back(shared, &session, &relations).await?;
    for table in schema.tables.iter().filter(|table| table.key.is_empty()) {
        tracing::warn!(table = %table.name, "no primary key: after updates its rows lie elsewhere and are uploaded again");
    }
    for table in schema.tables.iter().filter(|table| table.unlogged) {
        tracing::warn!(table = %table.name, "an unlogged table is recorded, but a crash of the server empties it");
    }
    release(shared, session).await;
    Ok(())
}

/// Fixes the state as it is now.
pub(super) async fn fix(shared: &Arc<Shared>) -> Result<FixedTables, PostgresError> {
    let fixed = timeout(FIX_LIMIT, async {
        let warm = shared
            .warm
            .lock()
            .await
            .take()
            .filter(|session| !session.is_closed());
        if let Some(session) = warm {
            match fix_in(shared, session).await {
                // A session may have died since unnoticed; a new one may do.
                Err(PostgresError::Lost { .. }) => {}
                fixed => return fixed,
            }
        }
        fix_in(shared, Session::open(&shared.address).await?).await
    });
    fixed.await.unwrap_or_else(|_| {
        Err(PostgresError::Timeout {
            address: shared.address.shown(),
            what: "fix its state",
            limit_ms: u64::try_from(FIX_LIMIT.as_millis()).unwrap_or(u64::MAX),
        })
    })
}

async fn fix_in(shared: &Arc<Shared>, session: Session) -> Result<FixedTables, PostgresError> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
        FIX_LOCK_LIMIT.as_millis(),
        FIX_LIMIT.as_millis()
    );
    session.run("begin", &begin, FIX_LIMIT).await?;
    let name = format!("cutline-{}", uuid::Uuid::new_v4().simple());
    let restore_point = session.facts.may_mark.then_some(name);
    let mark = restore_point.as_ref().map(|name| {
        format!(
            ", pg_catalog.pg_create_restore_point({})::text",
            literal(name)
        )
    });
    let export = format!(
        "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_wal_lsn()::text{}",
        mark.unwrap_or_default()
    );
    let exported = session
        .rows("export a snapshot", &export, FIX_LIMIT)
        .await?;
    let [exported] = &exported[..] else {
        return Err(session.refused("it exported no snapshot".to_owned()));
    };
    let (snapshot, lsn) = (exported[0].clone(), exported[1].clone());
    let relations = catalog::relations(&session, &shared.selection, FIX_LIMIT).await?;
    lock(shared, &session, &relations).await?;
    let sequences = catalog::sequences(&session, &shared.selection, &relations, FIX_LIMIT).await?;
    let settle = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
    session.run("begin", settle, FIX_LIMIT).await?;
    let shared = Arc::clone(shared);
    Ok(FixedTables {
        shared,
        session,
        snapshot,
        lsn,
        restore_point,
        relations,
        sequences,
    })
}

/// From now on nobody drops, empties or rewrites a table; that nobody has done it since the snapshot is looked at,
/// because a snapshot shows an emptied table empty.
async fn lock(
    shared: &Shared,
    session: &Session,
    relations: &[Relation],
) -> Result<(), PostgresError> {
    if relations.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = relations
        .iter()
        .filter(|r| r.kind != Kind::Foreign)
        .map(|r| r.name.quoted())
        .collect();
    if !names.is_empty() {
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        session
            .lock(&shared.address, relations, &sql, FIX_LOCK_LIMIT)
            .await?;
    }
    let rewritten = format!(
        "SELECT c.relname FROM pg_catalog.pg_class c WHERE c.oid IN ({}) AND c.relkind = 'r' \
         AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)",
        catalog::oids(relations)
    );
    let rewritten = session
        .rows("look at its tables again", &rewritten, FIX_LIMIT)
        .await?;
    match rewritten.first() {
        None => Ok(()),
        Some(row) => Err(PostgresError::Lost {
            address: session.address.clone(),
            what: "fix its state",
            detail: format!("table {} was emptied or rewritten meanwhile", row[0]),
        }),
    }
}

/// What a checkpoint would hold but a restore could not put back, by name.
async fn refuse_what_cannot_come_back(
    shared: &Shared,
    session: &Session,
    relations: &[Relation],
) -> Result<(), PostgresError> {
    if let Some(foreign) = relations
        .iter()
        .find(|relation| relation.kind == Kind::Foreign)
    {
        let reason = format!(
            "{} is a foreign table, whose rows are elsewhere; name the tables of the state in tables=",
            foreign.name
        );
        return Err(session.refused(reason));
    }
    let oids = catalog::oids(relations);
    let sql = format!(
        "SELECT k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text FROM pg_catalog.pg_constraint k \
         WHERE k.contype = 'f' AND k.confrelid IN ({oids}) AND k.conrelid NOT IN ({oids}) ORDER BY 1"
    );
    if let Some(row) = session
        .rows("list its foreign keys", &sql, QUESTION_LIMIT)
        .await?
        .first()
    {
        let (constraint, from, to) = (&row[0], &row[1], &row[2]);
        let reason = format!(
            "table {from}, which is not part of the state, refers to {to} by {constraint}; record {from} too"
        );
        return Err(session.refused(reason));
    }
    refuse_large_objects(shared, session, &oids).await
}

async fn refuse_large_objects(
    shared: &Shared,
    session: &Session,
    oids: &str,
) -> Result<(), PostgresError> {
    let sql = format!(
        "SELECT a.attrelid::regclass::text || '.' || a.attname FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid IN ({oids}) AND a.attnum > 0 \
         AND NOT a.attisdropped AND (t.oid = 'pg_catalog.oid'::regtype OR t.typname = 'lo') \
         AND EXISTS (SELECT 1 FROM pg_catalog.pg_largeobject_metadata) ORDER BY 1"
    );
    let columns = session
        .rows("look for large objects", &sql, QUESTION_LIMIT)
        .await?;
    if let Some(column) = columns.first() {
        let reason = format!(
            "column {} may name large objects, which cannot be recorded; keep them as bytea, or leave the table out",
            column[0]
        );
        return Err(session.refused(reason));
    }
    let count = "SELECT count(*)::text FROM pg_catalog.pg_largeobject_metadata";
    let count = session
        .rows("look for large objects", count, QUESTION_LIMIT)
        .await?;
    let some = count.first().is_some_and(|row| row[0] != "0");
    if some && shared.selection.is_everything() {
        let reason = format!(
            "it holds {} large objects, which cannot be recorded; name the tables of the state in tables= or schema=",
            count[0][0]
        );
        return Err(session.refused(reason));
    }
    Ok(())
}

/// Ends the transaction and leaves the session for the next pause.
async fn release(shared: &Shared, session: Session) {
    if session
        .run("end a snapshot", "ROLLBACK", QUESTION_LIMIT)
        .await
        .is_ok()
    {
        *shared.warm.lock().await = Some(session);
    }
}

impl FixedTables {
    async fn stream(&self, part: &mut PartWriter) -> Result<(), StateError> {
        refuse_what_cannot_come_back(&self.shared, &self.session, &self.relations).await?;
        let mut schema = catalog::schema(&self.session, &self.relations, QUESTION_LIMIT).await?;
        let keys = order::foreign_keys(&self.session, &self.relations).await?;
        order::sort(&mut schema.tables, &self.relations, &keys);
        part.set_attribute("postgres.lsn", &*self.lsn)?;
        part.set_attribute("postgres.version", self.session.facts.version.to_string())?;
        if let Some(name) = &self.restore_point {
            part.set_attribute("postgres.restore_point", &**name)?;
        }
        write_document(part, SCHEMA_ENTRY, &schema).await?;
        write_document(part, SEQUENCES_ENTRY, &self.sequences).await?;
        copy::tables(
            &self.shared.address,
            &self.session,
            &self.snapshot,
            &schema.tables,
            part,
        )
        .await
    }
}

#[async_trait]
impl Fixed for FixedTables {
    async fn copy(self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError> {
        let streamed = self.stream(part).await;
        let Self {
            shared, session, ..
        } = *self;
        match streamed {
            Ok(()) => {
                release(&shared, session).await;
                Ok(())
            }
            // What is under way in the session is not known: it ends with it.
            Err(error) => Err(error),
        }
    }

    async fn discard(self: Box<Self>) -> Result<(), StateError> {
        let Self {
            shared, session, ..
        } = *self;
        release(&shared, session).await;
        Ok(())
    }
}

async fn write_document(
    part: &mut PartWriter,
    name: &str,
    document: &impl serde::Serialize,
) -> Result<(), StateError> {
    let bytes = serde_json::to_vec_pretty(document).expect("names and numbers are JSON");
    part.begin(Entry::file(name))?;
    part.push(&bytes).await?;
    part.end_file().await?;
    Ok(())
}
