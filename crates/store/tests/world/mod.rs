//! A repository in a place of its own, with a store that can be made to fail, and checkpoints to put into it.

#![allow(dead_code, reason = "each test binary uses its share")]

use std::{path::PathBuf, sync::Arc};

use cutline_model::{Capture, Epoch, Guarantee, Mode, PartRef, ProcessId, Scope};
use cutline_store::{
    Entry, Faulty, Manifest, Objects, Outcome, PartReader, ProcessRecord, Repository, StoreError,
};
use jiff::Timestamp;

use crate::backend::{Place, place};

/// A repository and what is below it.
pub struct World {
    pub place: Place,
    pub store: Faulty,
    pub repository: Repository,
}

pub async fn world() -> World {
    world_at(place().await).await
}

pub async fn world_at(place: Place) -> World {
    let store = Faulty::new(place.open().await);
    let repository = Repository::open(Arc::new(store.clone())).await.unwrap();
    World {
        place,
        store,
        repository,
    }
}

pub fn bank() -> ProcessId {
    ProcessId {
        service: "bank".into(),
        instance: Some("1".into()),
    }
}

/// Bytes that do not compress and are the same for the same seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    // SplitMix64: any generator will do that looks random to a compressor.
    let mut state = seed;
    for chunk in noise.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
    }
    noise
}

pub type Files = Vec<(String, Vec<u8>)>;

pub fn files(files: &[(&str, &[u8])]) -> Files {
    files
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
        .collect()
}

impl World {
    /// The same store seen by another process.
    pub async fn another(&self) -> Repository {
        Repository::open_existing(Arc::new(self.store.clone()))
            .await
            .unwrap()
    }

    pub async fn write_part(&self, epoch: u64, content: &Files) -> Result<PartRef, StoreError> {
        write_part(&self.repository, epoch, content).await
    }

    /// A COMPLETED checkpoint of one process.
    pub async fn checkpoint(&self, epoch: u64, content: &Files) -> Manifest {
        self.repository
            .claim_epoch(Epoch(epoch), "test")
            .await
            .unwrap();
        let part = self.write_part(epoch, content).await.unwrap();
        let manifest = completed(epoch, Some(part));
        self.repository.decide(&manifest).await.unwrap();
        manifest
    }

    pub async fn read(&self, manifest: &Manifest) -> Result<Files, StoreError> {
        let mut part = self
            .repository
            .open_part(manifest, &bank())
            .await?
            .expect("the process has state");
        read_all(&mut part).await
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.place.objects.join(key)
    }

    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        self.store
            .list(prefix)
            .await
            .unwrap()
            .into_iter()
            .map(|meta| meta.key.to_string())
            .collect()
    }
}

pub async fn write_part(
    repository: &Repository,
    epoch: u64,
    content: &Files,
) -> Result<PartRef, StoreError> {
    let mut part = repository.part_writer(Epoch(epoch), &bank(), "dir").await?;
    for (path, bytes) in content {
        part.begin(Entry::file(path))?;
        part.push(bytes).await?;
        part.end_file().await?;
    }
    part.finish().await
}

pub async fn read_all(part: &mut PartReader) -> Result<Files, StoreError> {
    let mut content = Files::new();
    while let Some(entry) = part.next_entry().await? {
        let mut bytes = Vec::new();
        while let Some(more) = part.read().await? {
            bytes.extend_from_slice(&more);
        }
        content.push((entry.path, bytes));
    }
    Ok(content)
}

pub fn completed(epoch: u64, part: Option<PartRef>) -> Manifest {
    let process = ProcessRecord {
        process: bank(),
        sidecars: Vec::new(),
        capture: Capture::Commit,
        scope: Scope::Instance,
        guarantee: Guarantee::Consistent,
        unaligned: false,
        part,
        timings: cutline_model::Timings::default(),
        async_ms: 5,
    };
    let manifest = Manifest::new(
        Epoch(epoch),
        Outcome::Completed,
        Mode::Aligned,
        Timestamp::now(),
    );
    Manifest {
        processes: vec![process],
        ..manifest
    }
}

pub fn failed(epoch: u64) -> Manifest {
    Manifest::failed(
        Epoch(epoch),
        Mode::Aligned,
        Timestamp::now(),
        "a test wanted it",
    )
}
