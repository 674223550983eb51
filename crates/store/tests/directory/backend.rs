//! Places in directories of their own.

use std::{path::PathBuf, sync::Arc};

use cutline_store::{Objects, StoreSpec};

/// A place for objects, removed when dropped.
pub struct Place {
    /// Where each object is a file under its key.
    pub objects: PathBuf,
    _root: tempfile::TempDir,
}

pub async fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    Place {
        objects: root.path().to_owned(),
        _root: root,
    }
}

impl Place {
    pub async fn open(&self) -> Arc<dyn Objects> {
        let spec: StoreSpec = format!("file:{}", self.objects.display()).parse().unwrap();
        spec.open().await.unwrap()
    }
}
