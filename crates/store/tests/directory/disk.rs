//! Real disks: one that is full and one that is read-only, where this test may mount them.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::world::{self, noise};
use cutline_model::Epoch;
use cutline_store::{PACK_BYTES_MAX, Repository, StoreSpec};

/// A small file system in memory, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where this process may not mount.
    fn new() -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=2m", "tmpfs"],
            root.path(),
        )
        .then_some(Self(root))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let done = Command::new(program).args(arguments).arg(path).output();
    done.is_ok_and(|done| done.status.success())
}

/// Waits for that: a second pack was on its way when the first did not fit, and is given up by a thread of its own.
async fn nothing_is_being_written(mount: &Path) {
    let begun = || {
        std::fs::read_dir(mount.join("store/.writing"))
            .unwrap()
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while begun() > 0 {
        assert!(Instant::now() < deadline, "{} files are left", begun());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_one_are_told_apart_and_lose_nothing() {
    let Some(mount) = Mount::new() else {
        println!("skipped: this process may not mount a file system");
        return;
    };
    let spec: StoreSpec = format!("file:{}/store", mount.0.path().display())
        .parse()
        .unwrap();
    let repository = Repository::open(spec.open().await.unwrap()).await.unwrap();
    repository.claim_epoch(Epoch(1), "t").await.unwrap();
    let small = world::write_part(&repository, 1, &world::files(&[("a", b"small")]))
        .await
        .unwrap();
    let manifest = world::completed(1, Some(small));
    repository.decide(&manifest).await.unwrap();
    repository.claim_epoch(Epoch(2), "t").await.unwrap();

    let large = world::files(&[("a", &noise(8 << 20, 1))]);
    let error = world::write_part(&repository, 2, &large).await.unwrap_err();
    assert_eq!(error.code(), "CL0103", "{error}");
    assert!(repository.verify(Epoch(1)).await.unwrap().is_whole());
    let store = spec.open().await.unwrap();
    // A small last pack may have fitted beside the one that did not: what is listed must be whole.
    for meta in store.list("packs/").await.unwrap() {
        let bytes = store.get(&meta.key, PACK_BYTES_MAX as u64).await.unwrap();
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            meta.key.name(),
            "{} bytes",
            meta.bytes
        );
    }
    nothing_is_being_written(mount.0.path()).await;

    assert!(run("mount", &["-o", "remount,ro"], mount.0.path()));
    let error = Repository::open(spec.open().await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CL0102", "{error}");
    let reading = Repository::open_existing(spec.open().await.unwrap())
        .await
        .unwrap();
    assert!(
        reading.verify(Epoch(1)).await.unwrap().is_whole(),
        "what is there can still be read"
    );
}
