//! Keeping triggers from acting on what is put back: what they once did is in the recorded rows already.

use super::{
    PostgresError,
    catalog::{self, Relation},
    name::{RelationName, quoted},
    session::{QUESTION_LIMIT, Session},
};

/// Triggers that are silent until they are woken as they were, within one transaction.
pub(super) struct Silenced {
    /// True when neither triggers nor foreign keys act in this session.
    pub(super) replica: bool,
    wake: Vec<String>,
}

/// Silences every trigger of `relations`.
pub(super) async fn silence(
    session: &Session,
    relations: &[Relation],
) -> Result<Silenced, PostgresError> {
    let replica = may_replicate(session).await?;
    if replica {
        let sql = "SET LOCAL session_replication_role = replica";
        session.run("silence triggers", sql, QUESTION_LIMIT).await?;
    }
    // In a replica's session those of the origin are silent; the others are not, and are switched off one by one.
    let acting = if replica { "'A', 'R'" } else { "'O', 'A'" };
    let sql = format!(
        "SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgrelid IN ({}) AND NOT t.tgisinternal AND t.tgenabled IN ({acting}) ORDER BY t.oid",
        catalog::oids(relations)
    );
    let mut wake = Vec::new();
    for row in session
        .rows("list its triggers", &sql, QUESTION_LIMIT)
        .await?
    {
        let table = RelationName {
            schema: row[0].clone(),
            name: row[1].clone(),
        };
        let (table, trigger) = (table.quoted(), quoted(&row[2]));
        let off = format!("ALTER TABLE ONLY {table} DISABLE TRIGGER {trigger}");
        session
            .run("silence triggers", &off, QUESTION_LIMIT)
            .await?;
        let how = match row[3].as_str() {
            "A" => "ENABLE ALWAYS",
            "R" => "ENABLE REPLICA",
            _ => "ENABLE",
        };
        wake.push(format!("ALTER TABLE ONLY {table} {how} TRIGGER {trigger}"));
    }
    Ok(Silenced { replica, wake })
}

impl Silenced {
    /// Sets every trigger as it was.
    pub(super) async fn wake(self, session: &Session) -> Result<(), PostgresError> {
        for sql in &self.wake {
            session.run("wake triggers", sql, QUESTION_LIMIT).await?;
        }
        Ok(())
    }
}

async fn may_replicate(session: &Session) -> Result<bool, PostgresError> {
    if session.facts.superuser {
        return Ok(true);
    }
    if session.facts.version < 150_000 {
        return Ok(false);
    }
    let sql = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')::text";
    let rows = session.rows("say what it is", sql, QUESTION_LIMIT).await?;
    Ok(rows.first().is_some_and(|row| row[0] == "true"))
}
