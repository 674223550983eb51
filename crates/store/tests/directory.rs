//! A directory keeps the contract of a store: whole objects, one winner, nothing half.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

use std::fs;

use bytes::Bytes;
use cutline_store::{Created, Directory, Key, ObjectMeta, Objects, StoreError};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn open() -> (tempfile::TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::open(root.path().join("a/b")).await.unwrap();
    (root, store)
}

#[tokio::test]
async fn what_was_written_is_read_listed_and_deleted() {
    let (_root, store) = open().await;
    for name in ["b/2", "a/1", "b/10"] {
        assert_eq!(
            store.put_new(&key(name), Bytes::from(name)).await.unwrap(),
            Created::Created
        );
    }
    assert_eq!(store.get(&key("b/2"), 100).await.unwrap(), "b/2");
    assert_eq!(store.get_range(&key("b/10"), 2, 2).await.unwrap(), "10");
    let names = |list: Vec<ObjectMeta>| {
        list.into_iter()
            .map(|meta| meta.key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(store.list("").await.unwrap()), ["a/1", "b/10", "b/2"]);
    assert_eq!(names(store.list("b/").await.unwrap()), ["b/10", "b/2"]);
    assert!(store.list("c/").await.unwrap().is_empty());
    assert_eq!(store.head(&key("a/1")).await.unwrap().unwrap().bytes, 3);
    store.delete(&key("a/1")).await.unwrap();
    store.delete(&key("a/1")).await.unwrap();
    assert!(store.head(&key("a/1")).await.unwrap().is_none());
}

#[tokio::test]
async fn of_many_racing_creates_one_wins_and_its_bytes_stay() {
    let (root, store) = open().await;
    for round in 0..20 {
        let name = key(&format!("deep/{round}/manifest.json"));
        let racers = (0..8).map(|racer| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move {
                (
                    racer,
                    store
                        .put_new(&name, vec![racer; 1000].into())
                        .await
                        .unwrap(),
                )
            })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            let (racer, created) = racer.await.unwrap();
            winners.extend((created == Created::Created).then_some(racer));
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            store.get(&name, 2000).await.unwrap(),
            vec![winners[0]; 1000]
        );
    }
    assert!(
        fs::read_dir(root.path().join("a/b/.writing"))
            .unwrap()
            .next()
            .is_none(),
        "no scratch file stays"
    );
}

#[tokio::test]
async fn a_pack_written_twice_is_one_and_a_different_one_is_damage() {
    let (_root, store) = open().await;
    store
        .put_pack(&key("packs/x"), Bytes::from("one"))
        .await
        .unwrap();
    store
        .put_pack(&key("packs/x"), Bytes::from("one"))
        .await
        .unwrap();
    for other in ["two", "on", "longer"] {
        let error = store
            .put_pack(&key("packs/x"), Bytes::from(other))
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_large_or_too_short_is_said_before_memory_is_taken() {
    let (_root, store) = open().await;
    store
        .put_new(&key("x"), Bytes::from("12345"))
        .await
        .unwrap();
    assert_eq!(store.get(&key("x"), 4).await.unwrap_err().code(), "CL0116");
    for (offset, len) in [(3, 3), (0, u64::MAX), (u64::MAX, 2)] {
        assert_eq!(
            store
                .get_range(&key("x"), offset, len)
                .await
                .unwrap_err()
                .code(),
            "CL0106"
        );
    }
    assert_eq!(store.get(&key("y"), 4).await.unwrap_err().code(), "CL0105");
}

#[tokio::test]
async fn a_store_that_cannot_be_made_says_so() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "x").unwrap();
    let error = Directory::open(root.path().join("file")).await.unwrap_err();
    assert_eq!(error.code(), "CL0102", "{error}");
}
