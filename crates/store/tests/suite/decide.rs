//! Decisions: of all who would end an epoch, write a journal or start a timeline, exactly one does.

use std::sync::Arc;

use crate::world::{completed, failed, files, world};
use cutline_model::{Epoch, Timeline};
use cutline_store::{
    CheckpointStatus, Fault, JournalRecord, MaskRecord, Objects, Operation, Repository,
    RestoreSummary, StoreError, TimelineRecord,
};

#[tokio::test]
async fn of_two_coordinators_one_decides_and_the_other_learns_what() {
    for _ in 0..10 {
        let world = world().await;
        world.repository.claim_epoch(Epoch(1), "one").await.unwrap();
        let part = world.write_part(1, &files(&[("a", b"x")])).await.unwrap();
        let (one, other) = (world.repository.clone(), world.another().await);
        let commit = tokio::spawn(async move { one.decide(&completed(1, Some(part))).await });
        let fail = tokio::spawn(async move { other.decide(&failed(1)).await });
        let (commit, fail) = (commit.await.unwrap(), fail.await.unwrap());
        assert!(commit.is_ok() != fail.is_ok(), "{commit:?} {fail:?}");
        let status = world.repository.status(Epoch(1)).await.unwrap();
        let loser = commit.and(fail).unwrap_err();
        assert!(
            matches!(loser, StoreError::AlreadyDecided { status: found, .. } if found == status),
            "{loser}"
        );
    }
}

#[tokio::test]
async fn a_coordinator_that_slept_cannot_complete_what_failed() {
    let world = world().await;
    world.repository.claim_epoch(Epoch(1), "one").await.unwrap();
    let part = world.write_part(1, &files(&[("a", b"x")])).await.unwrap();
    world.repository.decide(&failed(1)).await.unwrap();
    let late = world
        .repository
        .decide(&completed(1, Some(part.clone())))
        .await
        .unwrap_err();
    assert_eq!(late.code(), "CL0110", "{late}");
    // Nor when the failure was cleared away meanwhile.
    world.repository.delete(Epoch(1)).await.unwrap();
    let late = world
        .repository
        .decide(&completed(1, Some(part)))
        .await
        .unwrap_err();
    assert_eq!(late.code(), "CL0110", "{late}");
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Deleted
    );
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_repeated_with_success() {
    let world = world().await;
    world.repository.claim_epoch(Epoch(1), "one").await.unwrap();
    let manifest = completed(1, None);
    world
        .store
        .inject(Operation::Write, "manifest.json", 0, 1, Fault::AnswerLost)
        .await;
    assert!(
        world
            .repository
            .decide(&manifest)
            .await
            .unwrap_err()
            .is_retryable()
    );
    world.repository.decide(&manifest).await.unwrap();
}

