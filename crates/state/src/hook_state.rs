//! State that the application hands out itself, through its hook.
//!
//! The snapshot must be of the paused moment, so it is taken in full while the application is paused, into a file
//! without a name, and uploaded afterwards. Likewise a part is read and verified in full before the application is given
//! a byte of it.

use std::{fs, io::SeekFrom, path::PathBuf};

use async_trait::async_trait;
use cutline_model::Guarantee;
use cutline_store::{Entry, PartReader, PartWriter};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
    task::spawn_blocking,
};

use crate::{Fixed, Hook, Provider, StateError, several::check_provider};

/// The one file of a part.
const ENTRY: &str = "snapshot";
/// Bytes read from the spool at a time.
const READ_BYTES: usize = 256 * 1024;

/// The provider of `http://…`.
#[derive(Clone, Debug)]
pub struct HookState {
    hook: Hook,
    spool_directory: PathBuf,
}

impl HookState {
    /// State behind `hook`, spooled in the system's directory for temporary files.
    #[must_use]
    pub fn new(hook: Hook) -> Self {
        Self {
            hook,
            spool_directory: std::env::temp_dir(),
        }
    }

    /// The same, spooled in `directory`.
    #[must_use]
    pub fn spooling_in(self, directory: PathBuf) -> Self {
        Self {
            spool_directory: directory,
            ..self
        }
    }

    /// A file without a name: it is gone when the process is, whatever ends it.
    async fn spool(&self) -> Result<Spool, StateError> {
        let path = self
            .spool_directory
            .join(format!(".cutline-spool-{}", uuid::Uuid::new_v4().simple()));
        let created = path.clone();
        let file = spawn_blocking(move || {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&created)?;
            fs::remove_file(&created)?;
            Ok(file)
        });
        let file = file
            .await
            .unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        let file = file.map_err(StateError::io("create spool", &path))?;
        Ok(Spool {
            file: File::from_std(file),
            bytes: 0,
            path,
        })
    }
}

#[async_trait]
impl Provider for HookState {
    fn name(&self) -> &str {
        "http"
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Consistent
    }

    async fn probe(&self) -> Result<(), StateError> {
        // The application may start after its sidecar, so the hook is not asked; the spool must work.
        self.spool().await.map(|_| ())
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        let mut spool = self.spool().await?;
        let mut snapshot = self.hook.snapshot().await?;
        while let Some(bytes) = snapshot.chunk().await? {
            spool.write(&bytes).await?;
        }
        Ok(Box::new(spool.rewound().await?))
    }

    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError> {
        check_provider(part, self.name())?;
        let mut spool = self.spool().await?;
        match part.next_entry().await? {
            Some(entry) if entry.is_file() && entry.path == ENTRY => {}
            found => {
                let path = found.map_or_else(String::new, |entry| entry.path);
                let reason = format!("a hook's part holds one file, {ENTRY:?}");
                return Err(StateError::Refused { path, reason });
            }
        }
        while let Some(bytes) = part.read().await? {
            spool.write(&bytes).await?;
        }
        let spool = spool.rewound().await?;
        self.hook.restore(spool.file, spool.bytes).await
    }
}

/// A snapshot on its way.
#[derive(Debug)]
struct Spool {
    file: File,
    bytes: u64,
    path: PathBuf,
}

impl Spool {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        self.file
            .write_all(bytes)
            .await
            .map_err(StateError::io("write spool", &self.path))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    async fn rewound(mut self) -> Result<Self, StateError> {
        let written = self.file.flush().await;
        let rewound = written.and(self.file.seek(SeekFrom::Start(0)).await);
        rewound.map_err(StateError::io("write spool", &self.path))?;
        Ok(self)
    }
}

#[async_trait]
impl Fixed for Spool {
    async fn copy(mut self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError> {
        part.begin(Entry::file(ENTRY))?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = self
                .file
                .read(&mut buffer)
                .await
                .map_err(StateError::io("read spool", &self.path))?;
            if read == 0 {
                break;
            }
            part.push(&buffer[..read]).await?;
        }
        part.end_file().await?;
        Ok(())
    }

    async fn discard(self: Box<Self>) -> Result<(), StateError> {
        Ok(())
    }
}
