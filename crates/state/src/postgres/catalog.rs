//! What a database says about its tables: read in one snapshot, compared at a restore.
//!
//! A [`Schema`] is stored with the tables it describes. It knows names, types and constraints, nothing of rows.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{PostgresError, name::RelationName, selection::Selection, session::Session};

/// A relation that the selection takes.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) name: RelationName,
    pub(super) kind: Kind,
    /// The relation it is a partition of, or inherits from.
    pub(super) parent: Option<u32>,
}

/// What a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds rows.
    Table,
    /// Its partitions hold rows.
    Partitioned,
    /// Its rows are elsewhere.
    Foreign,
}

/// The tables of one state and what their sequences stood at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Schema {
    /// The version of this form.
    pub(super) format: u32,
    /// The tables, in the order they stand in the part.
    pub(super) tables: Vec<Table>,
}

/// A table as it was defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    #[serde(flatten)]
    pub(super) name: RelationName,
    /// Contents are lost when the server crashes.
    pub(super) unlogged: bool,
    pub(super) columns: Vec<Column>,
    /// `name definition`, sorted.
    pub(super) constraints: Vec<String>,
    /// The columns of the unique key its rows are ordered by; none: rows as they lie.
    pub(super) key: Vec<String>,
    /// The bound of a partition.
    pub(super) bound: Option<String>,
    /// Every type has a binary form; otherwise rows are copied as text.
    pub(super) binary: bool,
}

/// A column as it was defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// With its modifiers and, where it is not the type's own, its collation.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) not_null: bool,
    pub(super) identity: bool,
    /// Computed from others, therefore not copied.
    pub(super) generated: bool,
}

/// A sequence and where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    #[serde(flatten)]
    pub(super) name: RelationName,
    pub(super) last_value: i64,
    pub(super) is_called: bool,
}

impl Table {
    /// The columns whose values are copied.
    pub(super) fn copied(&self) -> impl Iterator<Item = &str> {
        let stored = self.columns.iter().filter(|column| !column.generated);
        stored.map(|column| column.name.as_str())
    }
}

const RELATIONS: &str = "SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, \
    (SELECT i.inhparent::text FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' \
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
        AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY n.nspname, c.relname";

/// The relations that `selection` takes, and what it lists that is not there.
pub(super) async fn relations(
    session: &Session,
    selection: &Selection,
    limit: Duration,
) -> Result<Vec<Relation>, PostgresError> {
    let rows = session.rows("list its tables", RELATIONS, limit).await?;
    let all: Vec<Relation> = rows.iter().map(|row| relation(row)).collect();
    let names: Vec<RelationName> = all.iter().map(|relation| relation.name.clone()).collect();
    let missing = selection.missing(&names);
    if !missing.is_empty() {
        let reason = format!("there is no table {}", missing.join(", "));
        return Err(PostgresError::Failed {
            address: session.address.clone(),
            what: "list its tables",
            detail: reason,
        });
    }
    let mut taken: BTreeMap<u32, Relation> = BTreeMap::new();
    for relation in all
        .iter()
        .filter(|relation| selection.takes(&relation.name))
    {
        taken.insert(relation.oid, relation.clone());
    }
    // A partition belongs to what it is a partition of, whatever its own name.
    loop {
        let more: Vec<&Relation> = all
            .iter()
            .filter(|relation| !taken.contains_key(&relation.oid))
            .filter(|relation| {
                relation
                    .parent
                    .is_some_and(|parent| taken.contains_key(&parent))
            })
            .collect();
        if more.is_empty() {
            break;
        }
        taken.extend(
            more.into_iter()
                .map(|relation| (relation.oid, relation.clone())),
        );
    }
    let mut taken: Vec<Relation> = taken.into_values().collect();
    taken.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(taken)
}

fn relation(row: &[String]) -> Relation {
    Relation {
        oid: row[0].parse().unwrap_or(0),
        name: RelationName {
            schema: row[1].clone(),
            name: row[2].clone(),
        },
        kind: match row[3].as_str() {
            "p" => Kind::Partitioned,
            "f" => Kind::Foreign,
            _ => Kind::Table,
        },
        parent: row[4].parse().ok(),
    }
}

/// `1, 2, 3`, or something no relation has.
pub(super) fn oids<'a>(relations: impl IntoIterator<Item = &'a Relation>) -> String {
    let oids: Vec<String> = relations
        .into_iter()
        .map(|relation| relation.oid.to_string())
        .collect();
    if oids.is_empty() {
        "0".to_owned()
    } else {
        oids.join(", ")
    }
}

