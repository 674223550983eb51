//! What only a directory does: hidden files while writing, and places that cannot be directories.

use std::{fs, sync::Arc};

use bytes::Bytes;
use cutline_store::{Directory, Key, Objects};

#[tokio::test]
async fn no_hidden_file_stays_after_racing_creates() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(Directory::open(root.path().join("a/b")).await.unwrap());
    let racers = (0..8_u8).map(|racer| {
        let store = Arc::clone(&store);
        let key = Key::new("deep/manifest.json").unwrap();
        tokio::spawn(async move { store.put_new(&key, Bytes::from(vec![racer])).await.unwrap() })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    let mut hidden = fs::read_dir(root.path().join("a/b/.writing")).unwrap();
    assert!(hidden.next().is_none());
}

#[tokio::test]
async fn a_store_that_cannot_be_made_says_so() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "x").unwrap();
    let error = Directory::open(root.path().join("file")).await.unwrap_err();
    assert_eq!(error.code(), "CL0102", "{error}");
}
