//! `dir:` gives back exactly the directory it recorded, whatever happened to it since, and leaves nothing else.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod world;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cutline_state::{Directory, Pattern, Provider, StateError, parse_state_spec};
use cutline_store::{Fault, Operation};
use proptest::prelude::*;
use world::{tree, world};

fn dir(path: &Path) -> Directory {
    Directory::new(path, Vec::new())
}

/// A directory with one of each.
fn fill(data: &Path) {
    fs::create_dir_all(data.join("deep/er/empty")).unwrap();
    fs::write(data.join("deep/er/file"), b"deep").unwrap();
    fs::write(data.join("top"), vec![7; 300_000]).unwrap();
    fs::write(data.join("nothing"), b"").unwrap();
    fs::set_permissions(data.join("top"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(data.join("deep"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("deep/er/file", data.join("link")).unwrap();
    symlink("/nowhere/at/all", data.join("dangling")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(data.join("top"))
        .unwrap()
        .set_modified(old)
        .unwrap();
}

#[tokio::test]
async fn everything_comes_back_as_it_was() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    let before = tree(&data);
    let part = world.record(1, &dir(&data)).await.unwrap();
    assert_eq!(tree(&data), before, "recording changes nothing");

    fs::write(data.join("top"), b"other").unwrap();
    fs::remove_file(data.join("deep/er/file")).unwrap();
    fs::remove_dir(data.join("deep/er/empty")).unwrap();
    fs::remove_file(data.join("link")).unwrap();
    fs::write(data.join("link"), b"a file where a link was").unwrap();
    fs::remove_file(data.join("nothing")).unwrap();
    fs::create_dir_all(data.join("nothing/at/all")).unwrap();
    fs::create_dir_all(data.join("extra/deep")).unwrap();
    fs::write(data.join("extra/deep/file"), b"extra").unwrap();
    let _socket = UnixListener::bind(data.join("socket")).unwrap();
    let inode = fs::metadata(&data).unwrap().ino();

    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(tree(&data), before);
    assert_eq!(
        fs::metadata(&data).unwrap().ino(),
        inode,
        "the directory stays the same one"
    );
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(tree(&data), before, "restoring again changes nothing");
}

#[tokio::test]
async fn a_forged_part_cannot_be_unpacked_through_a_link_that_it_brings() {
    let world = world().await;
    let (data, outside) = (world.data(), world.path("outside"));
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("passwd"), b"real").unwrap();
    symlink(&outside, data.join("door")).unwrap();
    fs::write(data.join("payload"), b"forged").unwrap();
    let mut part = world.record(1, &dir(&data)).await.unwrap();
    // The payload goes through the door; every hash is made anew.
    let document = world.path("store").join(&part.key);
    let text = fs::read_to_string(&document).unwrap();
    let (body, _) = text.split_once(",\n  \"blake3\"").unwrap();
    let body = body.replace("\"payload\"", "\"door/passwd\"");
    let hash = blake3::hash(body.as_bytes()).to_hex();
    let forged = format!("{body},\n  \"blake3\": \"{hash}\"\n}}\n");
    fs::write(&document, &forged).unwrap();
    part.hash = blake3::hash(forged.as_bytes()).to_hex().to_string();

    let error = world.restore(&dir(&data), &part).await.unwrap_err();
    assert!(error.to_string().contains("door/passwd"), "{error}");
    assert_eq!(fs::read(outside.join("passwd")).unwrap(), b"real");
    assert_eq!(
        fs::read(data.join("payload")).unwrap(),
        b"forged",
        "nothing was touched"
    );
}

#[tokio::test]
async fn what_is_written_after_the_fix_is_not_in_the_part() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    let before = tree(&data);
    let provider = dir(&data);
    let fixed = provider.fix().await.unwrap();
    fs::write(data.join("top"), b"written while it is copied").unwrap();
    fs::write(data.join("new"), b"new").unwrap();
    let mut part = world
        .repository
        .part_writer(cutline_model::Epoch(1), &world::process(), "dir")
        .await
        .unwrap();
    fixed.copy(&mut part).await.unwrap();
    let part = part.finish().await.unwrap();
    world.restore(&provider, &part).await.unwrap();
    assert_eq!(tree(&data), before);
}

#[tokio::test]
async fn an_application_that_holds_a_file_open_sees_what_was_restored() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("file"), b"before").unwrap();
    let part = world.record(1, &dir(&data)).await.unwrap();
    fs::write(data.join("file"), b"after, and longer").unwrap();
    let held = fs::File::open(data.join("file")).unwrap();
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(std::io::read_to_string(held).unwrap(), "before");
}

#[tokio::test]
async fn a_file_linked_elsewhere_is_not_changed_there() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("1.sst"), b"first").unwrap();
    let part = world.record(1, &dir(&data)).await.unwrap();
    fs::write(data.join("1.sst"), b"second").unwrap();
    fs::hard_link(data.join("1.sst"), world.path("an engine's own checkpoint")).unwrap();
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(fs::read(data.join("1.sst")).unwrap(), b"first");
    assert_eq!(
        fs::read(world.path("an engine's own checkpoint")).unwrap(),
        b"second"
    );
}

