//! Keys on their way between Redis and the store: in a file without a name, gone when the process is.
//!
//! Records lie in it as they came; the index, in memory, is in the order of the keys. It knows no Redis and no store.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::Arc,
};

use tokio::task::spawn_blocking;

use super::record::{HEAD_BYTES, Head};
use crate::StateError;

/// A key's record in a [`Spool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spooled {
    pub(super) key: Vec<u8>,
    pub(super) expires_ms: Option<i64>,
    /// Where its value begins.
    at: u64,
    value_bytes: u32,
}

impl Spooled {
    pub(super) fn head(&self) -> Head {
        Head {
            // Redis has no longer keys.
            key_bytes: u32::try_from(self.key.len()).expect("a key is at most 512 MiB"),
            value_bytes: self.value_bytes,
            expires_ms: self.expires_ms,
        }
    }

    pub(super) fn value_bytes(&self) -> u64 {
        u64::from(self.value_bytes)
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    path: PathBuf,
    bytes: u64,
}

impl Spool {
    pub(super) async fn create() -> Result<Self, StateError> {
        let name = format!(".cutline-redis-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let created = path.clone();
        let file = blocking(&path, "create spool", move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&created)?;
            fs::remove_file(&created)?;
            Ok(file)
        })
        .await?;
        Ok(Self {
            file: Arc::new(file),
            path,
            bytes: 0,
        })
    }

    /// How much was written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes at the end.
    pub(super) async fn append(&mut self, bytes: Vec<u8>) -> Result<(), StateError> {
        let (file, at, count) = (Arc::clone(&self.file), self.bytes, bytes.len() as u64);
        blocking(&self.path, "write spool", move || {
            file.write_all_at(&bytes, at)
        })
        .await?;
        self.bytes += count;
        Ok(())
    }

    /// Writes values, and gives where they are.
    pub(super) async fn keep(
        &mut self,
        values: Vec<(Vec<u8>, Option<i64>, Vec<u8>)>,
    ) -> Result<Vec<Spooled>, StateError> {
        let mut at = self.bytes;
        let mut all = Vec::new();
        let mut kept = Vec::with_capacity(values.len());
        for (key, expires_ms, value) in values {
            let value_bytes = u32::try_from(value.len()).map_err(|_| StateError::TooLarge {
                what: "a value's payload".to_owned(),
                limit: u64::from(u32::MAX),
            })?;
            all.extend_from_slice(&value);
            kept.push(Spooled {
                key,
                expires_ms,
                at,
                value_bytes,
            });
            at += u64::from(value_bytes);
        }
        self.append(all).await?;
        Ok(kept)
    }

    /// The values of these records, in their order.
    pub(super) async fn values(&self, records: &[Spooled]) -> Result<Vec<Vec<u8>>, StateError> {
        let places: Vec<(u64, usize)> = records
            .iter()
            .map(|record| (record.at, record.value_bytes as usize))
            .collect();
        let file = Arc::clone(&self.file);
        blocking(&self.path, "read spool", move || {
            places
                .into_iter()
                .map(|(at, bytes)| {
                    let mut value = vec![0; bytes];
                    file.read_exact_at(&mut value, at).map(|()| value)
                })
                .collect()
        })
        .await
    }

    /// Reads whole records, as a part keeps them, out of this file.
    pub(super) async fn index(&self) -> Result<Vec<Spooled>, StateError> {
        let (file, end) = (Arc::clone(&self.file), self.bytes);
        let heads = blocking(&self.path, "read spool", move || {
            let mut heads = Vec::new();
            let mut at = 0;
            while at < end {
                let mut bytes = [0; HEAD_BYTES];
                file.read_exact_at(&mut bytes, at)?;
                let head = Head::read(bytes).map_err(io::Error::other)?;
                let mut key = vec![0; head.key_bytes as usize];
                file.read_exact_at(&mut key, at + HEAD_BYTES as u64)?;
                heads.push(Spooled {
                    key,
                    expires_ms: head.expires_ms,
                    at: at + HEAD_BYTES as u64 + u64::from(head.key_bytes),
                    value_bytes: head.value_bytes,
                });
                at += head.record_bytes();
            }
            match at == end {
                true => Ok(heads),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        });
        heads.await
    }
}

async fn blocking<T: Send + 'static>(
    path: &std::path::Path,
    operation: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StateError> {
    let done = spawn_blocking(work).await;
    let done = done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    done.map_err(StateError::io(operation, path))
}
