//! `cutline token`: makes tokens.
//!
//! A token is made here and shown once; the admin API's list gets its hash only. Nothing is asked of an admin API, and no list is
//! changed: who may do what is a person's decision, in a file of theirs.

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{failure::Failure, screen::Screen};

/// So that a token that turns up somewhere is known for what it is.
const PREFIX: &str = "cutline_";
/// Random bytes in a token: nobody guesses that many.
const RANDOM_BYTES: usize = 32;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a token, and the entry of the admin API's list that lets its bearer in
    #[command(
        after_long_help = "Examples:\n  cutline token new --name anna --role operator\n  cutline token new --name \"orders' sidecars\" --role sidecar --service orders"
    )]
    New {
        /// Whose it is, as the audit log will say
        #[arg(long)]
        name: String,
        /// What its bearer may do
        #[arg(long)]
        role: Role,
        /// Of a sidecar: the one service that it may be
        #[arg(long)]
        service: Option<String>,
    },
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look
    Viewer,
    /// Take, verify and end checkpoints, and set the schedule
    Operator,
    /// Put services back, delete checkpoints and evict sidecars
    Admin,
    /// Be a sidecar, and nothing else
    Sidecar,
}

#[derive(Debug, Serialize)]
struct Made {
    token: String,
    entry: Entry,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    sha256: String,
}

/// Runs the command.
///
/// # Errors
/// When what is asked for means nothing, or stdout takes no more.
pub fn run(screen: &Screen, verb: Verb) -> Result<(), Failure> {
    let Verb::New {
        name,
        role,
        service,
    } = verb;
    if service.is_some() && role != Role::Sidecar {
        let words = "--service goes with --role sidecar: people are of no service";
        return Err(Failure::Usage(words.to_owned()));
    }
    let made = make(name, role, service);
    screen.show_line(&made, &format!("token  {}", made.token))?;
    if !screen.is_json() {
        let entry = serde_json::to_string(&made.entry).map_err(std::io::Error::from)?;
        screen.show_line(&made, &format!("entry  {entry}"))?;
        screen.note(
            "The token is shown this once. Its entry goes into the list that the admin API has by --tokens: {\"tokens\": [ENTRY, ...]}",
        );
    }
    Ok(())
}

fn make(name: String, role: Role, service: Option<String>) -> Made {
    let token = format!("{PREFIX}{}", hex(&rand::random::<[u8; RANDOM_BYTES]>()));
    let sha256 = hex(&Sha256::digest(token.as_bytes()));
    Made {
        token,
        entry: Entry {
            name,
            role,
            service,
            sha256,
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike_and_the_entry_has_the_hash_alone() {
        let made = || make("anna".into(), Role::Viewer, None);
        let (one, other) = (made(), made());
        assert_ne!(one.token, other.token);
        assert_eq!(one.token.len(), PREFIX.len() + 2 * RANDOM_BYTES);
        let entry = serde_json::to_string(&one.entry).unwrap();
        assert!(
            !entry.contains(&one.token) && !entry.contains("service"),
            "{entry}"
        );
        // printf %s sesame | sha256sum
        let sesame = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
        assert_eq!(hex(&Sha256::digest(b"sesame")), sesame);
    }
}
