//! Garbage collection: what is referred to stays, what is not goes, and a doubt deletes nothing.

use std::time::Duration;

use crate::world::{bank, completed, failed, files, noise, world};
use cutline_model::{Epoch, Offset, ProcessId};
use cutline_store::{
    CheckpointStatus, Entry, Fault, GcOptions, JournalRecord, Objects, Operation, TableRecord,
};

const NOW: GcOptions = GcOptions {
    dry_run: false,
    grace: Duration::ZERO,
};
/// Every epoch without a decision is taken to be running.
const LATER: GcOptions = GcOptions {
    dry_run: false,
    grace: Duration::from_secs(3600),
};

#[tokio::test]
async fn what_would_be_garbage_without_a_checkpoint_is_what_is_garbage_after_it_is_deleted() {
    let world = world().await;
    let mut state = files(&[("a", &noise(4 << 20, 1))]);
    world.checkpoint(1, &state).await;
    state[0].1.truncate(2 << 20);
    world.checkpoint(2, &state).await;
    world
        .checkpoint(3, &files(&[("b", &noise(1 << 20, 2))]))
        .await;
    let before = world.keys("").await;
    let without = [Epoch(1), Epoch(3)].into();
    let told = world
        .repository
        .gc_without(&without, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(world.keys("").await, before, "nothing was changed");
    assert!(told.packs_removed > 0 && told.packs_kept > 0, "{told:?}");
    world.repository.delete(Epoch(1)).await.unwrap();
    world.repository.delete(Epoch(3)).await.unwrap();
    let done = world.repository.gc(NOW).await.unwrap();
    assert_eq!(
        (done.packs_removed, done.bytes_removed, done.packs_kept),
        (told.packs_removed, told.bytes_removed, told.packs_kept)
    );
}

#[tokio::test]
async fn only_what_no_checkpoint_needs_goes() {
    let world = world().await;
    let mut state = files(&[("a", &noise(4 << 20, 1))]);
    world.checkpoint(1, &state).await;
    state[0].1.truncate(2 << 20);
    let second = world.checkpoint(2, &state).await;
    world
        .checkpoint(3, &files(&[("b", &noise(1 << 20, 2))]))
        .await;
    world.repository.delete(Epoch(1)).await.unwrap();
    world.repository.delete(Epoch(3)).await.unwrap();

    let before = world.keys("").await;
    let dry = world
        .repository
        .gc(GcOptions {
            dry_run: true,
            ..NOW
        })
        .await
        .unwrap();
    assert_eq!(world.keys("").await, before, "a dry run changes nothing");
    let real = world.repository.gc(NOW).await.unwrap();
    assert_eq!(dry, real);
    assert_eq!(real.packs_removed, 1, "{real:?}");
    assert_eq!(world.read(&second).await.unwrap(), state);
    assert!(world.repository.verify(Epoch(2)).await.unwrap().is_whole());
    assert_eq!(world.repository.gc(NOW).await.unwrap().packs_removed, 0);
}

#[tokio::test]
async fn two_collections_at_a_time_are_no_damage() {
    let world = world().await;
    for epoch in [1, 2] {
        let state = files(&[("a", &noise(1 << 20, epoch))]);
        world.checkpoint(epoch, &state).await;
    }
    // One has seen that checkpoint 1 is there, and is about to read its part, when another removes it.
    let parts = "checkpoints/00000000000000000001/parts/";
    world
        .store
        .inject(Operation::Read, parts, 0, 1, Fault::Waits)
        .await;
    let repository = world.another().await;
    let slow = tokio::spawn(async move { repository.gc(NOW).await });
    world.store.is_waited_for().await;
    world.repository.delete(Epoch(1)).await.unwrap();
    let quick = world.repository.gc(NOW).await.unwrap();
    assert_eq!((quick.packs_removed, quick.packs_kept), (1, 1), "{quick:?}");
    world.store.heal().await;
    let slow = slow.await.unwrap().unwrap();
    assert_eq!((slow.packs_removed, slow.packs_kept), (0, 1), "{slow:?}");
}

#[tokio::test]
async fn garbage_younger_than_the_grace_period_stays() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    world.repository.delete(Epoch(1)).await.unwrap();
    let report = world.repository.gc(LATER).await.unwrap();
    assert_eq!((report.packs_removed, report.packs_young), (0, 1));
}