/// The definitions of the tables among `relations`. Names in them are qualified whatever the role's search path is.
pub(super) async fn schema(
    session: &Session,
    relations: &[Relation],
    limit: Duration,
) -> Result<Schema, PostgresError> {
    let tables = relations
        .iter()
        .filter(|relation| relation.kind == Kind::Table);
    let sql = format!(
        "SET LOCAL search_path TO ''; {}",
        definitions(&oids(tables))
    );
    let rows = session.rows("describe its tables", &sql, limit).await?;
    session
        .run(
            "describe its tables",
            "SET LOCAL search_path TO DEFAULT",
            limit,
        )
        .await?;
    let parse = |row: &Vec<String>| serde_json::from_str(&row[0]);
    let tables = rows.iter().map(parse).collect::<Result<Vec<Table>, _>>();
    let tables = tables
        .map_err(|error| session.refused(format!("its catalog is not as expected: {error}")))?;
    Ok(Schema { format: 1, tables })
}

fn definitions(oids: &str) -> String {
    format!(
        "SELECT pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname, \
         'unlogged', c.relpersistence = 'u', 'bound', pg_catalog.pg_get_expr(c.relpartbound, c.oid), \
         'binary', NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a \
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
            AND (t.typsend = 0 OR t.typreceive = 0 OR e.typsend = 0 OR e.typreceive = 0)), \
         'columns', COALESCE((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, \
            'type', pg_catalog.format_type(a.atttypid, a.atttypmod) || COALESCE((SELECT ' COLLATE ' || l.collname \
                FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation), ''), \
            'not_null', a.attnotnull, 'identity', a.attidentity <> '', 'generated', a.attgenerated <> '') \
            ORDER BY a.attnum) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
         'constraints', COALESCE((SELECT pg_catalog.json_agg(k.conname || ' ' || \
            pg_catalog.pg_get_constraintdef(k.oid) ORDER BY k.conname) FROM pg_catalog.pg_constraint k \
            WHERE k.conrelid = c.oid AND k.contype <> 't'), '[]'), \
         'key', COALESCE((SELECT pg_catalog.json_agg(a.attname ORDER BY u.place) FROM (SELECT i.indkey, i.indnkeyatts \
            FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate \
            AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a \
                WHERE a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND (NOT a.attnotnull OR a.attgenerated <> '')) \
            ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1) i, \
            unnest(i.indkey) WITH ORDINALITY u(number, place) JOIN pg_catalog.pg_attribute a \
            ON a.attrelid = c.oid AND a.attnum = u.number WHERE u.place <= i.indnkeyatts), '[]'))::text \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN ({oids}) ORDER BY n.nspname, c.relname"
    )
}

/// The sequences that belong to `relations` or, where whole schemas are taken, stand in them; and where they stand.
pub(super) async fn sequences(
    session: &Session,
    selection: &Selection,
    relations: &[Relation],
    limit: Duration,
) -> Result<Vec<Sequence>, PostgresError> {
    let sql = format!(
        "SELECT n.nspname, c.relname, (EXISTS (SELECT 1 FROM pg_catalog.pg_depend d \
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') \
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid IN ({oids})) \
         OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid \
            WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass \
            AND d.refobjid = c.oid AND f.adrelid IN ({oids})))::text \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
         AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname",
        oids = oids(relations)
    );
    let rows = session.rows("list its sequences", &sql, limit).await?;
    let taken = rows
        .iter()
        .filter(|row| row[2] == "true" || selection.takes_sequence(&row[0]));
    let names: Vec<RelationName> = taken
        .map(|row| RelationName {
            schema: row[0].clone(),
            name: row[1].clone(),
        })
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // Sequences are in no snapshot: they are read where they stand, which is why this is done inside the pause.
    let selects: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            format!(
                "SELECT {at} AS at, last_value, is_called FROM {}",
                name.quoted()
            )
        })
        .collect();
    let sql = format!("{} ORDER BY at", selects.join(" UNION ALL "));
    let rows = session.rows("read its sequences", &sql, limit).await?;
    let sequences = names.into_iter().zip(rows).map(|(name, row)| Sequence {
        name,
        last_value: row[1].parse().unwrap_or(0),
        is_called: row[2] == "t",
    });
    Ok(sequences.collect())
}
