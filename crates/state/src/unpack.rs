//! Putting a directory back: everything is unpacked and verified beside it, then put in place file by file.
//!
//! The directory stays the same one, since applications and mounts hold it, and a file that is changed stays the same
//! file, since an application may hold that open too; only files that are linked elsewhere, or that the engine never
//! changes, are replaced. Broken off in the middle, the same call repairs it: each step takes the directory nearer to
//! what was recorded, wherever it stood. At the end all of it is read again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, FileTimes, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use cutline_store::{Entry, EntryKind, PartReader};
use tokio::io::AsyncWriteExt;

use crate::{
    Pattern, StateError,
    directory::blocking,
    scan::{Found, FoundKind, scan},
    staging::Staging,
};

/// Replaces what is in `root` by what is in `part`.
pub(crate) async fn restore(
    root: &Path,
    immutable: &Arc<[Pattern]>,
    part: &mut PartReader,
) -> Result<(), StateError> {
    let root = root.to_owned();
    let made = root.clone();
    let staging = blocking(move || {
        fs::create_dir_all(&made).map_err(StateError::io("make", &made))?;
        Staging::create(&made)
    })
    .await?;
    let entries = unpack(&staging, part).await?;
    let immutable = Arc::clone(immutable);
    blocking(move || {
        Placing {
            root,
            immutable,
            staging,
            entries,
        }
        .run()
    })
    .await
}

async fn unpack(staging: &Staging, part: &mut PartReader) -> Result<Vec<Entry>, StateError> {
    let mut entries = Vec::new();
    while let Some(entry) = part.next_entry().await? {
        if entry.is_file() {
            let path = staging.file(entries.len());
            let mut file = tokio::fs::File::create_new(&path)
                .await
                .map_err(StateError::io("unpack", &path))?;
            while let Some(bytes) = part.read().await? {
                file.write_all(&bytes)
                    .await
                    .map_err(StateError::io("unpack", &path))?;
            }
            file.flush()
                .await
                .map_err(StateError::io("unpack", &path))?;
        }
        entries.push(entry);
    }
    Ok(entries)
}

struct Placing {
    root: PathBuf,
    immutable: Arc<[Pattern]>,
    staging: Staging,
    entries: Vec<Entry>,
}

impl Placing {
    fn run(self) -> Result<(), StateError> {
        self.remove_extra()?;
        for (index, entry) in self.entries.iter().enumerate() {
            let path = self.root.join(&entry.path);
            match &entry.kind {
                EntryKind::Directory => make_directory(&path)?,
                EntryKind::Symlink { target } => make_symlink(target, &path)?,
                EntryKind::File { hash, .. } => {
                    self.place(entry, hash, &self.staging.file(index), &path)?
                }
            }
        }
        // What a directory holds changes its times, so deeper ones come first.
        for entry in self.entries.iter().rev() {
            attributes(entry, &self.root.join(&entry.path))?;
        }
        self.sync_directories()?;
        self.verify()
    }

    /// Removes what was not recorded, or was recorded as something else.
    fn remove_extra(&self) -> Result<(), StateError> {
        let wanted: BTreeMap<&Path, &EntryKind> = self
            .entries
            .iter()
            .map(|entry| (Path::new(&entry.path), &entry.kind))
            .collect();
        for found in scan(&self.root)?.iter().rev() {
            let stays = wanted
                .get(found.path.as_path())
                .is_some_and(|wanted| is_kind(found, wanted));
            if stays {
                continue;
            }
            let path = self.root.join(&found.path);
            let removed = match found.kind {
                FoundKind::Directory => fs::remove_dir(&path),
                _ => fs::remove_file(&path),
            };
            removed.map_err(StateError::io("remove", &path))?;
        }
        Ok(())
    }

    fn place(
        &self,
        entry: &Entry,
        hash: &str,
        staged: &Path,
        path: &Path,
    ) -> Result<(), StateError> {
        let current = fs::symlink_metadata(path).ok();
        if current
            .as_ref()
            .is_some_and(|data| data.len() == entry.bytes())
            && hash_of(path)? == hash
        {
            return Ok(());
        }
        // The inode stays, so that an application that holds the file open sees what was restored. A file with another
        // name elsewhere, such as in an engine's own checkpoint, must not change there.
        let shared = current.as_ref().is_none_or(|data| data.nlink() > 1);
        if !shared && !self.is_immutable(path) && overwrite(staged, path).is_ok() {
            return Ok(());
        }
        let synced = fs::File::open(staged).and_then(|file| file.sync_all());
        synced
            .and_then(|()| fs::rename(staged, path))
            .map_err(StateError::io("put in place", path))
    }

