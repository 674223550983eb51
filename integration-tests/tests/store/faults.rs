//! What only a server does: it goes away, it hangs, it refuses, it keeps half of an upload.

use std::time::Duration;

use cutline_model::Epoch;
use cutline_store::{GcOptions, Repository, S3 as Store, StoreSpec};
use integration_tests::S3;

use crate::{
    backend::{place, place_in},
    world::{self, completed, files, noise, world_at},
};

/// How long the server is away: shorter than calls are tried again, longer than a hiccup.
const AWAY: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_server_that_is_away_for_some_seconds_costs_nothing_but_time() {
    let mut server = S3::start().await;
    let world = world_at(place_in(&server)).await;
    world.repository.claim_epoch(Epoch(1), "t").await.unwrap();
    let state = files(&[("a", &noise(60 << 20, 1))]);
    let repository = world.repository.clone();
    let content = state.clone();
    let writing = tokio::spawn(async move { world::write_part(&repository, 1, &content).await });
    while world.keys("packs/").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.process().kill();
    tokio::time::sleep(AWAY).await;
    assert!(
        !writing.is_finished(),
        "there is more to write than fits into a moment"
    );
    server.start_again().await;
    let part = writing.await.unwrap().unwrap();
    let manifest = completed(1, Some(part));
    world.repository.decide(&manifest).await.unwrap();
    assert_eq!(world.read(&manifest).await.unwrap(), state);
}

#[tokio::test]
async fn a_frozen_server_is_waited_for_and_then_told_of() {
    let mut server = S3::start().await;
    let world = world_at(place_in(&server)).await;
    server.process().freeze();
    let repository = world.repository.clone();
    let claiming = tokio::spawn(async move { repository.claim_epoch(Epoch(1), "t").await });
    tokio::time::sleep(AWAY).await;
    assert!(!claiming.is_finished());
    server.process().thaw();
    claiming.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said_with_its_cure() {
    let server = S3::shared().await;
    let good = server.store("p");
    for (address, secret, code, word) in [
        (good.clone(), "wrong", "CL0121", "check the credentials"),
        (
            good.replace("s3://cutline/", "s3://nowhere/"),
            "",
            "CL0122",
            "create the bucket",
        ),
    ] {
        let StoreSpec::S3(address) = address.parse().unwrap() else {
            panic!("it is an S3 address")
        };
        let secret = if secret.is_empty() {
            integration_tests::s3::SECRET_KEY
        } else {
            secret
        };
        let key = integration_tests::s3::ACCESS_KEY;
        let store = Store::open_as(&address, key, secret).await.unwrap();
        let error = Repository::open(std::sync::Arc::new(store))
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(word) && text.contains(&server.endpoint()),
            "{text}"
        );
        assert!(!text.contains(secret), "{text}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn another_server_keeps_and_gives_back_the_same() {
    let server = S3::start_s3proxy().await;
    let world = world_at(place_in(&server)).await;
    let state = files(&[("a", &noise(20 << 20, 1)), ("b", b"small")]);
    let manifest = world.checkpoint(1, &state).await;
    assert_eq!(world.read(&manifest).await.unwrap(), state);
    assert!(
        world
            .repository
            .claim_epoch(Epoch(1), "other")
            .await
            .is_err()
    );
    world.checkpoint(2, &files(&[("b", b"small")])).await;
    world.repository.delete(Epoch(1)).await.unwrap();
    let now = GcOptions {
        dry_run: false,
        grace: Duration::ZERO,
    };
    let collected = world.repository.gc(now).await.unwrap();
    assert!(collected.packs_removed > 0, "{collected:?}");
    assert!(world.repository.verify(Epoch(2)).await.unwrap().is_whole());
}

/// Given up after so long each, one after the other: one of them is in the middle of the upload, however fast the machine is.
const GIVEN_UP_AFTER_MS: [u64; 6] = [50, 100, 200, 400, 800, 1_600];

#[tokio::test]
async fn an_upload_that_was_given_up_leaves_nothing_behind() {
    let place = place().await;
    let world = world_at(place).await;
    let late = GcOptions {
        dry_run: false,
        grace: Duration::from_secs(3600),
    };
    let now = GcOptions {
        dry_run: false,
        grace: Duration::ZERO,
    };
    let bytes: bytes::Bytes = noise(64 << 20, 1).into();
    for after in GIVEN_UP_AFTER_MS {
        let key = cutline_store::Key::new(format!("checkpoints/large-{after}")).unwrap();
        let store = std::sync::Arc::new(world.store.clone());
        let bytes = bytes.clone();
        // Dropped in the middle of an upload in parts, as by a process that dies.
        let writing =
            tokio::spawn(
                async move { cutline_store::Objects::put_new(&*store, &key, bytes).await },
            );
        tokio::time::sleep(Duration::from_millis(after)).await;
        writing.abort();
        let _ = writing.await;
    }
    assert_eq!(world.repository.gc(late).await.unwrap().writes_ended, 0);
    // The server tells whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(world.repository.gc(now).await.unwrap().writes_ended >= 1);
    assert_eq!(world.repository.gc(now).await.unwrap().writes_ended, 0);
}
