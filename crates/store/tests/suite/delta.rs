//! Deltas: a small change costs about itself, and whatever it is stored as, what went in comes out.

use std::{collections::HashMap, fs, time::Duration};

use crate::world::{Files, World, files, noise, world, write_part};
use cutline_model::Epoch;
use cutline_store::{
    CHUNK_BYTES_MIN, Fault, GcOptions, Manifest, Objects, Operation, PACK_BYTES_MAX, Repository,
};
use proptest::prelude::*;
use serde_json::Value;

/// What may be uploaded for a byte that changed.
const RATIO_MAX: f64 = 3.0;

/// Rows of a table, one after another in the order of their keys; noise, which no compressor makes smaller.
struct Rows {
    rows: Vec<Vec<u8>>,
    bytes: usize,
    made: u64,
    dice: u64,
}

impl Rows {
    fn new(count: usize, bytes: usize) -> Self {
        let mut rows = Self {
            rows: Vec::new(),
            bytes,
            made: 0,
            dice: 0,
        };
        rows.append(count);
        rows
    }

    fn row(&mut self) -> Vec<u8> {
        self.made += 1;
        noise(self.bytes, self.made << 32)
    }

    fn append(&mut self, count: usize) {
        for _ in 0..count {
            let row = self.row();
            self.rows.push(row);
        }
    }

    /// True for about one in `of`.
    fn dice(&mut self, of: u64) -> bool {
        self.dice += 1;
        let bytes = noise(8, self.dice ^ 0x5eed_5eed);
        u64::from_le_bytes(bytes.try_into().unwrap()).is_multiple_of(of)
    }

    /// Changes one row in a hundred where it is; tells how many bytes these are.
    fn update(&mut self) -> usize {
        let mut changed = 0;
        for at in 0..self.rows.len() {
            if self.dice(100) {
                self.rows[at] = self.row();
                changed += self.bytes;
            }
        }
        changed
    }

    /// Removes one row in `of`; tells how many.
    fn remove(&mut self, of: u64) -> usize {
        let before = std::mem::take(&mut self.rows);
        let count = before.len();
        for row in before {
            if !self.dice(of) {
                self.rows.push(row);
            }
        }
        count - self.rows.len()
    }

    fn files(&self) -> Files {
        files(&[("about", b"rows"), ("table", &self.rows.concat())])
    }
}

fn ratio(manifest: &Manifest, changed: usize) -> f64 {
    manifest.uploaded_bytes() as f64 / changed as f64
}

/// The part document of a checkpoint of one process.
fn part(world: &World, manifest: &Manifest) -> Value {
    let key = &manifest.parts().next().unwrap().1.key;
    serde_json::from_slice(&fs::read(world.path(key)).unwrap()).unwrap()
}

/// Index and bases of each delta of a part.
fn deltas(part: &Value) -> HashMap<u64, Vec<u64>> {
    let deltas = part.get("deltas").and_then(Value::as_array);
    let delta = |delta: &Value| serde_json::from_value::<(u64, Vec<u64>)>(delta.clone()).unwrap();
    deltas.into_iter().flatten().map(delta).collect()
}

#[tokio::test]
async fn rows_changed_in_place_cost_about_themselves() {
    for (count, bytes) in [(24 << 10, 1 << 10), (80_000, 100)] {
        let world = world().await;
        let mut rows = Rows::new(count, bytes);
        let first = world.checkpoint(1, &rows.files()).await;
        assert!(first.uploaded_bytes() as usize > count * bytes);
        assert!(deltas(&part(&world, &first)).is_empty());
        let changed = rows.update();
        let second = world.checkpoint(2, &rows.files()).await;
        let ratio = ratio(&second, changed);
        println!("rows of {bytes} bytes in place: {changed} bytes changed, ratio {ratio:.2}");
        assert!(ratio <= RATIO_MAX, "{ratio}");
        assert_eq!(world.read(&second).await.unwrap(), rows.files());
    }
}

#[tokio::test]
async fn rows_whose_new_version_lies_at_the_end_cost_about_themselves() {
    let world = world().await;
    let mut rows = Rows::new(160_000, 150);
    world.checkpoint(1, &rows.files()).await;
    let moved = rows.remove(100);
    rows.append(moved);
    let second = world.checkpoint(2, &rows.files()).await;
    let ratio = ratio(&second, moved * rows.bytes);
    println!("rows at the end: {moved} rows moved, ratio {ratio:.2}");
    assert!(ratio <= RATIO_MAX, "{ratio}");
    assert_eq!(world.read(&second).await.unwrap(), rows.files());
}