    fn is_immutable(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| self.immutable.iter().any(|pattern| pattern.matches(name)))
    }

    fn sync_directories(&self) -> Result<(), StateError> {
        let directories = self
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Directory);
        let paths = directories
            .map(|entry| self.root.join(&entry.path))
            .chain([self.root.clone()]);
        for path in paths {
            fs::File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(StateError::io("sync", &path))?;
        }
        Ok(())
    }

    /// Reads everything again: what is on the disk now must be what was recorded, and nothing else.
    fn verify(&self) -> Result<(), StateError> {
        let differs = |path: &Path, detail: &str| {
            Err(StateError::NotRestored {
                path: self.root.join(path).display().to_string(),
                detail: detail.to_owned(),
            })
        };
        let mut missing: BTreeSet<&Path> = self
            .entries
            .iter()
            .map(|entry| Path::new(&entry.path))
            .collect();
        let found = scan(&self.root)?;
        for found in &found {
            if !missing.remove(found.path.as_path()) {
                return differs(&found.path, "it was not recorded");
            }
        }
        if let Some(path) = missing.first() {
            return differs(path, "it is missing");
        }
        for entry in &self.entries {
            let EntryKind::File { hash, .. } = &entry.kind else {
                continue;
            };
            if hash_of(&self.root.join(&entry.path))? != *hash {
                return differs(Path::new(&entry.path), "its content differs");
            }
        }
        Ok(())
    }
}

fn is_kind(found: &Found, wanted: &EntryKind) -> bool {
    match (&found.kind, wanted) {
        (FoundKind::File, EntryKind::File { .. })
        | (FoundKind::Directory, EntryKind::Directory) => true,
        (FoundKind::Symlink { target: found }, EntryKind::Symlink { target }) => {
            found.as_os_str() == target.as_str()
        }
        _ => false,
    }
}

fn make_directory(path: &Path) -> Result<(), StateError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(StateError::io("make", path)),
    }
}

fn make_symlink(target: &str, path: &Path) -> Result<(), StateError> {
    match symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(StateError::io("link", path)),
    }
}

fn overwrite(staged: &Path, path: &Path) -> io::Result<()> {
    let mut source = fs::File::open(staged)?;
    let mut target = fs::OpenOptions::new().write(true).open(path)?;
    let bytes = io::copy(&mut source, &mut target)?;
    // Shortened only now: a mapping that an application holds stays backed all the time.
    target.set_len(bytes)?;
    target.sync_all()
}

fn attributes(entry: &Entry, path: &Path) -> Result<(), StateError> {
    if matches!(entry.kind, EntryKind::Symlink { .. }) {
        return Ok(());
    }
    let data = fs::metadata(path).map_err(StateError::io("look at", path))?;
    if let Some((user, group)) = entry
        .owner
        .filter(|owner| *owner != (data.uid(), data.gid()))
    {
        // Only root may give files away; another user's restore leaves them to that user.
        match chown(path, Some(user), Some(group)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(StateError::io("give its owner to", path)(error));
            }
            _ => {}
        }
    }
    // After the owner: giving a file away clears its set-user bits.
    fs::set_permissions(path, Permissions::from_mode(entry.mode))
        .map_err(StateError::io("set permissions of", path))?;
    let Some(modified) = entry.modified_ns.and_then(time) else {
        return Ok(());
    };
    let file = fs::File::open(path);
    file.and_then(|file| file.set_times(FileTimes::new().set_modified(modified)))
        .map_err(StateError::io("set time of", path))
}

fn time(modified_ns: i64) -> Option<SystemTime> {
    let distance = Duration::from_nanos(modified_ns.unsigned_abs());
    match modified_ns >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(distance),
        false => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

fn hash_of(path: &Path) -> Result<String, StateError> {
    let read = || {
        let mut file = fs::File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize().to_hex().to_string()),
                read => hasher.update(&buffer[..read]),
            };
        }
    };
    read().map_err(StateError::io("read", path))
}
