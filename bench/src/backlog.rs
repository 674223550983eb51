//! Whether a backlog costs a checkpoint anything: duration and memory of unaligned ones without a lag and with one of GiBs.
//!
//! The service reads as fast as records come in, so that its lag stays what it was when it began. Memory is the resident size of its
//! sidecar, looked at all the time.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use integration_tests::{
    Kafka, checkpoints,
    flow::{Feed, FeedOptions, RelayOptions},
    wait_until,
};

use crate::{
    spread::Spread,
    world::{self, Capture, World},
};

const RECORD_BYTES: usize = 1_024;
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// By default the library looks only once a second whether its queue has room again.
const FETCH_QUEUE_BACKOFF_MS: &str = "5";
const STATE_BYTES: usize = 1 << 20;
const BETWEEN: Duration = Duration::from_millis(300);
const WARM_UP: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
const FILL_DEADLINE: Duration = Duration::from_secs(600);
const PAGE_BYTES: u64 = 4_096;

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// The lag, in MiB
    #[arg(long, env = "CUTLINE_BACKLOG_MIB", default_value_t = 2_048)]
    mib: u64,
    /// Checkpoints at each lag
    #[arg(long, default_value_t = 30)]
    checkpoints: usize,
    /// Records of 1 KiB that come in, and are worked off, in a second
    #[arg(long, default_value_t = 10_000)]
    records_per_second: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// What the client may fetch ahead of its work, in KiB. Commits mark what is finished, so all of it is worked off before a
    /// checkpoint that is captured by commits
    #[arg(long, default_value_t = 128)]
    fetch_ahead_kib: u32,
    /// How finished work is recognised
    #[arg(long, value_enum, default_value_t = Capture::Commit)]
    capture: Capture,
    /// With the store in S3, coordination in Redis and the state captured by commits in PostgreSQL
    #[arg(long)]
    full: bool,
}

struct Figures {
    duration: Spread,
    pause: Spread,
    quiesce: Spread,
    resident_before: u64,
    resident_max: u64,
}

/// Measures and prints.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
pub async fn run(options: &Options) {
    let kafka = world::kafka().await;
    let level = measure(&kafka, options, 0).await;
    let behind = measure(&kafka, options, options.mib).await;
    println!(
        "{:28} {:>12} {:>12} {:>7}",
        "",
        "lag 0",
        format!("{} MiB", options.mib),
        "ratio"
    );
    let rows = [
        ("duration_ms p50", level.duration.p50, behind.duration.p50),
        ("duration_ms p99", level.duration.p99, behind.duration.p99),
        ("pause_ms p50", level.pause.p50, behind.pause.p50),
        ("pause_ms p99", level.pause.p99, behind.pause.p99),
        ("quiesce_ms p50", level.quiesce.p50, behind.quiesce.p50),
        (
            "sidecar MiB before",
            mib(level.resident_before),
            mib(behind.resident_before),
        ),
        (
            "sidecar MiB at most",
            mib(level.resident_max),
            mib(behind.resident_max),
        ),
    ];
    for (name, level, behind) in rows {
        println!(
            "{name:28} {level:12.1} {behind:12.1} {:7.2}",
            behind / level
        );
    }
    println!(
        "duration_ratio={:.2} rss_ratio={:.2}",
        behind.duration.p50 / level.duration.p50,
        behind.resident_max as f64 / level.resident_max as f64
    );
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
async fn measure(kafka: &Kafka, options: &Options, lag_mib: u64) -> Figures {
    let topic = format!("backlog-{lag_mib}");
    kafka.topics().create(&topic, options.partitions).await;
    let backlog = lag_mib * (1 << 20) / RECORD_BYTES as u64;
    let feed = |records_per_second, records_max| {
        Feed::start(FeedOptions {
            bootstrap: kafka.bootstrap(),
            topic: topic.clone(),
            partitions: options.partitions,
            records_per_second,
            value_bytes: RECORD_BYTES,
            records_max,
        })
    };
    if backlog > 0 {
        let filling = feed(None, Some(backlog));
        wait_until(FILL_DEADLINE, "the backlog to stand", || async {
            filling.sent() >= backlog
        })
        .await;
        drop(filling.finish());
    }
    let world = World::start(&kafka.bootstrap(), options.full).await;
    let relay = RelayOptions {
        commit_every: COMMIT_EVERY,
        records_per_second_max: Some(options.records_per_second),
        settings: fetch_ahead(options.fetch_ahead_kib),
        ..RelayOptions::between("", &format!("{topic}-group"), &topic, None)
    };
    let mut service = world
        .service("reader", options.capture, STATE_BYTES, relay)
        .await;
    let feed = feed(Some(options.records_per_second), None);
    checkpoints::wait_connected(&world.admin, 1).await;
    tokio::time::sleep(WARM_UP).await;
    let pid = service.sidecar.process().pid().expect("the sidecar runs");
    let (resident_before, resident) = (resident_bytes(pid), Resident::watch(pid));
    let (mut durations, mut pauses, mut quiesces) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.checkpoints {
        let attempts = checkpoints::take(&world.admin, "unaligned").await;
        let (_, reasons) = checkpoints::outcomes(&attempts);
        if !reasons.is_empty() {
            println!("lag {lag_mib} MiB: {reasons:?}");
        }
        let last = attempts.values().next_back().expect("there was an attempt");
        durations.extend(last["duration_ms"].as_f64());
        pauses.extend(last["pause_ms_max"].as_f64());
        quiesces.extend(last["processes"][0]["quiesce_ms"].as_f64());
        tokio::time::sleep(BETWEEN).await;
    }
    let resident_max = resident.stop();
    let (fed, passed) = (feed.sent() + backlog, service.relay.records());
    println!(
        "lag {lag_mib} MiB: {} MiB at the end",
        (fed.saturating_sub(passed) * RECORD_BYTES as u64) >> 20
    );
    let told = service.relay.stop();
    assert!(told.failures.is_empty(), "{:?}", told.failures);
    drop(feed.stop());
    Figures {
        duration: Spread::of(durations),
        pause: Spread::of(pauses),
        quiesce: Spread::of(quiesces),
        resident_before,
        resident_max,
    }
}

/// Settings of librdkafka: its queue is as long as given, and takes half of that in one fetch of a partition.
fn fetch_ahead(kib: u32) -> Vec<(String, String)> {
    [
        ("queued.max.messages.kbytes", kib.to_string()),
        ("fetch.message.max.bytes", (kib * 512).to_string()),
        ("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Looks at a process's resident size until it is stopped.
struct Resident {
    max: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Resident {
    fn watch(pid: u32) -> Self {
        let (max, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, over) = (Arc::clone(&max), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(resident_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        Self { max, stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("looking does not panic");
        self.max.load(Ordering::Relaxed)
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