#[tokio::test]
async fn no_manifest_before_its_parts_and_none_without_a_claim() {
    let world = world().await;
    let error = world
        .repository
        .decide(&completed(1, None))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0118", "{error}");
    world.repository.claim_epoch(Epoch(1), "one").await.unwrap();
    let part = world.write_part(1, &files(&[("a", b"x")])).await.unwrap();
    std::fs::remove_file(world.path(&part.key)).unwrap();
    let error = world
        .repository
        .decide(&completed(1, Some(part)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0105", "{error}");
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Incomplete
    );
}

#[tokio::test]
async fn an_epoch_has_one_owner_and_its_number_only_grows() {
    let world = world().await;
    assert_eq!(world.repository.next_epoch().await.unwrap(), Epoch(1));
    let claims = (0..8).map(|n| {
        let repository = world.repository.clone();
        tokio::spawn(async move {
            repository
                .claim_epoch(Epoch(7), &format!("owner {n}"))
                .await
                .is_ok()
        })
    });
    let mut owners = 0;
    for claim in claims.collect::<Vec<_>>() {
        owners += u32::from(claim.await.unwrap());
    }
    assert_eq!(owners, 1);
    let owner = world
        .repository
        .epoch_owner(Epoch(7))
        .await
        .unwrap()
        .unwrap()
        .owner;
    assert!(
        world.repository.claim_epoch(Epoch(7), &owner).await.is_ok(),
        "the owner may ask again"
    );
    assert_eq!(world.repository.next_epoch().await.unwrap(), Epoch(8));
}

#[tokio::test]
async fn the_list_shows_every_epoch_newest_first_as_it_is() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    world.repository.claim_epoch(Epoch(2), "t").await.unwrap();
    world.repository.decide(&failed(2)).await.unwrap();
    world.repository.claim_epoch(Epoch(3), "t").await.unwrap();
    world.checkpoint(4, &files(&[("a", b"y")])).await;
    world.repository.delete(Epoch(4)).await.unwrap();
    let show = |list: Vec<cutline_store::CheckpointSummary>| {
        list.into_iter()
            .map(|found| format!("{} {}", found.epoch, found.status))
            .collect::<Vec<_>>()
    };
    let all = world.repository.list(None, 10).await.unwrap();
    assert_eq!(show(all), ["3 INCOMPLETE", "2 FAILED", "1 COMPLETED"]);
    assert_eq!(
        show(world.repository.list(Some(Epoch(3)), 1).await.unwrap()),
        ["2 FAILED"]
    );
    // Another process sees the same from the store alone.
    assert_eq!(world.another().await.list(None, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_running_checkpoint_cannot_be_deleted() {
    let world = world().await;
    world.repository.claim_epoch(Epoch(1), "t").await.unwrap();
    assert_eq!(
        world.repository.delete(Epoch(1)).await.unwrap_err().code(),
        "CL0114"
    );
    assert_eq!(
        world.repository.delete(Epoch(9)).await.unwrap_err().code(),
        "CL0113"
    );
}

#[tokio::test]
async fn a_deletion_broken_off_counts_and_is_finished_by_the_same_call() {
    let world = world().await;
    let manifest = world.checkpoint(1, &files(&[("a", b"x")])).await;
    world
        .store
        .inject(Operation::Delete, "manifest.json", 0, 1, Fault::Unavailable)
        .await;
    assert!(
        world
            .repository
            .delete(Epoch(1))
            .await
            .unwrap_err()
            .is_retryable()
    );
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Deleting
    );
    assert!(
        world.repository.load(Epoch(1)).await.is_err(),
        "from the tombstone on it does not count"
    );
    world.repository.delete(Epoch(1)).await.unwrap();
    assert_eq!(
        world.repository.status(Epoch(1)).await.unwrap(),
        CheckpointStatus::Deleted
    );
    assert!(world.read(&manifest).await.is_err());
}

fn record(restore: &str, seq: u64, step: &str) -> JournalRecord {
    JournalRecord::new(
        restore,
        seq,
        Epoch(1),
        step,
        serde_json::json!({"by": "test"}),
    )
}

/// Lists of checkpoints say what was restored last: they got slower with every restore there had ever been (chaos, seed 201).
#[tokio::test]
async fn a_restore_that_is_over_is_read_once_however_often_it_is_listed() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    for restore in ["r1", "r2", "r3"] {
        let begin = record(restore, 0, "PLANNED");
        world.repository.append_journal(&begin).await.unwrap();
        let end = record(restore, 1, "COMPLETED").finished();
        world.repository.append_journal(&end).await.unwrap();
    }
    let begin = record("r4", 0, "PLANNED");
    world.repository.append_journal(&begin).await.unwrap();
    let first = world.repository.restores().await.unwrap();
    let reads = world.store.reads();
    assert_eq!(world.repository.restores().await.unwrap(), first);
    let again = world.store.reads() - reads;
    assert!(again <= 2, "{again} reads for the one that is not over");
    let end = record("r4", 1, "ABORTED").finished();
    world.repository.append_journal(&end).await.unwrap();
    let all = world.repository.restores().await.unwrap();
    let over = |restore: &RestoreSummary| restore.last.finished;
    assert_eq!(all.iter().filter(|restore| over(restore)).count(), 4);
}

#[tokio::test]
async fn of_two_writers_of_a_journal_the_second_is_told_to_stop() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    let first = record("r1", 0, "PLANNED");
    world.repository.append_journal(&first).await.unwrap();
    world.repository.append_journal(&first).await.unwrap();
    world
        .repository
        .append_journal(&record("r1", 1, "FENCING"))
        .await
        .unwrap();
    let error = world
        .another()
        .await
        .append_journal(&record("r1", 1, "ABORTED"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0111", "{error}");
    let end = record("r1", 2, "COMPLETED").finished();
    world.repository.append_journal(&end).await.unwrap();
    assert_eq!(
        world
            .repository
            .append_journal(&record("r1", 3, "MORE"))
            .await
            .unwrap_err()
            .code(),
        "CL0111"
    );
    assert_eq!(
        world
            .repository
            .append_journal(&record("r2", 5, "GAP"))
            .await
            .unwrap_err()
            .code(),
        "CL0105"
    );
    let steps: Vec<_> = world
        .repository
        .read_journal("r1")
        .await
        .unwrap()
        .into_iter()
        .map(|record| record.step)
        .collect();
    assert_eq!(steps, ["PLANNED", "FENCING", "COMPLETED"]);
    let restores = world.repository.restores().await.unwrap();
    assert_eq!((restores.len(), restores[0].last.finished), (1, true));
    assert!(
        world
            .repository
            .read_journal("none")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        world
            .repository
            .read_journal("../x")
            .await
            .unwrap_err()
            .code(),
        "CL0115"
    );
}

#[tokio::test]
async fn a_restore_that_is_not_over_keeps_its_checkpoint() {
    let world = world().await;
    world.checkpoint(1, &files(&[("a", b"x")])).await;
    world
        .repository
        .append_journal(&record("r1", 0, "PLANNED"))
        .await
        .unwrap();
    let error = world.repository.delete(Epoch(1)).await.unwrap_err();
    assert_eq!(error.code(), "CL0112", "{error}");
    world
        .repository
        .append_journal(&record("r1", 1, "ABORTED").finished())
        .await
        .unwrap();
    world.repository.delete(Epoch(1)).await.unwrap();
    let late = world
        .repository
        .append_journal(&record("r2", 0, "PLANNED"))
        .await
        .unwrap_err();
    assert_eq!(late.code(), "CL0114", "{late}");
    let refused = world.repository.read_journal("r2").await.unwrap();
    assert!(
        refused.last().unwrap().finished,
        "a refused restore keeps nothing"
    );
}

#[tokio::test]
async fn a_timeline_is_started_once() {
    let world = world().await;
    assert!(world.repository.timelines().await.unwrap().is_empty());
    let mask = MaskRecord {
        service: "bank".into(),
        topic: "t".into(),
        topic_id: "id".to_owned(),
        partition: 0,
        ranges: cutline_model::RangeSet::default(),
    };
    let mine = TimelineRecord::new(Timeline(0), "r1", Epoch(1), vec![mask]);
    world.repository.create_timeline(&mine).await.unwrap();
    world.repository.create_timeline(&mine).await.unwrap();
    let theirs = TimelineRecord::new(Timeline(0), "r2", Epoch(1), Vec::new());
    assert_eq!(
        world
            .repository
            .create_timeline(&theirs)
            .await
            .unwrap_err()
            .code(),
        "CL0111"
    );
    assert_eq!(world.repository.timelines().await.unwrap(), [mine]);
}

#[tokio::test]
async fn a_store_that_cannot_keep_a_promise_is_refused_when_it_is_opened() {
    for (fault, code) in [
        (Fault::Overwrites, "CL0104"),
        (Fault::Full, "CL0103"),
        (Fault::ReadOnly, "CL0102"),
    ] {
        let world = world().await;
        world
            .store
            .inject(Operation::Write, "probes/", 0, u64::MAX, fault)
            .await;
        let error = Repository::open(Arc::new(world.store.clone()))
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(
            error.to_string().contains(&world.store.describe()),
            "{error}"
        );
        world.store.heal().await;
        assert!(world.keys("probes/").await.is_empty());
    }
}

#[tokio::test]
async fn two_who_open_an_empty_store_share_one_repository() {
    let place = crate::backend::place().await;
    let store = place.open().await;
    let openings = (0..4).map(|_| tokio::spawn(Repository::open(Arc::clone(&store))));
    let mut ids = std::collections::BTreeSet::new();
    for opening in openings.collect::<Vec<_>>() {
        ids.insert(opening.await.unwrap().unwrap().id().to_owned());
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn nothing_is_made_where_a_repository_was_expected() {
    let place = crate::backend::place().await;
    let error = Repository::open_existing(place.open().await)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0108", "{error}");
}
