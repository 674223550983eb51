//! Connections that have been busy and are idle now cost a sidecar little.

use std::fs;

use integration_tests::{Sidecar, SidecarOptions, wait_until};

use super::{
    fake::{Fake, UNKNOWN, frame, large_request},
    side::PATIENCE,
};

const CONNECTIONS: usize = 300;
const BYTES: usize = 512 * 1024;
const PAGE_KIB: u64 = 4;
// What is left of each: its tasks, and two buffers of 2 KiB. A buffer that was kept would be half a MiB.
const KIB_PER_CONNECTION_MAX: u64 = 64;

fn resident_kib(sidecar: &mut Sidecar) -> u64 {
    let pid = sidecar.process().pid().expect("it runs");
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages = statm.split_whitespace().nth(1).expect("a second number");
    pages.parse::<u64>().expect("a number") * PAGE_KIB
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_give_their_memory_back() {
    let fake = Fake::start().await;
    let mut sidecar = Sidecar::start(&SidecarOptions::transparent(&fake.address())).await;
    let before = resident_kib(&mut sidecar);
    let mut pairs = Vec::new();
    for id in 0..CONNECTIONS as i32 {
        let mut pair = fake.connect(sidecar.bootstrap()).await;
        pair.ask(&large_request(UNKNOWN, 0, id, BYTES)).await;
        let answer = frame(id, &vec![7; BYTES]);
        assert!(pair.pass(&answer).await == answer);
        pairs.push(pair);
    }
    let busy = resident_kib(&mut sidecar);
    let bound = before + KIB_PER_CONNECTION_MAX * CONNECTIONS as u64;
    let (mut least, began) = (busy, std::time::Instant::now());
    wait_until(PATIENCE, "memory to be given back", || {
        least = least.min(resident_kib(&mut sidecar));
        let done = least <= bound || began.elapsed() > PATIENCE / 2;
        async move { done }
    })
    .await;
    eprintln!("{before} KiB before, {busy} KiB busy, {least} KiB idle");
    assert!(
        least <= bound,
        "{before} KiB before, {busy} busy, {least} idle"
    );
    drop(pairs);
}
