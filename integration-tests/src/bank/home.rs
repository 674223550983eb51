//! Where the state of both banks is: a directory of files each, or bank A's in PostgreSQL and bank B's in Redis.
//!
//! It knows how each place is named to a bank and to a sidecar, and does to it what people do: spoil it, copy it, put the copy back. What is
//! in it, it knows only as far as nonsense has to.

use std::path::{Path, PathBuf};

use super::{databases::Databases, spoil::spoil_files};
use crate::run::Run;

/// Where the state of both banks is.
#[derive(Clone, Debug)]
pub enum Home {
    /// A directory for each bank in this one.
    Files(PathBuf),
    /// PostgreSQL and Redis.
    Databases(Databases),
}

/// A copy of the state of both banks, taken one after the other.
#[derive(Debug)]
pub enum HomeCopy {
    /// Directories: the bank's, and the copy.
    Files(Vec<(PathBuf, PathBuf)>),
    /// Beside the original, in the same databases.
    Databases(Databases),
}

impl Home {
    /// What a bank is told with `--state`.
    #[must_use]
    pub fn place(&self, bank: &str) -> String {
        match self {
            Self::Files(_) => self.directory(bank).display().to_string(),
            Self::Databases(databases) => databases.place(bank),
        }
    }

    /// What the sidecar of an instance is told with `--state`.
    #[must_use]
    pub fn spec(&self, bank: &str) -> String {
        match self {
            Self::Files(_) => format!("dir:{}?scope=service", self.directory(bank).display()),
            Self::Databases(databases) => databases.spec(bank),
        }
    }

    /// The directory of a bank's files.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn directory(&self, bank: &str) -> PathBuf {
        match self {
            Self::Files(directory) => directory.join(format!("bank-{bank}")),
            Self::Databases(_) => panic!("the state of bank {bank} is in no directory"),
        }
    }

    /// Whether a bank has written anything yet.
    pub async fn has_state(&self, bank: &str) -> bool {
        match self {
            Self::Files(_) => {
                std::fs::read_dir(self.directory(bank)).is_ok_and(|files| files.count() > 0)
            }
            Self::Databases(databases) => databases.has_state(bank).await,
        }
    }

    /// Sets every balance of both banks to nonsense, and insists until it has stuck. Tells what was done.
    ///
    /// # Panics
    /// When a place cannot be read or written, or the nonsense does not stick.
    pub async fn spoil(&self) -> String {
        match self {
            Self::Files(_) => {
                let directories = super::BANKS.map(|bank| self.directory(bank));
                let spoiling = tokio::task::spawn_blocking(move || spoil_files(&directories));
                let files = spoiling.await.expect("the script ends well");
                format!("every balance in {files} files of both banks")
            }
            Self::Databases(databases) => {
                databases.spoil().await;
                "every balance in PostgreSQL and in Redis".into()
            }
        }
    }

    /// Copies the state of one bank after the other, as it is at that moment.
    ///
    /// # Panics
    /// When a place cannot be read.
    pub async fn copy(&self) -> HomeCopy {
        match self {
            Self::Files(_) => {
                let copy = Run::this().part("naive");
                let ways = super::BANKS.map(|bank| (self.directory(bank), copy.join(bank)));
                ways.iter().for_each(|(from, to)| copy_files(from, to));
                HomeCopy::Files(ways.into())
            }
            Self::Databases(databases) => {
                databases.copy().await;
                HomeCopy::Databases(databases.clone())
            }
        }
    }
}

impl HomeCopy {
    /// Makes the state of both banks, who are stopped, what it was when it was copied.
    ///
    /// # Panics
    /// When a place cannot be written.
    pub async fn put_back(&self) {
        match self {
            Self::Files(ways) => ways.iter().for_each(|(from, copy)| {
                std::fs::remove_dir_all(from)
                    .expect("a stopped service's directory can be emptied");
                copy_files(copy, from);
            }),
            Self::Databases(databases) => databases.put_back().await,
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory for a copy");
    for entry in std::fs::read_dir(from)
        .expect("a directory of state")
        .flatten()
    {
        // A file that was renamed meanwhile was a temporary one.
        let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
    }
}
