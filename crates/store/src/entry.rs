//! One file, directory or link of a part, and what makes many of them one tree.
//!
//! Names are checked when written and again when read, so that nothing unpacked from a part can land outside the directory
//! it is unpacked into: neither by its own name nor through a link that the part brings. What is in a file is not known here.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The longest path of an entry, in bytes: what Linux allows.
const PATH_BYTES_MAX: usize = 4_096;

/// One file, directory or symbolic link of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its relative path, `/` between names.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Unix permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds since 1970, where the provider keeps that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<i64>,
    /// Owner and group, where the provider keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
    /// Which of several states of the process it belongs to.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub section: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EntryKind {
    /// A file.
    File {
        /// Its size in bytes; filled in by the writer.
        bytes: u64,
        /// BLAKE3 of its content, hexadecimal; filled in by the writer.
        hash: String,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to, as it stood there.
        target: String,
    },
}

impl Entry {
    /// A file whose content follows.
    #[must_use]
    pub fn file(path: impl Into<String>) -> Self {
        Self::new(
            path,
            EntryKind::File {
                bytes: 0,
                hash: String::new(),
            },
            0o644,
        )
    }

    /// A directory.
    #[must_use]
    pub fn directory(path: impl Into<String>) -> Self {
        Self::new(path, EntryKind::Directory, 0o755)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::new(
            path,
            EntryKind::Symlink {
                target: target.into(),
            },
            0o777,
        )
    }

    fn new(path: impl Into<String>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            modified_ns: None,
            owner: None,
            section: 0,
        }
    }

    /// True for a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }

    /// The size in bytes; 0 for what is no file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.kind {
            EntryKind::File { bytes, .. } => bytes,
            EntryKind::Directory | EntryKind::Symlink { .. } => 0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let bad = |reason: &str| {
            Err(StoreError::BadEntry {
                path: self.path.chars().take(200).collect(),
                reason: reason.to_owned(),
            })
        };
        if self.path.len() > PATH_BYTES_MAX {
            return bad("the path is too long");
        }
        if self.path.contains('\0') {
            return bad("the path holds a NUL");
        }
        // Comparing with the normal form also refuses `a//b`, `./a` and `a/`.
        let normal = Path::new(&self.path)
            .components()
            .all(|name| matches!(name, Component::Normal(_)));
        if self.path.is_empty()
            || !normal
            || self
                .path
                .split('/')
                .any(|name| matches!(name, "" | "." | ".."))
        {
            return bad("the path must be relative and plain");
        }
        Ok(())
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Why `entries` are no tree, in words: one is there twice, or lies below one that is no directory, and would land where a
/// link points to.
pub(crate) fn tree_fault<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Option<String> {
    let mut places: BTreeSet<(u32, &str)> = BTreeSet::new();
    for entry in entries.clone() {
        if !places.insert((entry.section, &entry.path)) {
            return Some(format!("entry {:?} is there twice", entry.path));
        }
    }
    let mut leaves = entries.filter(|entry| entry.kind != EntryKind::Directory);
    leaves.find_map(|leaf| {
        let below = format!("{}/", leaf.path);
        let (section, next) = places.range((leaf.section, below.as_str())..).next()?;
        let is_below = *section == leaf.section && next.starts_with(&below);
        is_below.then(|| {
            format!(
                "entry {next:?} lies below {:?}, which is no directory",
                leaf.path
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_unpacked_below_a_link_or_in_two_ways() {
        let fault = |entries: &[Entry]| tree_fault(entries.iter());
        let link = || Entry::symlink("a", "/etc");
        for entries in [
            vec![link(), Entry::file("a/passwd")],
            vec![Entry::file("a/b/passwd"), Entry::file("a-b"), link()],
            vec![Entry::file("a"), Entry::directory("a/b")],
            vec![link(), Entry::directory("a")],
            vec![Entry::file("a"), Entry::file("a")],
        ] {
            assert!(fault(&entries).is_some(), "{entries:?}");
        }
        let beside = Entry {
            section: 1,
            ..Entry::file("a/passwd")
        };
        assert_eq!(
            fault(&[link(), beside]),
            None,
            "each section is a tree of its own"
        );
        let plain = [
            Entry::directory("d"),
            Entry::file("d/f"),
            Entry::file("x/y"),
            Entry::file("x-y"),
            link(),
        ];
        assert_eq!(fault(&plain), None);
    }

    #[test]
    fn no_entry_can_be_unpacked_outside_its_directory() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a\0b",
        ] {
            assert!(Entry::file(bad).check().is_err(), "{bad:?}");
        }
        for good in ["a", "a/b.sst", ".hidden", "with space/ü", "a\\b", "..a"] {
            assert!(Entry::file(good).check().is_ok(), "{good:?}");
        }
    }
}
