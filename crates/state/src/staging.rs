//! A place for a directory's copy, on the same file system, that is never taken for part of the directory.
//!
//! It stands beside the directory, or inside it where the directory is a mount point or its parent cannot be written.
//! It is removed when dropped; what a process that died left behind is removed at the next start.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::StateError;

/// How every staging directory's name begins.
const PREFIX: &str = ".cutline-staging-";
/// The random end of a name.
const ID_DIGITS: usize = 32;

/// A directory of our own.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
}

impl Staging {
    pub(crate) fn create(root: &Path) -> Result<Self, StateError> {
        let name = format!(
            "{PREFIX}{}.{}",
            name_of(root),
            uuid::Uuid::new_v4().simple()
        );
        let beside = parent_of(root)
            .filter(|parent| same_file_system(parent, root))
            .map(|parent| parent.join(&name));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        if let Some(path) = beside.filter(|path| builder.create(path).is_ok()) {
            return Ok(Self { path });
        }
        let path = root.join(&name);
        builder
            .create(&path)
            .map_err(StateError::io("make staging directory", &path))?;
        Ok(Self { path })
    }

    /// Where the file that stands `index`-th in a list is staged.
    pub(crate) fn file(&self, index: usize) -> PathBuf {
        self.path.join(index.to_string())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a staging directory stays until the next start");
        }
    }
}

pub(crate) fn is_staging(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Removes what runs before this one left behind for `root`.
pub(crate) fn remove_stale(root: &Path) -> Result<(), StateError> {
    let inside = list(root)?
        .into_iter()
        .filter(|path| path.file_name().is_some_and(is_staging));
    let beside = parent_of(root).map(list).transpose()?.unwrap_or_default();
    let own = beside.into_iter().filter(|path| {
        path.file_name()
            .is_some_and(|name| is_staging_of(name, root))
    });
    for path in inside.chain(own) {
        fs::remove_dir_all(&path).map_err(StateError::io("remove staging directory", &path))?;
    }
    Ok(())
}

fn is_staging_of(name: &OsStr, root: &Path) -> bool {
    let rest = name
        .to_str()
        .and_then(|name| name.strip_prefix(PREFIX))
        .and_then(|rest| rest.strip_prefix(&*name_of(root)));
    let id = rest.and_then(|rest| rest.strip_prefix('.'));
    id.is_some_and(|id| id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The directory's name, short enough that a name made of it is one the file system takes.
fn name_of(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    match name.len() {
        0..=150 => name.into_owned(),
        _ => blake3::hash(name.as_bytes()).to_hex().to_string(),
    }
}

fn parent_of(root: &Path) -> Option<&Path> {
    root.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
}

fn same_file_system(a: &Path, b: &Path) -> bool {
    matches!((fs::metadata(a), fs::metadata(b)), (Ok(a), Ok(b)) if a.dev() == b.dev())
}

/// The paths in a directory; none where it is not there or may not be read.
fn list(directory: &Path) -> Result<Vec<PathBuf>, StateError> {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect()
            })
            .map_err(StateError::io("read directory", directory)),
    }
}
