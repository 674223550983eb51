//! Stores as the programs of each format wrote them: whatever comes later reads them.
//!
//! `formats/N` lies here as it was written, by `write_a_store_of_this_format` in the last version of format N. None is ever changed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cutline_model::Epoch;
use cutline_store::{Directory, FORMAT, Objects, Repository};

use crate::world::{Files, bank, completed, files, noise, read_all, write_part};

/// What its two checkpoints hold: in the second a hundred bytes amid a file are others.
fn contents() -> [Files; 2] {
    let rows = noise(24_000, 1);
    let mut changed = rows.clone();
    changed[12_000..12_100].copy_from_slice(&noise(104, 2)[..100]);
    let accounts = br#"{"alice":12,"bob":30}"#;
    [
        files(&[
            ("accounts.json", accounts),
            ("data/rows", &rows),
            ("empty", b""),
        ]),
        files(&[
            ("accounts.json", accounts),
            ("data/rows", &changed),
            ("empty", b""),
        ]),
    ]
}

fn directory_of(format: u32) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("formats").join(format.to_string())
}

async fn opened(path: &Path) -> Arc<dyn Objects> {
    Arc::new(Directory::open(path).await.unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_of_every_format_there_was_is_read_whole() {
    for format in 1..=FORMAT {
        let place = tempfile::tempdir().unwrap();
        copy(&directory_of(format), place.path());
        let repository = Repository::open_existing(opened(place.path()).await).await;
        let repository = repository.unwrap_or_else(|error| panic!("format {format}: {error}"));
        for (epoch, content) in (1..).map(Epoch).zip(contents()) {
            let manifest = repository.load(epoch).await.unwrap();
            assert_eq!(manifest.format, format);
            assert!(repository.verify(epoch).await.unwrap().is_whole());
            let part = repository.open_part(&manifest, &bank()).await.unwrap();
            assert_eq!(
                read_all(&mut part.unwrap()).await.unwrap(),
                content,
                "format {format}"
            );
        }
    }
}

#[tokio::test]
async fn a_store_of_an_older_format_takes_new_checkpoints() {
    let place = tempfile::tempdir().unwrap();
    copy(&directory_of(1), place.path());
    let repository = Repository::open(opened(place.path()).await).await.unwrap();
    let epoch = repository.next_epoch().await.unwrap();
    assert_eq!(epoch, Epoch(3));
    repository.claim_epoch(epoch, "test").await.unwrap();
    let [first, second] = contents();
    let part = write_part(&repository, epoch.0, &first).await.unwrap();
    repository
        .decide(&completed(epoch.0, Some(part)))
        .await
        .unwrap();
    for (epoch, content) in [(Epoch(2), second), (epoch, first)] {
        assert!(repository.verify(epoch).await.unwrap().is_whole());
        let manifest = repository.load(epoch).await.unwrap();
        let part = repository.open_part(&manifest, &bank()).await.unwrap();
        assert_eq!(read_all(&mut part.unwrap()).await.unwrap(), content);
    }
}

#[tokio::test]
#[ignore = "once for each format"]
async fn write_a_store_of_this_format() {
    let path = directory_of(FORMAT);
    assert!(
        !path.exists(),
        "{} is there and stays as it is",
        path.display()
    );
    let repository = Repository::open(opened(&path).await).await.unwrap();
    for (epoch, content) in (1..).zip(contents()) {
        repository.claim_epoch(Epoch(epoch), "test").await.unwrap();
        let part = write_part(&repository, epoch, &content).await.unwrap();
        repository
            .decide(&completed(epoch, Some(part)))
            .await
            .unwrap();
    }
    fs::remove_dir_all(path.join(".writing")).unwrap();
}
