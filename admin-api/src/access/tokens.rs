//! The list of tokens: a file that names who has one, with which role, by the token's SHA-256.
//!
//! Tokens themselves are never in it, so that who reads it cannot use them. They are long and random, as `cutline token new`
//! makes them: a fast hash of those cannot be turned back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Caller, Role};

/// The largest list, in bytes: some thousand tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// Why a list of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the tokens in {path} cannot be used: {reason}")]
pub struct TokensError {
    path: PathBuf,
    reason: String,
}

/// Who is behind which token.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tokens(BTreeMap<String, Caller>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    /// Of a sidecar: the one service that it may be.
    service: Option<String>,
    sha256: String,
}

impl Tokens {
    /// Reads the list at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or means nothing.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let text = || {
            let mut text = String::new();
            let file = std::fs::File::open(path)?;
            file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        let text = text().map_err(|error| error.to_string());
        text.and_then(|text| Self::parse(&text))
            .map_err(|reason| TokensError {
                path: path.to_owned(),
                reason,
            })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
        }
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if file.tokens.is_empty() {
            return Err("it lists none; make one with `cutline token new`".to_owned());
        }
        let (mut tokens, mut names) = (BTreeMap::new(), BTreeSet::new());
        for entry in file.tokens {
            let name = entry.name.clone();
            let (hash, caller) = entry.check()?;
            if !names.insert(name.clone()) {
                return Err(format!("{name:?} is listed twice; give each a name"));
            }
            if tokens.insert(hash, caller).is_some() {
                return Err(format!("{name:?} has the token of another"));
            }
        }
        Ok(Self(tokens))
    }

    /// Who has `token`.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<&Caller> {
        self.0.get(&hash(token))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Entry {
    fn check(self) -> Result<(String, Caller), String> {
        let name = self.name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(format!("{name:?} is no name"));
        }
        let digits = self.sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
        if self.sha256.len() != HASH_DIGITS || !digits {
            return Err(format!(
                "{name:?} has no SHA-256 of {HASH_DIGITS} hexadecimal digits"
            ));
        }
        if self.service.is_some() && self.role != Role::Sidecar {
            return Err(format!("{name:?} has a service, which only a sidecar has"));
        }
        let caller = Caller {
            name,
            role: Some(self.role),
            service: self.service,
        };
        Ok((self.sha256.to_ascii_lowercase(), caller))
    }
}

fn hash(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf %s sesame | sha256sum
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";

    fn parse(entries: &str) -> Result<Tokens, String> {
        Tokens::parse(&format!("{{\"tokens\": [{entries}]}}"))
    }

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let entry = format!(r#"{{"name": "anna", "role": "operator", "sha256": "{SESAME}"}}"#);
        let tokens = parse(&entry).unwrap();
        let anna = tokens.find("sesame").unwrap();
        assert_eq!(
            (anna.name.as_str(), anna.role),
            ("anna", Some(Role::Operator))
        );
        for other in ["", "Sesame", "sesame ", SESAME] {
            assert_eq!(tokens.find(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_list_that_means_nothing_is_refused_and_says_why() {
        let entry = |name: &str, role: &str, more: &str, hash: &str| {
            format!(r#"{{"name": "{name}", "role": "{role}"{more}, "sha256": "{hash}"}}"#)
        };
        let other = "0".repeat(HASH_DIGITS);
        let twice = [
            entry("a", "viewer", "", SESAME),
            entry("a", "viewer", "", &other),
        ];
        let same = [
            entry("a", "viewer", "", SESAME),
            entry("b", "admin", "", SESAME),
        ];
        for (entries, part) in [
            (String::new(), "cutline token new"),
            (entry("a", "root", "", SESAME), "root"),
            (entry("a", "viewer", "", "sesame"), "SHA-256"),
            (entry("", "viewer", "", SESAME), "no name"),
            (
                entry("a", "viewer", r#", "service": "x""#, SESAME),
                "only a sidecar",
            ),
            (
                entry("a", "viewer", r#", "token": "x""#, SESAME),
                "unknown field",
            ),
            (twice.join(","), "twice"),
            (same.join(","), "token of another"),
        ] {
            let error = parse(&entries).unwrap_err();
            assert!(error.contains(part), "{entries}: {error}");
        }
        let missing = Tokens::read(Path::new("/nowhere/tokens.json"));
        assert!(
            missing
                .unwrap_err()
                .to_string()
                .contains("/nowhere/tokens.json")
        );
    }
}
