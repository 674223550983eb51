//! A repository in a directory of its own, and how a provider's state gets into it and back.

#![allow(dead_code, reason = "each test binary uses its share")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use cutline_model::{Epoch, PartRef, ProcessId};
use cutline_state::{Provider, StateError};
use cutline_store::{Faulty, Repository, StoreSpec};

pub struct World {
    pub root: tempfile::TempDir,
    pub store: Faulty,
    pub repository: Repository,
}

pub async fn world() -> World {
    let root = tempfile::tempdir().unwrap();
    let spec: StoreSpec = format!("file:{}", root.path().join("store").display())
        .parse()
        .unwrap();
    let store = Faulty::new(spec.open().await.unwrap());
    let repository = Repository::open(Arc::new(store.clone())).await.unwrap();
    World {
        root,
        store,
        repository,
    }
}

pub fn process() -> ProcessId {
    ProcessId {
        service: "bank".into(),
        instance: None,
    }
}

impl World {
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// An empty directory for an application.
    pub fn data(&self) -> PathBuf {
        let path = self.path("data");
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub async fn record(&self, epoch: u64, provider: &dyn Provider) -> Result<PartRef, StateError> {
        let fixed = provider.fix().await?;
        let mut part = self
            .repository
            .part_writer(Epoch(epoch), &process(), provider.name())
            .await?;
        fixed.copy(&mut part).await?;
        Ok(part.finish().await?)
    }

    pub async fn restore(&self, provider: &dyn Provider, part: &PartRef) -> Result<(), StateError> {
        provider
            .restore(&mut self.repository.part_reader(part).await?)
            .await
    }

    /// Names of ours that were left anywhere. Another thread may be removing them meanwhile.
    pub fn leftovers(&self) -> Vec<String> {
        let (mut found, mut unread) = (Vec::new(), vec![self.root.path().to_owned()]);
        while let Some(directory) = unread.pop() {
            // One that is gone holds nothing.
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                if path.to_string_lossy().contains(".cutline-staging") {
                    found.push(path.display().to_string());
                } else if path.is_dir() && !path.is_symlink() {
                    unread.push(path);
                }
            }
        }
        found
    }
}

/// What a directory holds, as one can compare it.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut unread = vec![root.to_owned()];
    while let Some(directory) = unread.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let what = if data.is_dir() {
                unread.push(path.clone());
                format!("directory {:o} {}", data.mode(), data.mtime_nsec())
            } else if data.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if data.is_file() {
                let content = fs::read(&path).unwrap();
                format!(
                    "file {:o} {} {} {}",
                    data.mode(),
                    data.mtime(),
                    data.mtime_nsec(),
                    blake3::hash(&content)
                )
            } else {
                "special".to_owned()
            };
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), what);
        }
    }
    found
}
