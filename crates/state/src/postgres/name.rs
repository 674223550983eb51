//! Names in SQL, and names of tables as people and stores read them.

use serde::{Deserialize, Serialize};

/// A relation's name within its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct RelationName {
    /// Its schema.
    pub(super) schema: String,
    /// Its name there.
    pub(super) name: String,
}

impl RelationName {
    /// As SQL wants it.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// As a part's entry.
    pub(super) fn entry(&self) -> String {
        format!("tables/{}/{}", segment(&self.schema), segment(&self.name))
    }
}

impl std::fmt::Display for RelationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// An identifier, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text constant, whatever is in it.
pub(super) fn literal(text: &str) -> String {
    // The E form reads a backslash the same way whatever standard_conforming_strings says.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Identifiers with commas.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_quotes_early() {
        assert_eq!(
            quoted("a\"; DROP TABLE b; --"),
            "\"a\"\"; DROP TABLE b; --\""
        );
        assert_eq!(literal("it's \\ here"), "E'it''s \\\\ here'");
        let name = RelationName {
            schema: "..".to_owned(),
            name: "a/ü.b".to_owned(),
        };
        assert_eq!(name.entry(), "tables/%2E%2E/a%2F%C3%BC%2Eb");
    }
}
