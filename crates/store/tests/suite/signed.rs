//! Signatures: what was not written by who has the key is not believed, however well its hashes fit.

use std::fs;

use crate::world::{World, completed, failed, files, world};
use cutline_model::Epoch;
use cutline_store::{CheckpointStatus, JournalRecord, Repository, SigningKeys, StoreError};
use serde_json::json;

const OLD: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const NEW: &str = "0202020202020202020202020202020202020202020202020202020202020202";

/// The keys in a file with these lines.
fn keys(lines: &[&str]) -> SigningKeys {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    fs::write(&path, lines.join("\n")).unwrap();
    SigningKeys::read(&path).unwrap()
}

/// The same store for who has these keys.
async fn seen_with(world: &World, keys: SigningKeys) -> Repository {
    world.another().await.signed_with(keys)
}

/// A world whose repository signs with the old key, and one checkpoint in it.
async fn signed() -> World {
    let mut world = world().await;
    world.repository = seen_with(&world, keys(&[OLD])).await;
    world.checkpoint(1, &files(&[("a", b"state")])).await;
    world
}

const MANIFEST: &str = "checkpoints/00000000000000000001/manifest.json";

/// Writes a document anew with `change` made to it and the checksum that fits.
fn forge(world: &World, key: &str, change: impl FnOnce(String) -> String) {
    let path = world.path(key);
    let text = fs::read_to_string(&path).unwrap();
    let (body, _) = text.split_once(",\n  \"blake3\"").unwrap();
    let body = change(body.to_owned());
    let hash = blake3::hash(body.as_bytes()).to_hex();
    fs::write(path, format!("{body},\n  \"blake3\": \"{hash}\"\n}}\n")).unwrap();
}

fn without_signature(body: String) -> String {
    body.split_once(",\n  \"signature\"").unwrap().0.to_owned()
}

async fn is_refused(repository: &Repository, words: &str) {
    let error = repository.load(Epoch(1)).await.unwrap_err();
    assert_eq!(error.code(), "CL0123", "{error}");
    let said = error.to_string();
    assert!(said.contains(words) && said.contains(MANIFEST), "{said}");
    let verified = repository.verify(Epoch(1)).await.unwrap();
    assert_eq!(verified.problems[0].code(), "CL0123");
    let listed = repository.list(None, 10).await.unwrap();
    let listed = listed.iter().find(|found| found.epoch == Epoch(1)).unwrap();
    assert_eq!(listed.status, CheckpointStatus::Damaged);
    assert_eq!(listed.problem.as_ref().unwrap().code(), "CL0123");
}

async fn is_believed(repository: &Repository) {
    repository.load(Epoch(1)).await.unwrap();
    assert!(repository.verify(Epoch(1)).await.unwrap().is_whole());
}

#[tokio::test]
async fn a_forged_checkpoint_is_refused_and_listed_as_such() {
    let world = signed().await;
    is_believed(&world.repository).await;
    let real = fs::read(world.path(MANIFEST)).unwrap();
    let change = |body: String| body.replace("\"aligned\"", "\"unaligned\"");
    forge(&world, MANIFEST, change);
    is_refused(&world.repository, "was changed").await;
    fs::write(world.path(MANIFEST), &real).unwrap();
    forge(&world, MANIFEST, without_signature);
    is_refused(&world.repository, "has no signature").await;
    // Without a key nothing is asked for, and nobody is told.
    is_believed(&world.another().await).await;
    fs::write(world.path(MANIFEST), &real).unwrap();
    is_believed(&world.repository).await;
}

#[tokio::test]
async fn what_another_installation_signed_is_refused() {
    let (here, elsewhere) = (signed().await, signed().await);
    // The same key, so that only the repository's id tells.
    fs::copy(elsewhere.path(MANIFEST), here.path(MANIFEST)).unwrap();
    is_refused(&here.repository, "made elsewhere").await;
    is_refused(&seen_with(&elsewhere, keys(&[NEW])).await, "not among").await;
}

