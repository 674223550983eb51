//! Parts: what goes in comes out, only what is new is written, and a part is there whole or not at all.

use std::time::Duration;

use crate::world::{bank, completed, files, noise, world};
use cutline_model::Epoch;
use cutline_store::{CheckpointStatus, Entry, EntryKind, Fault, Operation, PACK_BYTES_MAX};
use proptest::prelude::*;

#[tokio::test]
async fn everything_that_went_in_comes_out_with_its_attributes() {
    let world = world().await;
    let repository = &world.repository;
    repository.claim_epoch(Epoch(1), "test").await.unwrap();
    let mut part = repository
        .part_writer(Epoch(1), &bank(), "dir")
        .await
        .unwrap();
    part.set_attribute("engine", "sqlite").unwrap();
    let directory = Entry {
        mode: 0o700,
        modified_ns: Some(5),
        owner: Some((1, 2)),
        ..Entry::directory("empty")
    };
    part.begin(directory.clone()).unwrap();
    part.begin(Entry::symlink("link", "../anywhere")).unwrap();
    let big = noise(3 * PACK_BYTES_MAX, 1);
    part.begin(Entry {
        mode: 0o600,
        ..Entry::file("big")
    })
    .unwrap();
    for piece in big.chunks(100_003) {
        part.push(piece).await.unwrap();
    }
    part.end_file().await.unwrap();
    part.begin(Entry::file("nothing")).unwrap();
    part.end_file().await.unwrap();
    let part = part.finish().await.unwrap();
    assert_eq!(part.state_bytes, big.len() as u64);
    assert!(
        part.uploaded_bytes >= part.state_bytes,
        "noise does not compress"
    );

    let mut reader = repository.part_reader(&part).await.unwrap();
    assert_eq!(reader.attribute("engine"), Some("sqlite"));
    assert_eq!(reader.next_entry().await.unwrap(), Some(directory));
    let link = reader.next_entry().await.unwrap().unwrap();
    assert_eq!(
        link.kind,
        EntryKind::Symlink {
            target: "../anywhere".to_owned()
        }
    );
    let file = reader.next_entry().await.unwrap().unwrap();
    assert_eq!((file.mode, file.bytes()), (0o600, big.len() as u64));
    let mut read = Vec::new();
    while let Some(bytes) = reader.read().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert!(read == big);
    assert_eq!(reader.next_entry().await.unwrap().unwrap().bytes(), 0);
    assert_eq!(reader.read().await.unwrap(), None);
    assert_eq!(reader.next_entry().await.unwrap(), None);
}

#[tokio::test]
async fn no_pack_is_larger_than_the_limit_and_small_files_share_one() {
    let world = world().await;
    let many = (0..2000_u32)
        .map(|n| (format!("f{n}"), noise(500, u64::from(n))))
        .collect();
    let manifest = world.checkpoint(1, &many).await;
    assert_eq!(world.keys("packs/").await.len(), 1);
    assert_eq!(world.read(&manifest).await.unwrap(), many);
    world
        .checkpoint(2, &files(&[("x", &noise(20 << 20, 9))]))
        .await;
    use cutline_store::Objects;
    for meta in world.store.list("packs/").await.unwrap() {
        assert!(meta.bytes <= PACK_BYTES_MAX as u64);
    }
}

#[tokio::test]
async fn only_what_changed_is_uploaded_and_each_part_stands_alone() {
    let world = world().await;
    let mut state = files(&[("a", &noise(6 << 20, 1)), ("b", &noise(2 << 20, 2))]);
    let first = world.checkpoint(1, &state).await;
    state[0]
        .1
        .splice(3_000_000..3_000_010, *b"changed in the middle");
    let second = world.checkpoint(2, &state).await;
    assert!(
        second.uploaded_bytes() < 1_500_000,
        "{}",
        second.uploaded_bytes()
    );
    // A process that just started knows the same.
    let other = world.another().await;
    other.claim_epoch(Epoch(3), "test").await.unwrap();
    let third = crate::world::write_part(&other, 3, &state).await.unwrap();
    assert!(third.uploaded_bytes < 100_000, "{}", third.uploaded_bytes);

    world.repository.delete(Epoch(1)).await.unwrap();
    let gone = world.repository.load(Epoch(1)).await.unwrap_err();
    assert_eq!(gone.code(), "CL0114", "{gone}");
    assert!(first.uploaded_bytes() > 8_000_000);
    assert_eq!(world.read(&second).await.unwrap(), state);
}

