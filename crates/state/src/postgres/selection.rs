//! Which tables of a database are the state: by schema, by list, by pattern.
//!
//! A name that is listed must be there; a pattern and a schema take what there is. A partitioned table stands for all of
//! its partitions.

use std::collections::BTreeSet;

use super::name::RelationName;
use crate::glob::Glob;

/// The tables that are the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Only these schemas; all of them when there are none.
    pub(super) schemas: BTreeSet<String>,
    /// Only these tables; all of them when there are none.
    pub(super) tables: Vec<TablePattern>,
}

/// One table or several, as written in `tables=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TablePattern {
    schema: Option<Glob>,
    name: Glob,
}

impl TablePattern {
    /// Reads `name`, `schema.name` or `"Odd.Name"`, each with `*` for any characters.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        let (schema, name) = match &parts[..] {
            [name] => (None, name),
            [schema, name] => (Some(Glob::new(schema)), name),
            _ => return Err(format!("table {text:?} has more dots than schema.table")),
        };
        let name = Glob::new(name);
        Ok(Self { schema, name })
    }

    /// True when `table` is meant. A plain name is looked for in every schema that is selected.
    fn matches(&self, table: &RelationName) -> bool {
        self.name.matches(&table.name)
            && self
                .schema
                .as_ref()
                .is_none_or(|schema| schema.matches(&table.schema))
    }

    fn is_exact(&self) -> bool {
        self.name.is_exact() && self.schema.as_ref().is_none_or(Glob::is_exact)
    }

    fn shown(&self) -> String {
        let schema = self.schema.as_ref().map(|schema| format!("{schema}."));
        format!("{}{}", schema.unwrap_or_default(), self.name)
    }
}

impl Selection {
    /// True when the whole database is the state.
    pub(super) fn is_everything(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// True when `table` is part of the state.
    pub(super) fn takes(&self, table: &RelationName) -> bool {
        self.takes_schema(&table.schema)
            && (self.tables.is_empty() || self.tables.iter().any(|wanted| wanted.matches(table)))
    }

    /// True when a sequence that belongs to no table is part of the state.
    pub(super) fn takes_sequence(&self, schema: &str) -> bool {
        self.tables.is_empty() && self.takes_schema(schema)
    }

    fn takes_schema(&self, schema: &str) -> bool {
        self.schemas.is_empty() || self.schemas.contains(schema)
    }

    /// What was listed and is not among `tables`.
    pub(super) fn missing(&self, tables: &[RelationName]) -> Vec<String> {
        let found = |wanted: &TablePattern| {
            tables
                .iter()
                .any(|table| self.takes_schema(&table.schema) && wanted.matches(table))
        };
        let missing = self
            .tables
            .iter()
            .filter(|wanted| wanted.is_exact() && !found(wanted));
        missing.map(TablePattern::shown).collect()
    }
}

/// Splits at dots outside quotes; what is not quoted is folded to lower case, as SQL does.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut letters = text.trim().chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let part = parts.last_mut().expect("it begins with one part");
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            _ if quoted => part.push(letter),
            _ => part.extend(letter.to_lowercase()),
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        return Err(format!(
            "table {text:?} is no name: use name, schema.name or \"Name\""
        ));
    }
    Ok(parts)
}

/// Splits a list at commas outside quotes.
pub(super) fn split_list(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let items = text.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(schema: &str, name: &str) -> RelationName {
        RelationName {
            schema: schema.to_owned(),
            name: name.to_owned(),
        }
    }

    fn selection(tables: &str) -> Selection {
        let tables = split_list(tables)
            .into_iter()
            .map(|table| TablePattern::parse(table).unwrap());
        Selection {
            tables: tables.collect(),
            ..Selection::default()
        }
    }

    #[test]
    fn tables_are_taken_by_name_schema_and_pattern() {
        for (tables, table, taken) in [
            ("accounts", name("public", "accounts"), true),
            ("Accounts", name("public", "accounts"), true),
            ("\"Accounts\"", name("public", "accounts"), false),
            ("\"Acc,ou.nts\"", name("public", "Acc,ou.nts"), true),
            ("a,b", name("x", "b"), true),
            ("bank.*", name("bank", "anything"), true),
            ("bank.*", name("other", "anything"), false),
            ("acc_*", name("public", "acc_1"), true),
            ("acc_*", name("public", "acc"), false),
        ] {
            assert_eq!(selection(tables).takes(&table), taken, "{tables} {table}");
        }
        for wrong in ["", "a.b.c", "\"a", "a.", ".b"] {
            assert!(TablePattern::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_what_is_listed_can_be_missing() {
        let selection = selection("a,x.b,c_*");
        assert_eq!(selection.missing(&[name("x", "a")]), ["x.b"]);
    }
}
