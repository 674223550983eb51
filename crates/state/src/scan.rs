//! What is in a directory: every file, directory and link below it, and enough about each to see a change.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use cutline_store::{Entry, PART_ENTRIES_MAX};

use crate::{StateError, staging};

/// Something found below a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path relative to the directory.
    pub(crate) path: PathBuf,
    pub(crate) kind: FoundKind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified_ns: i64,
    pub(crate) inode: u64,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundKind {
    File,
    Directory,
    Symlink {
        target: PathBuf,
    },
    /// Nothing that can be kept: a socket, a pipe, a device.
    Special(&'static str),
}

impl Found {
    /// It as an entry of a part, or why it cannot be one.
    pub(crate) fn entry(&self, root: &Path) -> Result<Entry, StateError> {
        let refused = |reason: &str| StateError::Refused {
            path: root.join(&self.path).display().to_string(),
            reason: reason.to_owned(),
        };
        let path = self
            .path
            .to_str()
            .ok_or_else(|| refused("its name is not UTF-8; rename it or keep it elsewhere"))?;
        let entry = match &self.kind {
            FoundKind::File => Entry::file(path),
            FoundKind::Directory => Entry::directory(path),
            FoundKind::Symlink { target } => {
                let target = target
                    .to_str()
                    .ok_or_else(|| refused("it points to a name that is not UTF-8"))?;
                Entry::symlink(path, target)
            }
            FoundKind::Special(what) => {
                return Err(refused(&format!(
                    "{what} cannot be kept; keep it elsewhere"
                )));
            }
        };
        Ok(Entry {
            mode: self.mode,
            modified_ns: Some(self.modified_ns),
            owner: Some(self.owner),
            ..entry
        })
    }

    pub(crate) fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }
}

/// Everything below `root`, parents before what they hold. Staging directories of ours are left out.
pub(crate) fn scan(root: &Path) -> Result<Vec<Found>, StateError> {
    let mut found = Vec::new();
    let mut unread = vec![PathBuf::new()];
    while let Some(directory) = unread.pop() {
        let path = root.join(&directory);
        let entries = fs::read_dir(&path).map_err(StateError::io("read directory", &path))?;
        for entry in entries {
            let entry = entry.map_err(StateError::io("read directory", &path))?;
            if directory.as_os_str().is_empty() && staging::is_staging(&entry.file_name()) {
                continue;
            }
            let item = look(root, directory.join(entry.file_name()))?;
            if item.kind == FoundKind::Directory {
                unread.push(item.path.clone());
            }
            if found.len() >= PART_ENTRIES_MAX {
                let what = format!("the number of files in {}", root.display());
                return Err(StateError::TooLarge {
                    what,
                    limit: PART_ENTRIES_MAX as u64,
                });
            }
            found.push(item);
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn look(root: &Path, path: PathBuf) -> Result<Found, StateError> {
    let whole = root.join(&path);
    let data = fs::symlink_metadata(&whole).map_err(StateError::io("look at", &whole))?;
    let of = data.file_type();
    let kind = if of.is_file() {
        FoundKind::File
    } else if of.is_dir() {
        FoundKind::Directory
    } else if of.is_symlink() {
        FoundKind::Symlink {
            target: fs::read_link(&whole).map_err(StateError::io("read link", &whole))?,
        }
    } else if of.is_socket() {
        FoundKind::Special("a socket")
    } else if of.is_fifo() {
        FoundKind::Special("a pipe")
    } else {
        FoundKind::Special("a device")
    };
    Ok(Found {
        path,
        kind,
        mode: data.mode() & 0o7777,
        owner: (data.uid(), data.gid()),
        bytes: data.len(),
        modified_ns: data
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(data.mtime_nsec()),
        inode: data.ino(),
    })
}