#[tokio::test]
async fn the_same_bytes_twice_in_a_part_are_stored_once() {
    let world = world().await;
    let twice = noise(4 << 20, 3);
    let manifest = world
        .checkpoint(1, &files(&[("a", &twice), ("b", &twice)]))
        .await;
    assert!(manifest.uploaded_bytes() < 5 << 20);
    assert_eq!(manifest.state_bytes(), 8 << 20);
}

#[tokio::test]
async fn a_failed_checkpoint_is_never_built_on() {
    let world = world().await;
    let state = files(&[("a", &noise(2 << 20, 4))]);
    world
        .repository
        .claim_epoch(Epoch(1), "test")
        .await
        .unwrap();
    world.write_part(1, &state).await.unwrap();
    world
        .repository
        .decide(&crate::world::failed(1))
        .await
        .unwrap();
    world
        .repository
        .claim_epoch(Epoch(2), "test")
        .await
        .unwrap();
    let part = world.write_part(2, &state).await.unwrap();
    assert!(part.uploaded_bytes > 2 << 20);
}

#[tokio::test]
async fn a_lost_pack_is_written_again_by_the_next_checkpoint() {
    let world = world().await;
    let state = files(&[("a", &noise(2 << 20, 5))]);
    let first = world.checkpoint(1, &state).await;
    let pack = world.keys("packs/").await.remove(0);
    std::fs::remove_file(world.path(&pack)).unwrap();
    assert!(world.read(&first).await.is_err());
    let second = world.checkpoint(2, &state).await;
    assert_eq!(world.read(&second).await.unwrap(), state);
}

#[tokio::test]
async fn a_writer_dropped_midway_leaves_no_part_and_no_checkpoint() {
    let world = world().await;
    world
        .repository
        .claim_epoch(Epoch(1), "test")
        .await
        .unwrap();
    let mut part = world
        .repository
        .part_writer(Epoch(1), &bank(), "dir")
        .await
        .unwrap();
    part.begin(Entry::file("a")).unwrap();
    part.push(&noise(20 << 20, 6)).await.unwrap();
    drop(part);
    assert!(world.keys("checkpoints/").await.is_empty());
    let listed = world.repository.list(None, 10).await.unwrap();
    assert_eq!(
        (listed.len(), listed[0].status),
        (1, CheckpointStatus::Incomplete)
    );
    assert_eq!(
        world.repository.load(Epoch(1)).await.unwrap_err().code(),
        "CL0114"
    );
}

#[tokio::test]
async fn a_full_or_read_only_store_fails_the_part_and_names_the_cure() {
    for (fault, code, word) in [
        (Fault::Full, "CL0103", "free space"),
        (Fault::ReadOnly, "CL0102", "permission"),
    ] {
        let world = world().await;
        world
            .repository
            .claim_epoch(Epoch(1), "test")
            .await
            .unwrap();
        // The first pack fits, the second does not.
        world
            .store
            .inject(Operation::Write, "packs/", 1, u64::MAX, fault)
            .await;
        let error = world
            .write_part(1, &files(&[("a", &noise(30 << 20, 7))]))
            .await
            .unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(word), "{error}");
        assert!(world.keys("checkpoints/").await.is_empty());
    }
}