#[tokio::test]
async fn a_running_checkpoint_keeps_what_it_wrote_and_what_it_builds_on() {
    let world = world().await;
    let state = files(&[("a", &noise(12 << 20, 1))]);
    world.checkpoint(1, &state).await;
    world.repository.claim_epoch(Epoch(2), "t").await.unwrap();
    let mut part = world
        .repository
        .part_writer(Epoch(2), &bank(), "dir")
        .await
        .unwrap();
    part.begin(Entry::file("a")).unwrap();
    part.push(&state[0].1[..6 << 20]).await.unwrap();
    // The base goes while it is being built on, and the collection is as hasty as can be.
    world.repository.delete(Epoch(1)).await.unwrap();
    let hasty = GcOptions {
        dry_run: false,
        grace: Duration::from_millis(1),
    };
    age(&world, "packs/").await;
    world
        .repository
        .gc(GcOptions {
            grace: Duration::from_secs(60),
            ..hasty
        })
        .await
        .unwrap();
    part.push(&state[0].1[6 << 20..]).await.unwrap();
    part.end_file().await.unwrap();
    let part = part.finish().await.unwrap();
    assert!(
        part.uploaded_bytes < 1 << 20,
        "it builds on what was there: {}",
        part.uploaded_bytes
    );
    let manifest = completed(2, Some(part));
    world.repository.decide(&manifest).await.unwrap();
    assert_eq!(world.read(&manifest).await.unwrap(), state);
    world.repository.gc(NOW).await.unwrap();
    assert!(world.repository.verify(Epoch(2)).await.unwrap().is_whole());
}

#[tokio::test]
async fn an_abandoned_checkpoint_fails_before_its_garbage_goes() {
    let world = world().await;
    world
        .repository
        .claim_epoch(Epoch(1), "died")
        .await
        .unwrap();
    let part = world
        .write_part(1, &files(&[("a", &noise(100_000, 1))]))
        .await
        .unwrap();
    assert_eq!(world.repository.gc(LATER).await.unwrap().abandoned, []);
    let report = world.repository.gc(NOW).await.unwrap();
    assert_eq!(report.abandoned, [Epoch(1)]);
    assert_eq!((report.parts_removed, report.packs_removed), (1, 1));
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Failed
    );
    let late = world
        .repository
        .decide(&completed(1, Some(part)))
        .await
        .unwrap_err();
    assert!(["CL0105", "CL0110"].contains(&late.code()), "{late}");
}

#[tokio::test]
async fn parts_of_a_failed_checkpoint_go() {
    let world = world().await;
    world.repository.claim_epoch(Epoch(1), "t").await.unwrap();
    world.write_part(1, &files(&[("a", b"x")])).await.unwrap();
    world.repository.decide(&failed(1)).await.unwrap();
    let report = world.repository.gc(NOW).await.unwrap();
    assert_eq!((report.parts_removed, report.packs_removed), (1, 1));
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Failed
    );
}

#[tokio::test]
async fn a_restore_keeps_a_checkpoint_whose_deletion_began() {
    let world = world().await;
    let state = files(&[("a", b"x")]);
    let manifest = world.checkpoint(1, &state).await;
    let record = JournalRecord::new("r", 0, Epoch(1), "PLANNED", serde_json::Value::Null);
    world.repository.append_journal(&record).await.unwrap();
    // As if the deletion had looked for restores just before.
    let tombstone = world.path("checkpoints/00000000000000000001/deleting.json");
    std::fs::write(tombstone, "{}").unwrap();
    world.repository.gc(NOW).await.unwrap();
    assert_eq!(world.read(&manifest).await.unwrap(), state);
    let end = JournalRecord::new("r", 1, Epoch(1), "COMPLETED", serde_json::Value::Null).finished();
    world.repository.append_journal(&end).await.unwrap();
    let report = world.repository.gc(NOW).await.unwrap();
    assert_eq!(
        (report.deletions, report.packs_removed),
        (vec![Epoch(1)], 1)
    );
}

