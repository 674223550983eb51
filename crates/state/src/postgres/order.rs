//! The order in which tables can be filled: what is referred to before what refers to it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    PostgresError,
    catalog::{self, Kind, Relation, Table},
    name::RelationName,
    session::{QUESTION_LIMIT, Session},
};

/// A foreign key between relations of the state, or out of it.
#[derive(Clone, Debug)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    from: u32,
    to: u32,
    deferrable: bool,
}

/// Every foreign key that a table among `relations` has.
pub(super) async fn foreign_keys(
    session: &Session,
    relations: &[Relation],
) -> Result<Vec<ForeignKey>, PostgresError> {
    let sql = format!(
        "SELECT k.conname, k.conrelid::text, k.confrelid::text, k.condeferrable::text \
         FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid IN ({}) ORDER BY k.oid",
        catalog::oids(relations)
    );
    let rows = session
        .rows("list its foreign keys", &sql, QUESTION_LIMIT)
        .await?;
    let keys = rows.into_iter().map(|row| ForeignKey {
        name: row[0].clone(),
        from: row[1].parse().unwrap_or(0),
        to: row[2].parse().unwrap_or(0),
        deferrable: row[3] == "true",
    });
    Ok(keys.collect())
}

/// Puts every table behind those it refers to, as far as that can be; otherwise the order stays.
pub(super) fn sort(tables: &mut Vec<Table>, relations: &[Relation], keys: &[ForeignKey]) {
    // What is checked only at the end may come in any order.
    let checked: Vec<ForeignKey> = keys.iter().filter(|key| !key.deferrable).cloned().collect();
    let needs = needs(relations, &checked);
    let none = BTreeSet::new();
    let mut left = std::mem::take(tables);
    let mut placed: BTreeSet<RelationName> = BTreeSet::new();
    while !left.is_empty() {
        let ready = left.iter().position(|table| {
            let needed = needs.get(&table.name).unwrap_or(&none);
            needed.iter().all(|name| {
                *name == table.name
                    || placed.contains(name)
                    || !left.iter().any(|t| t.name == *name)
            })
        });
        // In a cycle somebody has to be first.
        let table = left.remove(ready.unwrap_or(0));
        placed.insert(table.name.clone());
        tables.push(table);
    }
}

/// A foreign key that is checked at once although what it refers to comes later: a cycle.
pub(super) fn checked_too_early<'a>(
    tables: &[Table],
    relations: &[Relation],
    keys: &'a [ForeignKey],
) -> Option<&'a ForeignKey> {
    let places: BTreeMap<&RelationName, usize> = tables
        .iter()
        .enumerate()
        .map(|(at, table)| (&table.name, at))
        .collect();
    keys.iter().filter(|key| !key.deferrable).find(|key| {
        let one = std::slice::from_ref(*key);
        needs(relations, one).iter().any(|(from, to)| {
            to.iter()
                .any(|to| match (places.get(from), places.get(to)) {
                    (Some(from), Some(to)) => to > from,
                    _ => false,
                })
        })
    })
}

/// By table that holds rows, the tables that hold what it refers to.
fn needs(
    relations: &[Relation],
    keys: &[ForeignKey],
) -> BTreeMap<RelationName, BTreeSet<RelationName>> {
    let mut needs: BTreeMap<RelationName, BTreeSet<RelationName>> = BTreeMap::new();
    for key in keys {
        let to = leaves(relations, key.to);
        for from in leaves(relations, key.from) {
            needs.entry(from).or_default().extend(to.iter().cloned());
        }
    }
    needs
}

/// The tables that hold the rows of a relation.
fn leaves(relations: &[Relation], oid: u32) -> Vec<RelationName> {
    let own = relations
        .iter()
        .filter(|r| r.oid == oid && r.kind == Kind::Table)
        .map(|r| r.name.clone());
    let below = relations
        .iter()
        .filter(|relation| relation.parent == Some(oid))
        .flat_map(|relation| leaves(relations, relation.oid));
    own.chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(oid: u32, kind: Kind, parent: Option<u32>) -> Relation {
        let name = RelationName {
            schema: "s".to_owned(),
            name: format!("t{oid}"),
        };
        Relation {
            oid,
            name,
            kind,
            parent,
        }
    }

    fn key(from: u32, to: u32) -> ForeignKey {
        ForeignKey {
            name: format!("k{from}{to}"),
            from,
            to,
            deferrable: false,
        }
    }

    fn tables(relations: &[Relation]) -> Vec<Table> {
        let tables = relations
            .iter()
            .filter(|relation| relation.kind == Kind::Table);
        let table = |relation: &Relation| Table {
            name: relation.name.clone(),
            unlogged: false,
            columns: Vec::new(),
            constraints: Vec::new(),
            key: Vec::new(),
            bound: None,
            binary: true,
        };
        tables.map(table).collect()
    }

    fn sorted(relations: &[Relation], keys: &[ForeignKey]) -> (Vec<String>, bool) {
        let mut tables = tables(relations);
        sort(&mut tables, relations, keys);
        let cycle = checked_too_early(&tables, relations, keys).is_some();
        (
            tables.into_iter().map(|table| table.name.name).collect(),
            cycle,
        )
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let relations = [1, 2, 3].map(|oid| relation(oid, Kind::Table, None));
        let (order, cycle) = sorted(&relations, &[key(1, 2), key(2, 3), key(3, 3)]);
        assert_eq!(
            (order, cycle),
            (
                vec!["t3".to_owned(), "t2".to_owned(), "t1".to_owned()],
                false
            )
        );
    }

    #[test]
    fn a_cycle_is_told() {
        let relations = [1, 2].map(|oid| relation(oid, Kind::Table, None));
        assert!(sorted(&relations, &[key(1, 2), key(2, 1)]).1);
        let deferrable = ForeignKey {
            deferrable: true,
            ..key(1, 2)
        };
        assert!(!sorted(&relations, &[deferrable, key(2, 1)]).1);
    }

    #[test]
    fn a_partitioned_table_is_its_partitions() {
        let relations = [
            relation(1, Kind::Table, None),
            relation(2, Kind::Partitioned, None),
            relation(3, Kind::Table, Some(2)),
        ];
        assert_eq!(sorted(&relations, &[key(1, 2)]).0, ["t3", "t1"]);
    }
}