#[tokio::test]
async fn immutable_files_are_linked_and_survive_their_removal() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("1.sst"), vec![1; 1000]).unwrap();
    fs::write(data.join("CURRENT"), b"MANIFEST-1").unwrap();
    let before = tree(&data);
    let provider = Directory::new(&data, vec![Pattern::new("*.sst").unwrap()]);
    let fixed = provider.fix().await.unwrap();
    assert_eq!(
        fs::metadata(data.join("1.sst")).unwrap().nlink(),
        2,
        "linked, not copied"
    );
    assert_eq!(
        fs::metadata(data.join("CURRENT")).unwrap().nlink(),
        1,
        "copied, not linked"
    );
    // Compaction takes the file away while it is being uploaded.
    fs::remove_file(data.join("1.sst")).unwrap();
    fs::write(data.join("2.sst"), b"compacted").unwrap();
    fs::write(data.join("CURRENT"), b"MANIFEST-2").unwrap();
    let mut part = world
        .repository
        .part_writer(cutline_model::Epoch(1), &world::process(), "dir")
        .await
        .unwrap();
    fixed.copy(&mut part).await.unwrap();
    let part = part.finish().await.unwrap();
    world.restore(&provider, &part).await.unwrap();
    assert_eq!(tree(&data), before);
}

#[tokio::test]
async fn a_directory_that_does_not_stand_still_is_refused() {
    let world = world().await;
    let data = world.data();
    for n in 0..200 {
        fs::write(data.join(format!("file{n}")), vec![1; 50_000]).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, path) = (Arc::clone(&stop), data.join("file0"));
        std::thread::spawn(move || {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                fs::write(&path, n.to_string()).unwrap();
            }
        })
    };
    let error = world.record(1, &dir(&data)).await.unwrap_err();
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(error.code(), "CL0153", "{error}");
    assert!(error.is_retryable());
    assert!(
        world.record(1, &dir(&data)).await.is_ok(),
        "it is fine once it stands still"
    );
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let world = world().await;
    let data = world.data();
    let _socket = UnixListener::bind(data.join("my-socket")).unwrap();
    for error in [
        dir(&data).probe().await.unwrap_err(),
        world.record(1, &dir(&data)).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "CL0152");
        assert!(
            error
                .to_string()
                .contains("my-socket: a socket cannot be kept"),
            "{error}"
        );
    }
    fs::remove_file(data.join("my-socket")).unwrap();
    fs::write(data.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"x").unwrap();
    let error = world.record(1, &dir(&data)).await.unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_error_and_never_an_empty_state() {
    let world = world().await;
    let provider = dir(&world.path("not-there"));
    provider.probe().await.unwrap();
    assert_eq!(
        world.record(1, &provider).await.unwrap_err().code(),
        "CL0154"
    );
}

#[tokio::test]
async fn leftovers_of_a_run_that_died_are_removed_at_the_next_start_and_only_those() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    let id = "0123456789abcdef0123456789abcdef";
    let dead = world.path(&format!(".cutline-staging-data.{id}"));
    let another = world.path(&format!(".cutline-staging-data.b.{id}"));
    let inside = data.join(format!(".cutline-staging-data.{id}"));
    for path in [&dead, &another, &inside] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("0"), b"x").unwrap();
    }
    // What is left inside is never taken for state.
    let part = world.record(1, &dir(&data)).await.unwrap();
    dir(&data).probe().await.unwrap();
    assert!(!dead.exists() && !inside.exists());
    assert!(another.exists(), "another directory's own");
    let before = tree(&data);
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(tree(&data), before);
}

#[tokio::test]
async fn a_fix_that_is_dropped_leaves_nothing() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    dir(&data).fix().await.unwrap().discard().await.unwrap();
    assert_eq!(world.leftovers(), Vec::<String>::new());
    drop(dir(&data).fix().await.unwrap());
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !world.leftovers().is_empty() {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            world.leftovers()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

#[tokio::test]
async fn a_damaged_or_unreachable_part_changes_nothing() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("a"), b"recorded").unwrap();
    // More than is read at once, and nothing to compress.
    fs::write(data.join("z"), noise(5_000_000)).unwrap();
    let part = world.record(1, &dir(&data)).await.unwrap();
    fs::write(data.join("a"), b"now").unwrap();
    let now = tree(&data);
    // The last file's last bytes: everything before them reads well.
    let packs = tree(&world.path("store/packs"));
    assert_eq!(packs.len(), 1);
    let pack = world
        .path("store/packs")
        .join(packs.into_keys().next().unwrap());
    let whole = fs::read(&pack).unwrap();
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    for bytes in [&altered[..], &whole[..whole.len() - 1]] {
        fs::write(&pack, bytes).unwrap();
        let error = world.restore(&dir(&data), &part).await.unwrap_err();
        assert_eq!(error.code(), "CL0106", "{error}");
        assert_eq!(tree(&data), now);
    }
    fs::write(&pack, whole).unwrap();
    world
        .store
        .inject(Operation::Read, "packs/", 1, u64::MAX, Fault::Unavailable)
        .await;
    assert!(
        world
            .restore(&dir(&data), &part)
            .await
            .unwrap_err()
            .is_retryable()
    );
    assert_eq!(tree(&data), now);
    assert_eq!(world.leftovers(), Vec::<String>::new());
    world.store.heal().await;
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(fs::read(data.join("a")).unwrap(), b"recorded");
}

