//! What a large state costs in S3: the memory of streaming it, and the bytes of a second checkpoint after a small change.
//!
//! Alone in its binary, because it looks at the whole process. `CUTLINE_TEST_STATE_MIB` sets another size.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

#[path = "../store/backend.rs"]
mod backend;
#[path = "../../../crates/store/tests/world/mod.rs"]
mod world;

use cutline_model::{Epoch, PartRef};
use cutline_store::Entry;
use world::{World, bank, completed, noise, world};

/// What streaming may add to the memory of the process, whatever the size of the state.
const GROWTH_MIB_MAX: u64 = 120;
const STATE_MIB: usize = 128;
const PAGE_BYTES: usize = 4096;
/// One page of so many is changed.
const PAGES_PER_CHANGE: usize = 100;
/// A changed page costs itself, its delta's frame, and its line in the part; nothing in it compresses.
const RATIO_MAX: f64 = 3.0;

#[tokio::test]
async fn a_large_state_takes_bounded_memory_and_a_small_change_is_not_written_whole() {
    let mib = std::env::var("CUTLINE_TEST_STATE_MIB").ok();
    let mib = mib.and_then(|mib| mib.parse().ok()).unwrap_or(STATE_MIB);
    let world = world().await;
    let before = peak_mib();
    let first = checkpoint(&world, 1, mib).await;
    let mut reader = world.repository.part_reader(&first).await.unwrap();
    reader.next_entry().await.unwrap();
    let mut bytes = 0;
    while let Some(more) = reader.read().await.unwrap() {
        bytes += more.len();
    }
    assert_eq!(bytes, mib << 20);
    let grown = peak_mib() - before;
    let second = checkpoint(&world, 2, mib).await;
    let changed = (mib << 20) / PAGES_PER_CHANGE;
    let ratio = second.uploaded_bytes as f64 / changed as f64;
    println!(
        "state={mib}MiB first_uploaded={} memory_grown={grown}MiB bytes_changed={changed} bytes_uploaded={} ratio={ratio:.1}",
        first.uploaded_bytes, second.uploaded_bytes
    );
    assert!(grown <= GROWTH_MIB_MAX, "grew by {grown} MiB");
    assert!(ratio <= RATIO_MAX, "{ratio}");
}

/// The state at `epoch`: the same but for a page in a hundred, spread evenly at random.
async fn checkpoint(world: &World, epoch: u64, mib: usize) -> PartRef {
    let repository = &world.repository;
    repository.claim_epoch(Epoch(epoch), "t").await.unwrap();
    let mut part = repository
        .part_writer(Epoch(epoch), &bank(), "dir")
        .await
        .unwrap();
    part.begin(Entry::file("large")).unwrap();
    for n in 0..mib as u64 {
        let mut bytes = noise(1 << 20, n);
        let dice = noise((1 << 20) / PAGE_BYTES * 8, n ^ 0x5eed);
        for (page, dice) in bytes.chunks_mut(PAGE_BYTES).zip(dice.chunks(8)) {
            let dice = u64::from_le_bytes(dice.try_into().unwrap());
            if epoch > 1 && dice.is_multiple_of(PAGES_PER_CHANGE as u64) {
                page.copy_from_slice(&noise(PAGE_BYTES, dice ^ epoch));
            }
        }
        part.push(&bytes).await.unwrap();
    }
    part.end_file().await.unwrap();
    let part = part.finish().await.unwrap();
    repository
        .decide(&completed(epoch, Some(part.clone())))
        .await
        .unwrap();
    part
}

/// The most memory this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}
