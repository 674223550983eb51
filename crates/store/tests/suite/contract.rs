//! The contract of a store: whole objects, one winner, nothing half.

use std::sync::Arc;

use bytes::Bytes;
use cutline_store::{Created, Key, ObjectMeta, StoreError};

use crate::backend::place;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[tokio::test]
async fn what_was_written_is_read_listed_and_deleted() {
    let place = place().await;
    let store = place.open().await;
    for name in ["b/2", "a/1", "b/10", "b2/1"] {
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
    let all = ["a/1", "b/10", "b/2", "b2/1"];
    assert_eq!(names(store.list("").await.unwrap()), all);
    assert_eq!(names(store.list("b/").await.unwrap()), ["b/10", "b/2"]);
    assert!(store.list("c/").await.unwrap().is_empty());
    assert_eq!(store.head(&key("a/1")).await.unwrap().unwrap().bytes, 3);
    store.delete(&key("a/1")).await.unwrap();
    store.delete(&key("a/1")).await.unwrap();
    assert!(store.head(&key("a/1")).await.unwrap().is_none());
}

#[tokio::test]
async fn of_many_racing_creates_one_wins_and_its_bytes_stay() {
    let place = place().await;
    let store = place.open().await;
    for round in 0..20 {
        let name = key(&format!("deep/{round}/manifest.json"));
        let racers = (0..8).map(|racer| {
            let (store, name) = (Arc::clone(&store), name.clone());
            tokio::spawn(async move {
                let bytes = vec![racer; 1000].into();
                (racer, store.put_new(&name, bytes).await.unwrap())
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
}

#[tokio::test]
async fn a_pack_written_twice_is_one_and_a_different_one_is_damage() {
    let place = place().await;
    let store = place.open().await;
    let pack = key("packs/x");
    store.put_pack(&pack, Bytes::from("one")).await.unwrap();
    store.put_pack(&pack, Bytes::from("one")).await.unwrap();
    for other in ["two", "on", "longer"] {
        let error = store.put_pack(&pack, Bytes::from(other)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_large_or_too_short_is_said_before_memory_is_taken() {
    let place = place().await;
    let store = place.open().await;
    let name = key("x");
    store.put_new(&name, Bytes::from("12345")).await.unwrap();
    assert_eq!(store.get(&name, 4).await.unwrap_err().code(), "CL0116");
    for (offset, len) in [(3, 3), (5, 1), (9, 1), (0, u64::MAX), (u64::MAX, 2)] {
        let error = store.get_range(&name, offset, len).await.unwrap_err();
        assert_eq!(error.code(), "CL0106", "{offset} {len} {error}");
    }
    assert_eq!(store.get(&key("y"), 4).await.unwrap_err().code(), "CL0105");
    let error = store.get_range(&key("y"), 0, 4).await.unwrap_err();
    assert_eq!(error.code(), "CL0105");
}

#[tokio::test]
async fn a_large_object_is_created_once_and_comes_back_whole() {
    let place = place().await;
    let store = place.open().await;
    let name = key("checkpoints/large.json");
    let (one, other) = (
        crate::world::noise(40 << 20, 1),
        crate::world::noise(20 << 20, 2),
    );
    let racers = [one.clone(), other.clone()].map(|bytes| {
        let (store, name) = (Arc::clone(&store), name.clone());
        tokio::spawn(async move { store.put_new(&name, bytes.into()).await.unwrap() })
    });
    let mut created = Vec::new();
    for racer in racers {
        created.push(racer.await.unwrap());
    }
    let first = created[0] == Created::Created;
    assert_ne!(created[0], created[1]);
    let found = store.get(&name, 1 << 30).await.unwrap();
    assert!(found == if first { one } else { other });
}
