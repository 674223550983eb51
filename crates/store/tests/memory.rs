//! Memory: streaming a large state in and out takes the same memory whatever its size.
//!
//! Alone in its binary, because it looks at the whole process. `CUTLINE_TEST_STATE_MIB` sets another size.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

#[path = "directory/backend.rs"]
mod backend;
mod world;

use cutline_model::Epoch;
use cutline_store::Entry;
use world::{bank, noise, world};

/// What the test binary itself, its runtime and the C allocator may take is in it.
const GROWTH_MIB_MAX: u64 = 80;

#[tokio::test]
async fn a_large_state_streams_in_bounded_memory() {
    let mib: usize = std::env::var("CUTLINE_TEST_STATE_MIB")
        .ok()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(512);
    let world = world().await;
    world.repository.claim_epoch(Epoch(1), "t").await.unwrap();
    let before = peak_mib();
    let mut part = world
        .repository
        .part_writer(Epoch(1), &bank(), "dir")
        .await
        .unwrap();
    part.begin(Entry::file("large")).unwrap();
    for n in 0..mib {
        part.push(&noise(1 << 20, n as u64)).await.unwrap();
    }
    part.end_file().await.unwrap();
    let part = part.finish().await.unwrap();
    let written = peak_mib();
    let mut reader = world.repository.part_reader(&part).await.unwrap();
    reader.next_entry().await.unwrap();
    let mut bytes = 0;
    while let Some(more) = reader.read().await.unwrap() {
        bytes += more.len();
    }
    assert_eq!(bytes, mib << 20);
    let read = peak_mib();
    println!(
        "state={mib}MiB peak_before={before}MiB peak_written={written}MiB peak_read={read}MiB"
    );
    assert!(
        read - before <= GROWTH_MIB_MAX,
        "grew by {} MiB",
        read - before
    );
}

/// The most memory this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