#[tokio::test]
async fn the_uploaded_bytes_are_those_of_the_new_objects() {
    let world = world().await;
    let mut rows = Rows::new(8_000, 1_000);
    world.checkpoint(1, &rows.files()).await;
    let before = world.keys("").await;
    rows.update();
    let second = world.checkpoint(2, &rows.files()).await;
    assert!(!deltas(&part(&world, &second)).is_empty());
    let mut new = 0;
    for meta in world.store.list("").await.unwrap() {
        let counts =
            meta.key.as_str().starts_with("packs/") || meta.key.as_str().contains("/part-");
        if counts && !before.contains(&meta.key.to_string()) {
            new += meta.bytes;
        }
    }
    assert_eq!(second.uploaded_bytes(), new);
}

#[tokio::test]
async fn after_many_checkpoints_deltas_are_one_level_deep_and_need_no_earlier_checkpoint() {
    let world = world().await;
    let mut rows = Rows::new(4_000, 1_000);
    let mut last = world.checkpoint(1, &rows.files()).await;
    let mut repository = world.another().await;
    let mut deltas_seen = 0;
    for epoch in 2..=16 {
        rows.update();
        if epoch % 3 == 0 {
            rows.remove(400);
            rows.append(10);
            // A process that just started goes on in the same way.
            repository = world.another().await;
        }
        last = checkpoint(&repository, epoch, &rows.files()).await;
        let part = part(&world, &last);
        let deltas = deltas(&part);
        deltas_seen += deltas.len();
        let bases = deltas.values().flatten();
        assert_eq!(bases.filter(|base| deltas.contains_key(base)).count(), 0);
        repository.delete(Epoch(epoch - 1)).await.unwrap();
        let hasty = GcOptions {
            dry_run: false,
            grace: Duration::ZERO,
        };
        repository.gc(hasty).await.unwrap();
        assert_eq!(world.read(&last).await.unwrap(), rows.files(), "{epoch}");
    }
    assert!(deltas_seen > 100, "{deltas_seen}");
    let stored: u64 = world
        .store
        .list("packs/")
        .await
        .unwrap()
        .iter()
        .map(|meta| meta.bytes)
        .sum();
    assert!(stored < 5 * last.state_bytes(), "{stored}");
    let verified = world.repository.verify(Epoch(16)).await.unwrap();
    assert!(verified.is_whole(), "{:?}", verified.problems);
}

async fn checkpoint(repository: &Repository, epoch: u64, content: &Files) -> Manifest {
    repository.claim_epoch(Epoch(epoch), "test").await.unwrap();
    let part = write_part(repository, epoch, content).await.unwrap();
    let manifest = crate::world::completed(epoch, Some(part));
    repository.decide(&manifest).await.unwrap();
    manifest
}

/// A file of one chunk, and what it becomes.
fn one_chunk() -> (Files, Files) {
    let before = files(&[("a", &noise(CHUNK_BYTES_MIN, 1)), ("z", &noise(3 << 20, 2))]);
    let mut after = before.clone();
    after[0].1.splice(9_000..9_005, *b"change");
    (before, after)
}

/// Alters a byte in the middle of where `chunk` of a part lies.
fn harm_chunk(world: &World, part: &Value, chunk: usize) -> String {
    let place = &part["chunks"][chunk];
    let pack = part["packs"][place[1].as_u64().unwrap() as usize]
        .as_str()
        .unwrap();
    let at = place[2].as_u64().unwrap() + place[3].as_u64().unwrap() / 2;
    let path = world.path(&format!("packs/{pack}"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[at as usize] ^= 0x20;
    fs::write(path, bytes).unwrap();
    format!("packs/{pack}")
}

#[tokio::test]
async fn nothing_is_built_on_a_chunk_that_is_damaged_or_cannot_be_read() {
    let (before, after) = one_chunk();
    for what in ["whole", "damaged", "gone", "unreadable"] {
        let world = world().await;
        let first = world.checkpoint(1, &before).await;
        let whole = fs::read(world.path(&world.keys("packs/").await[0])).unwrap();
        match what {
            "whole" => {}
            "damaged" => drop(harm_chunk(&world, &part(&world, &first), 0)),
            // Its size is asked for, then it is read.
            "gone" => {
                let pack = world.keys("packs/").await.remove(0);
                let short = &whole[..whole.len() / 2];
                fs::write(world.path(&pack), short).unwrap();
            }
            _ => {
                world
                    .store
                    .inject(Operation::Read, "packs/", 1, u64::MAX, Fault::Unavailable)
                    .await
            }
        }
        let second = world.checkpoint(2, &after).await;
        world.store.heal().await;
        let found = deltas(&part(&world, &second)).len();
        assert_eq!(found, usize::from(what == "whole"), "{what}");
        assert_eq!(world.read(&second).await.unwrap(), after, "{what}");
    }
}

#[tokio::test]
async fn a_damaged_base_is_told_of_the_pack_it_lies_in() {
    let (before, after) = one_chunk();
    let world = world().await;
    world.checkpoint(1, &before).await;
    let second = world.checkpoint(2, &after).await;
    let part = part(&world, &second);
    let (delta, bases) = deltas(&part).into_iter().next().unwrap();
    assert_ne!(
        part["chunks"][delta as usize][1],
        part["chunks"][bases[0] as usize][1]
    );
    let pack = harm_chunk(&world, &part, bases[0] as usize);
    let error = world.read(&second).await.unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains(&pack),
        "{error}"
    );
    let verified = world.repository.verify(Epoch(2)).await.unwrap();
    assert!(!verified.is_whole());
}

#[tokio::test]
async fn a_part_that_would_refer_to_damage_is_not_finished_and_the_next_one_is_whole() {
    let world = world().await;
    let before = noise(CHUNK_BYTES_MIN, 1);
    let mut after = before.clone();
    after[70..75].copy_from_slice(b"other");
    world
        .checkpoint(1, &files(&[("a", &before), ("b", b"")]))
        .await;
    // Both files are the same delta now.
    let second = world
        .checkpoint(2, &files(&[("a", &after), ("b", &after)]))
        .await;
    let part = part(&world, &second);
    let bases = deltas(&part).into_values().next().unwrap();
    let pack = harm_chunk(&world, &part, bases[0] as usize);
    // The first refers to what is damaged before the second reads it.
    let mut third = files(&[("a", &after), ("b", &after)]);
    third[1].1[9_000] ^= 1;
    world
        .repository
        .claim_epoch(Epoch(3), "test")
        .await
        .unwrap();
    let error = world.write_part(3, &third).await.unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains(&pack),
        "{error}"
    );
    for epoch in 4..=6 {
        third[1].1[epoch as usize] ^= 1;
        let whole = world.checkpoint(epoch, &third).await;
        assert_eq!(world.read(&whole).await.unwrap(), third, "{epoch}");
    }
}