#[tokio::test]
async fn a_part_whose_answer_was_lost_is_written_again_with_success() {
    let world = world().await;
    let state = files(&[("a", b"state")]);
    world
        .repository
        .claim_epoch(Epoch(1), "test")
        .await
        .unwrap();
    world
        .store
        .inject(Operation::Write, "part-", 0, 1, Fault::AnswerLost)
        .await;
    let error = world.write_part(1, &state).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let part = world.write_part(1, &state).await.unwrap();
    world
        .repository
        .decide(&completed(1, Some(part)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_its_caller_and_nothing_else() {
    let world = world().await;
    world
        .repository
        .claim_epoch(Epoch(1), "test")
        .await
        .unwrap();
    world
        .store
        .inject(Operation::Write, "packs/", 0, 1, Fault::Hangs)
        .await;
    let state = files(&[("a", &noise(1 << 20, 8))]);
    let hung = tokio::time::timeout(Duration::from_millis(300), world.write_part(1, &state)).await;
    assert!(hung.is_err(), "the caller's own deadline ends it");
    assert!(world.write_part(1, &state).await.is_ok());
}

#[tokio::test]
async fn calls_in_a_wrong_order_are_errors() {
    let world = world().await;
    let writer = async || {
        world
            .repository
            .part_writer(Epoch(1), &bank(), "dir")
            .await
            .unwrap()
    };
    let mut part = writer().await;
    assert_eq!(part.push(b"x").await.unwrap_err().code(), "CL0118");
    assert_eq!(part.end_file().await.unwrap_err().code(), "CL0118");
    part.begin(Entry::file("a")).unwrap();
    assert_eq!(part.begin(Entry::file("b")).unwrap_err().code(), "CL0118");
    assert_eq!(part.finish().await.unwrap_err().code(), "CL0118");
    let mut part = writer().await;
    part.begin(Entry::directory("a")).unwrap();
    part.begin(Entry::symlink("a", "b")).unwrap();
    assert_eq!(part.finish().await.unwrap_err().code(), "CL0117");
    assert_eq!(
        writer()
            .await
            .begin(Entry::file("../x"))
            .unwrap_err()
            .code(),
        "CL0117"
    );
}

#[tokio::test]
async fn several_states_of_a_process_are_kept_apart() {
    let world = world().await;
    let mut part = world
        .repository
        .part_writer(Epoch(1), &bank(), "several")
        .await
        .unwrap();
    for (section, content) in [(0, "zero"), (1, "one")] {
        part.set_section(section);
        part.begin(Entry::file("same")).unwrap();
        part.push(content.as_bytes()).await.unwrap();
        part.end_file().await.unwrap();
    }
    let part = part.finish().await.unwrap();
    let mut reader = world.repository.part_reader(&part).await.unwrap();
    assert_eq!(reader.sections(), [0, 1]);
    for (section, content) in [(1, "one"), (0, "zero")] {
        reader.set_section(section);
        assert_eq!(
            crate::world::read_all(&mut reader).await.unwrap(),
            files(&[("same", content.as_bytes())])
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_files_in_any_pieces_come_back(
        sizes in proptest::collection::vec(0_usize..900_000, 0..6),
        step in 1_000_usize..700_000,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let repository = &world.repository;
            repository.claim_epoch(Epoch(1), "test").await.unwrap();
            let content: crate::world::Files = sizes.iter().enumerate()
                .map(|(n, &bytes)| (format!("d{n}/f"), noise(bytes, seed.wrapping_add(n as u64))))
                .collect();
            let mut part = repository.part_writer(Epoch(1), &bank(), "dir").await.unwrap();
            for (path, bytes) in &content {
                part.begin(Entry::file(path)).unwrap();
                for piece in bytes.chunks(step) {
                    part.push(piece).await.unwrap();
                }
                part.end_file().await.unwrap();
            }
            let manifest = completed(1, Some(part.finish().await.unwrap()));
            repository.decide(&manifest).await.unwrap();
            assert_eq!(world.read(&manifest).await.unwrap(), content);
            assert!(repository.verify(Epoch(1)).await.unwrap().is_whole());
        });
    }
}
