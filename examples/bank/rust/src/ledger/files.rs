//! Shards in a directory, one file each.
//!
//! A file is replaced by an atomic rename and is on disk when `save` returns.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::shard::Shard;

/// A directory of shards.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// The files in `directory`, which is made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// A shard as its file has it, or a new one where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is no shard.
    pub fn load(&self, name: &str) -> io::Result<Shard> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Shard::new(name)),
            Err(error) => Err(error),
        }
    }

    /// Replaces the files of these shards.
    ///
    /// # Errors
    /// When one cannot be written; then none, some or all have been replaced.
    pub fn save<'a>(&self, shards: impl Iterator<Item = &'a Shard>) -> io::Result<()> {
        let mut renames = Vec::new();
        for shard in shards {
            let path = self.path(&shard.shard);
            let temporary = path.with_extension("tmp");
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(shard)?)?;
            file.sync_data()?;
            renames.push((temporary, path));
        }
        for (temporary, path) in renames {
            std::fs::rename(temporary, path)?;
        }
        File::open(&self.directory)?.sync_all()
    }

    /// Every shard there is a file of.
    ///
    /// # Errors
    /// When one cannot be read or is no shard.
    pub fn all(&self) -> io::Result<Vec<Shard>> {
        let mut shards = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new("json")) {
                shards.push(serde_json::from_slice(&std::fs::read(&path)?)?);
            }
        }
        Ok(shards)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }
}
