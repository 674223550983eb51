//! A directory as state: SQLite, RocksDB, any files.
//!
//! While the application is paused, files its engine never changes are hard-linked and all others copied; afterwards
//! that copy is streamed into the store. Whether the directory really stood still is seen by looking at it again. Kept
//! are names, contents, permissions, owners, modification times, empty directories and symbolic links; not kept are
//! extended attributes and the fact that two names are one file. Sockets, pipes and devices are refused.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cutline_model::Guarantee;
use cutline_store::{PartReader, PartWriter};
use tokio::{io::AsyncReadExt, task::spawn_blocking};

use crate::{
    Fixed, Pattern, Provider, StateError,
    scan::{Found, FoundKind, scan},
    several::check_provider,
    staging::{self, Staging},
    unpack,
};

/// How often a directory that changes while it is copied is copied again; an engine's background work ends.
const FIX_ATTEMPTS_MAX: u32 = 3;
/// Two changes closer than this may bear the same modification time: the kernel's tick, at its slowest.
const TICK: Duration = Duration::from_millis(10);
/// Bytes read at a time when the copy is streamed.
const READ_BYTES: usize = 512 * 1024;

/// The provider of `dir:`.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
    immutable: Arc<[Pattern]>,
}

impl Directory {
    /// The state in `root`. Files whose name fits one of `immutable` are never changed once they are written.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, immutable: Vec<Pattern>) -> Self {
        Self {
            root: root.into(),
            immutable: immutable.into(),
        }
    }

    fn is_immutable(&self, found: &Found) -> bool {
        found
            .name()
            .to_str()
            .is_some_and(|name| self.immutable.iter().any(|pattern| pattern.matches(name)))
    }

    fn fix_now(&self) -> Result<FixedDirectory, StateError> {
        for _ in 0..FIX_ATTEMPTS_MAX {
            let staging = Staging::create(&self.root)?;
            let before = scan(&self.root)?;
            for found in &before {
                // Refusing comes before copying: it costs the application no pause.
                found.entry(&self.root)?;
            }
            wait_out_tick(&before);
            if self.stage(&before, &staging)? && scan(&self.root)? == before {
                return Ok(FixedDirectory {
                    root: self.root.clone(),
                    found: before,
                    staging: Some(staging),
                });
            }
        }
        let detail = format!("{FIX_ATTEMPTS_MAX} copies in a row");
        Err(StateError::Changed {
            path: self.root.display().to_string(),
            detail,
        })
    }

    /// False when a file vanished meanwhile.
    fn stage(&self, found: &[Found], staging: &Staging) -> Result<bool, StateError> {
        for (index, found) in found
            .iter()
            .enumerate()
            .filter(|(_, found)| found.kind == FoundKind::File)
        {
            let (from, to) = (self.root.join(&found.path), staging.file(index));
            let linked = self.is_immutable(found) && fs::hard_link(&from, &to).is_ok();
            if !linked {
                match copy(&from, &to) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    Err(error) => return Err(StateError::io("copy", &from)(error)),
                }
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Provider for Directory {
    fn name(&self) -> &str {
        "dir"
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Consistent
    }

    async fn probe(&self) -> Result<(), StateError> {
        let root = self.root.clone();
        blocking(move || {
            staging::remove_stale(&root)?;
            // The application may make its directory later than its sidecar starts.
            if root.exists() {
                scan(&root)?
                    .iter()
                    .try_for_each(|found| found.entry(&root).map(|_| ()))
            } else {
                Ok(())
            }
        })
        .await
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        let this = self.clone();
        Ok(Box::new(blocking(move || this.fix_now()).await?))
    }

    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError> {
        check_provider(part, self.name())?;
        unpack::restore(&self.root, &self.immutable, part).await
    }
}

/// A directory as it was.
#[derive(Debug)]
struct FixedDirectory {
    root: PathBuf,
    found: Vec<Found>,
    staging: Option<Staging>,
}

impl FixedDirectory {
    async fn stream(&self, part: &mut PartWriter) -> Result<(), StateError> {
        let staging = self
            .staging
            .as_ref()
            .expect("it is there until this is dropped");
        for (index, found) in self.found.iter().enumerate() {
            part.begin(found.entry(&self.root)?)?;
            if found.kind == FoundKind::File {
                stream_file(&staging.file(index), found, part).await?;
                part.end_file().await?;
            }
        }
        Ok(())
    }
}

impl Drop for FixedDirectory {
    fn drop(&mut self) {
        let Some(staging) = self.staging.take() else {
            return;
        };
        // Removing many files takes a while; a runtime's thread must not wait for it when there are others.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(staging));
        }
    }
}

#[async_trait]
impl Fixed for FixedDirectory {
    async fn copy(mut self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError> {
        let streamed = self.stream(part).await;
        self.discard().await?;
        streamed
    }

    async fn discard(mut self: Box<Self>) -> Result<(), StateError> {
        let staging = self.staging.take();
        blocking(move || {
            drop(staging);
            Ok(())
        })
        .await
    }
}

async fn stream_file(path: &Path, found: &Found, part: &mut PartWriter) -> Result<(), StateError> {
    let mut file = tokio::fs::File::open(path)
        .await
        .map_err(StateError::io("open", path))?;
    file.set_max_buf_size(READ_BYTES);
    let capacity =
        usize::try_from(found.bytes).map_or(READ_BYTES, |bytes| bytes.clamp(1, READ_BYTES));
    let mut buffer = vec![0; capacity];
    let mut bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .await
            .map_err(StateError::io("read", path))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        part.push(&buffer[..read]).await?;
    }
    if bytes == found.bytes {
        return Ok(());
    }
    // A linked file is the application's own: one that changes although it was named immutable must not pass.
    let detail = format!(
        "{} had {} bytes and now has {bytes}",
        found.path.display(),
        found.bytes
    );
    Err(StateError::Changed {
        path: path.display().to_string(),
        detail,
    })
}

/// Copies contents only; the file system shares the blocks where it can.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut target = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(to)?;
    io::copy(&mut source, &mut target).map(|_| ())
}

/// Waits until a change from now on must bear a later modification time than any seen.
fn wait_out_tick(found: &[Found]) {
    let newest = found
        .iter()
        .map(|found| found.modified_ns)
        .max()
        .unwrap_or(0);
    let newest = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(newest).unwrap_or(0));
    if let Ok(age) = SystemTime::now().duration_since(newest) {
        thread::sleep(TICK.saturating_sub(age));
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|stopped| {
        Err(StateError::Io {
            operation: "work on",
            path: "a directory".to_owned(),
            source: io::Error::other(stopped),
        })
    })
}