#[tokio::test]
async fn a_restore_broken_off_is_repaired_by_restoring_again() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    let before = tree(&data);
    let part = world.record(1, &dir(&data)).await.unwrap();
    // What a crash in the middle of putting files in place can leave: some old, some new, one half written, some gone.
    fs::write(data.join("top"), vec![7; 1234]).unwrap();
    fs::remove_dir_all(data.join("deep")).unwrap();
    fs::write(data.join("not yet removed"), b"x").unwrap();
    fs::create_dir(world.path(".cutline-staging-data.0123456789abcdef0123456789abcdef")).unwrap();
    dir(&data).probe().await.unwrap();
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(tree(&data), before);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_that_is_gone_is_made_again() {
    let world = world().await;
    let data = world.data();
    fill(&data);
    let before = tree(&data);
    let part = world.record(1, &dir(&data)).await.unwrap();
    fs::remove_dir_all(&data).unwrap();
    world.restore(&dir(&data), &part).await.unwrap();
    assert_eq!(tree(&data), before);
}

#[tokio::test]
async fn a_part_of_another_provider_is_refused() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("a"), b"x").unwrap();
    let part = world
        .repository
        .part_writer(cutline_model::Epoch(1), &world::process(), "http")
        .await
        .unwrap();
    let part = part.finish().await.unwrap();
    let error = world.restore(&dir(&data), &part).await.unwrap_err();
    assert!(matches!(error, StateError::OtherProvider { .. }), "{error}");
    assert!(data.join("a").exists());
}

#[tokio::test]
async fn a_directory_named_on_the_command_line_is_captured() {
    let world = world().await;
    let data = world.data();
    fs::write(data.join("1.sst"), b"x").unwrap();
    let spec = format!(
        "dir:{}?immutable=*.sst,*.blob&scope=service",
        data.display()
    );
    let state = parse_state_spec(&spec).unwrap();
    assert_eq!(state.scope, cutline_model::Scope::Service);
    let part = world.record(1, &*state.provider).await.unwrap();
    assert_eq!((part.provider.as_str(), part.state_bytes), ("dir", 1));
}

#[tokio::test]
async fn several_states_of_a_process_are_recorded_and_restored_together() {
    let world = world().await;
    let (one, other) = (world.path("one"), world.path("other"));
    fill(&one);
    fs::create_dir(&other).unwrap();
    fs::write(other.join("top"), b"of the other").unwrap();
    let before = (tree(&one), tree(&other));
    let specs = [
        format!("dir:{}", one.display()),
        format!("dir:{}", other.display()),
    ];
    let state = cutline_state::parse_state_specs(&specs).unwrap();
    let part = world.record(1, &*state.provider).await.unwrap();
    assert_eq!(part.provider, "dir+dir");
    for path in [&one, &other] {
        fs::write(path.join("top"), b"spoiled").unwrap();
    }
    world.restore(&*state.provider, &part).await.unwrap();
    assert_eq!((tree(&one), tree(&other)), before);
    let error = world
        .restore(
            &*parse_state_spec("http://127.0.0.1:1").unwrap().provider,
            &part,
        )
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0161", "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_directory_becomes_any_other_one(
        one in proptest::collection::btree_map("[ab]/[ab]|[ab]", 0_u8..4, 0..8),
        other in proptest::collection::btree_map("[ab]/[ab]|[ab]", 0_u8..4, 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let data = world.data();
            build(&data, &one);
            let recorded = tree(&data);
            let part = world.record(1, &dir(&data)).await.unwrap();
            fs::remove_dir_all(&data).unwrap();
            build(&world.data(), &other);
            world.restore(&dir(&data), &part).await.unwrap();
            assert_eq!(tree(&data), recorded);
        });
    }
}

/// Files, directories and links at the given paths, as far as they fit together.
fn build(data: &Path, plan: &BTreeMap<String, u8>) {
    for (path, kind) in plan {
        let path = data.join(path);
        let parent = path.parent().unwrap();
        if fs::symlink_metadata(&path).is_ok() || fs::create_dir_all(parent).is_err() {
            continue;
        }
        match kind {
            0 => fs::create_dir(&path).unwrap(),
            1 => symlink("a", &path).unwrap(),
            n => fs::write(&path, vec![*n; usize::from(*n) * 1000]).unwrap(),
        }
    }
}
