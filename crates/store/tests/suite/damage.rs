//! Damage: whatever is missing, cut short, altered or exchanged is noticed, named, and never handed out as state.

use std::{fs, path::Path};

use crate::world::{World, files, noise, world};
use cutline_model::Epoch;
use cutline_store::{CheckpointStatus, Manifest, StoreError};

/// A way to damage a file.
type Harm = fn(&Path);

const HARMS: [(&str, Harm); 5] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| fs::write(path, b"").unwrap()),
    ("truncated", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 7]).unwrap();
    }),
    ("altered", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x20;
        fs::write(path, bytes).unwrap();
    }),
    ("replaced", |path| {
        fs::write(path, b"{\"format\":1}").unwrap()
    }),
];

async fn state() -> (World, Manifest) {
    let world = world().await;
    world.checkpoint(1, &files(&[("x", b"an older one")])).await;
    let manifest = world
        .checkpoint(
            2,
            &files(&[("a", &noise(3 << 20, 1)), ("b", &noise(100_000, 2))]),
        )
        .await;
    (world, manifest)
}

#[tokio::test]
async fn a_harmed_pack_is_named_and_gives_no_state() {
    for (what, harm) in HARMS {
        let (world, manifest) = state().await;
        let packs = world.keys("packs/").await;
        let sizes = |key: &String| fs::metadata(world.path(key)).unwrap().len();
        let pack = packs.iter().max_by_key(|key| sizes(key)).unwrap();
        harm(&world.path(pack));
        let error = world.read(&manifest).await.expect_err(what);
        assert!(error.is_damage(), "{what}: {error}");
        assert!(error.to_string().contains(pack.as_str()), "{what}: {error}");
        assert!(
            error.to_string().contains("use another checkpoint"),
            "{what}: {error}"
        );
        let verified = world.repository.verify(Epoch(2)).await.unwrap();
        assert!(!verified.is_whole(), "{what}");
        assert!(
            world.repository.verify(Epoch(1)).await.unwrap().is_whole(),
            "{what}: the other one is not concerned"
        );
    }
}

#[tokio::test]
async fn a_harmed_part_is_named_and_gives_no_state() {
    for (what, harm) in HARMS {
        let (world, manifest) = state().await;
        let part = manifest.parts().next().unwrap().1.key.clone();
        harm(&world.path(&part));
        let error = world.read(&manifest).await.expect_err(what);
        assert!(error.is_damage(), "{what}: {error}");
        assert!(error.to_string().contains(&part), "{what}: {error}");
        assert!(
            !world.repository.verify(Epoch(2)).await.unwrap().is_whole(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_harmed_manifest_is_no_checkpoint_and_the_older_one_still_is() {
    for (what, harm) in HARMS {
        let (world, _) = state().await;
        let key = "checkpoints/00000000000000000002/manifest.json";
        harm(&world.path(key));
        let error = world.repository.load(Epoch(2)).await.expect_err(what);
        let listed = world.repository.list(None, 10).await.unwrap();
        if what == "missing" {
            assert!(
                matches!(
                    error,
                    StoreError::NotCompleted {
                        status: CheckpointStatus::Incomplete,
                        ..
                    }
                ),
                "{error}"
            );
        } else {
            assert!(
                error.is_damage() && error.to_string().contains(key),
                "{what}: {error}"
            );
            assert_eq!(listed[0].status, CheckpointStatus::Damaged, "{what}");
            assert!(listed[0].problem.is_some());
        }
        assert_eq!(listed[1].status, CheckpointStatus::Completed, "{what}");
        assert!(world.repository.load(Epoch(1)).await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn every_byte_of_a_manifest_and_a_part_counts() {
    let (world, manifest) = state().await;
    let part = manifest.parts().next().unwrap().1.key.clone();
    for key in [
        part,
        "checkpoints/00000000000000000002/manifest.json".to_owned(),
    ] {
        let path = world.path(&key);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 97 + 1) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let verified = world.repository.verify(Epoch(2)).await;
            assert!(
                verified.is_err() || !verified.unwrap().is_whole(),
                "{key} byte {at}"
            );
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(world.repository.verify(Epoch(2)).await.unwrap().is_whole());
}

#[tokio::test]
async fn exchanged_objects_are_noticed() {
    let (world, second) = state().await;
    let first = world.repository.load(Epoch(1)).await.unwrap();
    let key = |manifest: &Manifest| manifest.parts().next().unwrap().1.key.clone();
    let packs = world.keys("packs/").await;
    let pairs = [
        (packs[0].clone(), packs[1].clone()),
        (key(&first), key(&second)),
        (
            "checkpoints/00000000000000000001/manifest.json".to_owned(),
            "checkpoints/00000000000000000002/manifest.json".to_owned(),
        ),
    ];
    for (a, b) in pairs {
        let (a_bytes, b_bytes) = (
            fs::read(world.path(&a)).unwrap(),
            fs::read(world.path(&b)).unwrap(),
        );
        fs::write(world.path(&a), &b_bytes).unwrap();
        fs::write(world.path(&b), &a_bytes).unwrap();
        let verified = world.repository.verify(Epoch(2)).await.unwrap();
        assert!(!verified.is_whole(), "{a} and {b}");
        fs::write(world.path(&a), &a_bytes).unwrap();
        fs::write(world.path(&b), &b_bytes).unwrap();
    }
    assert!(world.repository.verify(Epoch(2)).await.unwrap().is_whole());
}

#[tokio::test]
async fn a_part_of_another_process_is_refused_even_when_it_is_whole() {
    let (world, second) = state().await;
    let mut forged = world.repository.load(Epoch(1)).await.unwrap();
    forged.processes[0].part = second.processes[0].part.clone();
    let error = world.read(&forged).await.unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains("epoch 2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_format_is_refused_and_says_to_upgrade() {
    let (world, _) = state().await;
    let path = world.path("repository.json");
    let newer = fs::read_to_string(&path)
        .unwrap()
        .replace("\"format\": 2", "\"format\": 3");
    fs::write(&path, newer).unwrap();
    let store = std::sync::Arc::new(world.store.clone());
    let error = cutline_store::Repository::open(store).await.unwrap_err();
    assert_eq!(error.code(), "CL0107");
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test]
async fn a_store_whose_identity_is_gone_is_not_taken_for_an_empty_one() {
    let (world, _) = state().await;
    fs::remove_file(world.path("repository.json")).unwrap();
    let store = std::sync::Arc::new(world.store.clone());
    let error = cutline_store::Repository::open(store).await.unwrap_err();
    assert_eq!(error.code(), "CL0108", "{error}");
}

#[tokio::test]
async fn a_damaged_checkpoint_can_be_deleted() {
    let (world, _) = state().await;
    fs::write(
        world.path("checkpoints/00000000000000000002/manifest.json"),
        "x",
    )
    .unwrap();
    world.repository.delete(Epoch(2)).await.unwrap();
    let listed = world.repository.list(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
}
