//! A directory as a store: create-new, fsync, link; never a half-written file under an object's name.
//!
//! An object is written under a hidden name, made durable, and then linked to its own name, which fails when that
//! exists: the conditional create. After a crash there is the whole object or none, and at most a hidden file that the
//! next opening removes. The directory must be on one file system that has hard links and must be shared by all who
//! use the store.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task;

use crate::{Created, Key, ObjectMeta, Objects, StoreError};

/// Where objects are written before they get their names. Keys never start with a dot, so it is no object.
const SCRATCH: &str = ".writing";
/// A scratch file older than this belongs to no running writer: a single object is written in seconds.
const SCRATCH_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a directory may vanish under a writer before that is an error: deletions beside it are rare.
const LINK_ATTEMPTS_MAX: u32 = 100;

/// Objects as files below a root.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Opens `root`, making it when it does not exist, and removes what writers that died long ago left behind.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] when it cannot be made or is no directory.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self { root: root.into() };
        this.clone()
            .blocking("open", String::new(), move |root| {
                let scratch = root.join(SCRATCH);
                create_directories(&scratch)?;
                remove_stale(&scratch);
                Ok(())
            })
            .await?;
        Ok(this)
    }

    async fn blocking<T: Send + 'static>(
        self,
        operation: &'static str,
        key: String,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.describe();
        let done = task::spawn_blocking(move || work(&self.root)).await;
        let result = done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        result.map_err(|error| translate(&error, store, operation, key))
    }
}

#[async_trait]
impl Objects for Directory {
    fn describe(&self) -> String {
        format!("directory {}", self.root.display())
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        let path = PathBuf::from(key.as_str());
        self.clone()
            .blocking("create", key.to_string(), move |root| {
                create(root, &path, &bytes)
            })
            .await
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        match self.put_new(key, bytes.clone()).await? {
            Created::Created => Ok(()),
            Created::AlreadyExists
                if self
                    .get(key, bytes.len() as u64)
                    .await
                    .is_ok_and(|found| found == bytes) =>
            {
                Ok(())
            }
            Created::AlreadyExists => Err(StoreError::Damaged {
                key: key.to_string(),
                detail: "it exists with other content than its name says".to_owned(),
            }),
        }
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        let path = PathBuf::from(key.as_str());
        let what = format!("object {key}");
        let read = self.clone().blocking("read", key.to_string(), move |root| {
            let path = root.join(path);
            match fs::metadata(&path)?.len() {
                found if found > bytes_max => Ok(Err(found)),
                _ => fs::read(&path).map(Ok),
            }
        });
        match read.await? {
            Ok(bytes) => Ok(bytes.into()),
            Err(found) => Err(StoreError::TooLarge {
                what,
                found,
                limit: bytes_max,
            }),
        }
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let path = PathBuf::from(key.as_str());
        let read = self.clone().blocking("read", key.to_string(), move |root| {
            let file = fs::File::open(root.join(path))?;
            let bytes = file.metadata()?.len();
            // The length comes from a document; memory is taken only for what is really there.
            if offset.checked_add(len).is_none_or(|end| end > bytes) {
                return Ok(Err(bytes));
            }
            let len = usize::try_from(len).map_err(io::Error::other)?;
            let mut buffer = vec![0; len];
            file.read_exact_at(&mut buffer, offset)?;
            Ok(Ok(buffer))
        });
        match read.await? {
            Ok(buffer) => Ok(buffer.into()),
            Err(bytes) => Err(StoreError::Damaged {
                key: key.to_string(),
                detail: format!(
                    "it is truncated: bytes {offset} to {} are needed, it has {bytes}",
                    offset.saturating_add(len)
                ),
            }),
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let object = key.clone();
        let head = self
            .clone()
            .blocking("look at", key.to_string(), move |root| {
                meta(object.clone(), &fs::metadata(root.join(object.as_str()))?)
            });
        match head.await {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let start = prefix.trim_end_matches('/').to_owned();
        if !start.is_empty() {
            Key::new(start.as_str())?;
        }
        self.clone()
            .blocking("list", prefix.to_owned(), move |root| {
                let mut found = Vec::new();
                walk(root, &start, &mut found)?;
                found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                Ok(found)
            })
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = PathBuf::from(key.as_str());
        let deleted = self
            .clone()
            .blocking("delete", key.to_string(), move |root| {
                let path = root.join(path);
                fs::remove_file(&path)?;
                remove_empty_parents(root, &path);
                Ok(())
            });
        match deleted.await {
            Err(StoreError::Missing { .. }) => Ok(()),
            other => other,
        }
    }
}

fn create(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<Created> {
    let target = root.join(path);
    if target.try_exists()? {
        return Ok(Created::AlreadyExists);
    }
    let scratch = root
        .join(SCRATCH)
        .join(uuid::Uuid::new_v4().simple().to_string());
    let written = write_durably(&scratch, bytes).and_then(|()| link(&scratch, &target));
    // The object has its own name now, or the write failed: either way the scratch name has no use.
    let removed = fs::remove_file(&scratch);
    let created = written?;
    removed?;
    Ok(created)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

fn link(scratch: &Path, target: &Path) -> io::Result<Created> {
    let parent = target.parent().expect("an object's path is below the root");
    let mut attempts = LINK_ATTEMPTS_MAX;
    loop {
        attempts -= 1;
        match create_directories(parent).and_then(|()| fs::hard_link(scratch, target)) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Created::AlreadyExists);
            }
            // A deletion beside us took the directory away while it was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
    sync_directory(parent)?;
    Ok(Created::Created)
}

/// Makes `path` and what is missing above it, durably.
fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directories(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(parent.unwrap_or(Path::new("."))),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn remove_stale(scratch: &Path) {
    let Ok(entries) = fs::read_dir(scratch) else {
        return;
    };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age > SCRATCH_AGE_MAX) {
            // Best effort: it is in nobody's way, and a read-only store is told by the probe.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Empty directories mean nothing; they only cost listings.
fn remove_empty_parents(root: &Path, path: &Path) {
    let parents = path
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != root);
    for parent in parents {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

fn walk(root: &Path, below: &str, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        // Scratch files and whatever else a person put here are not objects.
        let Ok(key) = Key::new(path) else { continue };
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => walk(root, key.as_str(), found)?,
            Ok(data) if data.is_file() => found.push(meta(key, &data)?),
            Ok(_) => {}
            // Deleted since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn meta(key: Key, data: &fs::Metadata) -> io::Result<ObjectMeta> {
    Ok(ObjectMeta {
        key,
        bytes: data.len(),
        modified: data.modified()?,
    })
}

fn translate(error: &io::Error, store: String, operation: &'static str, key: String) -> StoreError {
    use io::ErrorKind as Kind;
    let detail = error.to_string();
    match error.kind() {
        Kind::NotFound if operation != "open" => StoreError::Missing { key },
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            StoreError::Full { store, detail }
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem if operation != "read" => {
            StoreError::NotWritable { store, detail }
        }
        _ if operation == "open" => StoreError::NotWritable { store, detail },
        _ => StoreError::Backend {
            store,
            operation,
            key,
            detail,
        },
    }
}