#[tokio::test]
async fn keys_are_rotated_without_losing_a_checkpoint() {
    let world = signed().await;
    let both = seen_with(&world, keys(&[NEW, OLD])).await;
    is_believed(&both).await;
    both.claim_epoch(Epoch(2), "test").await.unwrap();
    both.decide(&failed(2)).await.unwrap();
    let new = seen_with(&world, keys(&[NEW])).await;
    let found = new.find(Epoch(2)).await.unwrap().unwrap();
    assert_eq!(
        found.status,
        CheckpointStatus::Failed,
        "signed with the new one"
    );
    is_refused(&new, "not among").await;
}

#[tokio::test]
async fn checkpoints_from_before_the_key_are_believed_only_where_that_is_said() {
    let world = world().await;
    for epoch in [1, 2] {
        world.checkpoint(epoch, &files(&[("a", b"state")])).await;
    }
    let strict = seen_with(&world, keys(&[OLD])).await;
    assert_eq!(strict.load(Epoch(1)).await.unwrap_err().code(), "CL0123");
    let lenient = keys(&[OLD]).accepting_unsigned_until(Epoch(1));
    let lenient = seen_with(&world, lenient).await;
    is_believed(&lenient).await;
    let later = lenient.load(Epoch(2)).await.unwrap_err();
    assert_eq!(later.code(), "CL0123", "{later}");
    // A signature that is wrong is no better than before.
    let mut signing = world;
    signing.repository = lenient;
    signing.checkpoint(3, &files(&[("a", b"state")])).await;
    let signed = fs::read(signing.path(&MANIFEST.replace("01/", "03/"))).unwrap();
    fs::write(signing.path(MANIFEST), signed).unwrap();
    assert!(signing.repository.load(Epoch(1)).await.is_err());
}

#[tokio::test]
async fn nobody_else_decides_an_epoch_that_is_signed() {
    let world = signed().await;
    world
        .repository
        .claim_epoch(Epoch(2), "test")
        .await
        .unwrap();
    let manifest = completed(2, None);
    world.repository.decide(&manifest).await.unwrap();
    // An answer that was lost: the same again is success, with its signature.
    world.repository.decide(&manifest).await.unwrap();
    let error = world.another().await.decide(&failed(2)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::AlreadyDecided { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_forged_journal_is_not_followed() {
    let world = signed().await;
    let repository = &world.repository;
    let first = JournalRecord::new("r", 0, Epoch(1), "PLANNED", json!({"states": []}));
    repository.append_journal(&first).await.unwrap();
    assert_eq!(repository.read_journal("r").await.unwrap().len(), 1);
    assert_eq!(repository.restores().await.unwrap().len(), 1);
    let key = "restores/r/journal/00000000000000000000.json";
    let real = fs::read(world.path(key)).unwrap();
    let changes: [fn(String) -> String; 2] =
        [|body| body.replace("PLANNED", "FORGED"), without_signature];
    for change in changes {
        fs::write(world.path(key), &real).unwrap();
        forge(&world, key, change);
        for error in [
            repository.read_journal("r").await.err(),
            repository.restores().await.err(),
        ] {
            assert_eq!(error.unwrap().code(), "CL0123");
        }
    }
    fs::write(world.path(key), &real).unwrap();
    // Somebody without the key goes on with it.
    let stranger = world.another().await;
    let next = JournalRecord::new("r", 1, Epoch(1), "FENCING", json!({}));
    stranger.append_journal(&next).await.unwrap();
    assert!(repository.read_journal("r").await.is_err());
    assert!(repository.restores().await.is_err());
}

#[tokio::test]
async fn a_restore_that_was_over_before_the_key_stays_in_the_list() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"state")])).await;
    let first = JournalRecord::new("r", 0, Epoch(1), "PLANNED", json!({}));
    world.repository.append_journal(&first).await.unwrap();
    let strict = seen_with(&world, keys(&[OLD])).await;
    let unfinished = strict.restores().await.unwrap_err();
    assert_eq!(unfinished.code(), "CL0123", "{unfinished}");
    let last = JournalRecord::new("r", 1, Epoch(1), "COMPLETED", json!({})).finished();
    world.repository.append_journal(&last).await.unwrap();
    assert_eq!(strict.restores().await.unwrap().len(), 1);
    assert_eq!(strict.read_journal("r").await.unwrap().len(), 2);
}