#[tokio::test]
async fn reading_back_what_changed_takes_few_requests() {
    let world = world().await;
    let mut rows = Rows::new(24 << 10, 1 << 10);
    let bytes = rows.rows.len() * rows.bytes;
    world.checkpoint(1, &rows.files()).await;
    rows.update();
    let reads = world.store.reads();
    let second = world.checkpoint(2, &rows.files()).await;
    let written = world.store.reads() - reads;
    let made = deltas(&part(&world, &second)).len();
    assert!(made > 100, "{made}");
    let reads = world.store.reads();
    world.read(&second).await.unwrap();
    let read = world.store.reads() - reads;
    println!("{made} deltas: {written} reads to write them, {read} to read all");
    // One for each batch of a MiB, and as many where a pack ends.
    let few = 2 * (bytes / (1 << 20) + bytes / PACK_BYTES_MAX) as u64 + 20;
    assert!(
        written <= few && read <= few,
        "{written} and {read} of {few}"
    );
}

#[tokio::test]
async fn many_small_files_are_read_back_and_restored_in_few_requests() {
    let world = world().await;
    let content = |changed: u64| {
        let file = |n: u64| {
            (
                format!("f{n:04}"),
                [noise(4_096, n), noise(8, n ^ changed)].concat(),
            )
        };
        (0..1_000).map(file).collect::<Files>()
    };
    world.checkpoint(1, &content(0)).await;
    let reads = world.store.reads();
    let second = world.checkpoint(2, &content(1 << 40)).await;
    let written = world.store.reads() - reads;
    assert!(
        second.uploaded_bytes() < 500_000,
        "{}",
        second.uploaded_bytes()
    );
    let reads = world.store.reads();
    assert_eq!(world.read(&second).await.unwrap(), content(1 << 40));
    let read = world.store.reads() - reads;
    assert!(written < 40 && read < 40, "{written} and {read}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_edits_over_several_checkpoints_come_back(
        bytes in 1_usize..1_500_000,
        edits in proptest::collection::vec(
            proptest::collection::vec((0.0..1.0, 0_usize..3_000, 0_usize..3_000, any::<u64>()), 0..12), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let mut state = files(&[("a", &noise(bytes, 1)), ("b", &noise(bytes / 3, 2))]);
            world.checkpoint(1, &state).await;
            for (epoch, edits) in (2..).zip(&edits) {
                for &(at, removed, added, seed) in edits {
                    let file = &mut state[usize::from(seed % 4 == 0)].1;
                    let at = (file.len() as f64 * at) as usize;
                    let end = file.len().min(at + removed);
                    file.splice(at..end, noise(added, seed));
                }
                let manifest = world.checkpoint(epoch, &state).await;
                assert_eq!(world.read(&manifest).await.unwrap(), state);
                assert!(world.repository.verify(Epoch(epoch)).await.unwrap().is_whole());
            }
        });
    }
}