#[tokio::test]
async fn a_doubt_deletes_nothing() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    world.checkpoint(2, &files(&[("a", b"y")])).await;
    world.repository.delete(Epoch(1)).await.unwrap();
    for harmed in world.keys("checkpoints/00000000000000000002/").await {
        let path = world.path(&harmed);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let before = world.keys("").await;
        if harmed.contains("manifest") || harmed.contains("part-") {
            let error = world.repository.gc(NOW).await.unwrap_err();
            assert!(error.to_string().contains(&harmed), "{error}");
            assert_eq!(world.keys("").await, before);
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(world.repository.gc(NOW).await.unwrap().packs_removed, 1);
}

/// Makes objects look a day old.
async fn age(world: &crate::world::World, prefix: &str) {
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(24 * 3600);
    for meta in world.store.list(prefix).await.unwrap() {
        let file = std::fs::File::open(world.path(meta.key.as_str())).unwrap();
        file.set_modified(yesterday).unwrap();
    }
}

#[tokio::test]
async fn tables_are_kept_verified_built_on_and_deleted_with_their_checkpoint() {
    let world = world().await;
    let process = ProcessId {
        service: "table/t".into(),
        instance: Some("0".into()),
    };
    let rows = noise(2 << 20, 5);
    let mut uploaded = Vec::new();
    for epoch in 1..=2_u64 {
        let owner = world.repository.claim_epoch(Epoch(epoch), "test");
        owner.await.unwrap();
        let writer = world
            .repository
            .part_writer(Epoch(epoch), &process, "table");
        let mut part = writer.await.unwrap();
        part.begin(Entry::file("rows")).unwrap();
        part.push(&rows).await.unwrap();
        part.end_file().await.unwrap();
        let part = part.finish().await.unwrap();
        uploaded.push(part.uploaded_bytes);
        let mut manifest = completed(epoch, None);
        manifest.tables.push(TableRecord {
            process: process.clone(),
            topic: "t".into(),
            topic_id: "id".to_owned(),
            partition: 0,
            bound: Offset(7),
            records: 1,
            part,
        });
        world.repository.decide(&manifest).await.unwrap();
    }
    assert!(uploaded[1] < uploaded[0] / 10, "{uploaded:?}");
    world.repository.delete(Epoch(1)).await.unwrap();
    world.repository.gc(NOW).await.unwrap();
    let verified = world.repository.verify(Epoch(2)).await.unwrap();
    assert!(verified.is_whole() && verified.parts == 1);
    assert_eq!(verified.state_bytes, rows.len() as u64);
    world.repository.delete(Epoch(2)).await.unwrap();
    world.repository.gc(NOW).await.unwrap();
    assert!(world.keys("packs/").await.is_empty());
}

#[tokio::test]
async fn what_a_restore_keeps_is_verified_and_no_checkpoint_of_it_is_touched() {
    let world = world().await;
    let mut writer = world.repository.piece_writer("r1", "tables");
    for piece in [&b"one"[..], b"two"] {
        writer.push(piece).await.unwrap();
    }
    let (count, hash) = writer.finish();
    let store = &world.repository;
    store.gc(NOW).await.unwrap();
    let checked = store.check_pieces("r1", "tables", count, &hash).await;
    checked.unwrap();
    assert_eq!(
        &store.read_piece("r1", "tables", 1).await.unwrap()[..],
        b"two"
    );
    let short = store.check_pieces("r1", "tables", 1, &hash).await;
    assert!(short.unwrap_err().is_damage());
    let more = store.check_pieces("r1", "tables", 3, &hash).await;
    assert!(more.unwrap_err().is_damage());
    store.delete_pieces("r1").await.unwrap();
    assert!(world.keys("restores/").await.is_empty());
    assert!(store.restores().await.unwrap().is_empty());
}
