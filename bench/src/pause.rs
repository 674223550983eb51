//! What a checkpoint costs an application: the pause of each process, and the phases it is made of.
//!
//! A feed, a service captured by its commits, one captured by its hook, one after the other; checkpoints all the while. The figures are
//! those of the checkpoints' own reports (`GET /v1/checkpoints/{epoch}`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use integration_tests::{
    Kafka, Run, checkpoints,
    flow::{Feed, FeedOptions, RelayOptions},
};
use serde_json::Value;

use crate::{
    spread::Spread,
    world::{self, Capture, Service, World},
};

const TOPICS: [&str; 3] = ["pause-in", "pause-between", "pause-out"];
const PHASES: [&str; 7] = [
    "pause_ms",
    "start_delay_ms",
    "alignment_ms",
    "quiesce_ms",
    "sync_ms",
    "mark_ms",
    "async_ms",
];

/// What is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// For how long checkpoints are taken
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// For how long checkpoints are taken before, uncounted: Kafka's code is compiled while it runs
    #[arg(long, default_value_t = 10)]
    warm_up_seconds: u64,
    /// From one checkpoint to the next
    #[arg(long, default_value_t = 1_000)]
    interval_ms: u64,
    /// Records that flow through each service in a second
    #[arg(long, default_value_t = 20_000)]
    records_per_second: u64,
    /// About how long a record is
    #[arg(long, default_value_t = 200)]
    value_bytes: usize,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// From one commit of a service to the next
    #[arg(long, default_value_t = 100)]
    commit_interval_ms: u64,
    /// State of each service
    #[arg(long, default_value_t = 1_024)]
    state_kib: usize,
    /// aligned, unaligned or synchronous
    #[arg(long, default_value = "aligned")]
    mode: String,
    /// With the store in S3, coordination in Redis and the state captured by commits in PostgreSQL
    #[arg(long)]
    full: bool,
}

/// Measures and prints.
pub async fn run(options: &Options) {
    let kafka = world::kafka().await;
    for topic in TOPICS {
        kafka.topics().create(topic, options.partitions).await;
    }
    let world = World::start(&kafka.bootstrap(), options.full).await;
    let services = services(&world, options).await;
    let feed = feed(&kafka, options);
    checkpoints::wait_connected(&world.admin, services.len()).await;
    let interval = Duration::from_millis(options.interval_ms);
    let warm_up = Duration::from_secs(options.warm_up_seconds);
    checkpoints::every(&world.admin, interval, &options.mode, warm_up).await;
    let before: Vec<u64> = services
        .iter()
        .map(|service| service.relay.records())
        .collect();
    let begin = Instant::now();
    let during = Duration::from_secs(options.seconds);
    let attempts = checkpoints::every(&world.admin, interval, &options.mode, during).await;
    let seconds = begin.elapsed().as_secs_f64();
    for (service, before) in services.into_iter().zip(before) {
        print_relay(service, before, seconds);
    }
    drop(feed.stop());
    print_outcomes(&attempts, &options.mode);
    print_phases(&attempts, options);
}

async fn services(world: &World, options: &Options) -> Vec<Service> {
    let mut services = Vec::new();
    for (at, capture) in [Capture::Commit, Capture::Hook].into_iter().enumerate() {
        let name = capture.name();
        let (from, to) = (TOPICS[at], TOPICS[at + 1]);
        let relay = RelayOptions {
            commit_every: Duration::from_millis(options.commit_interval_ms),
            ..RelayOptions::between("", &format!("pause-{name}"), from, Some(to))
        };
        let state = options.state_kib * 1_024;
        services.push(world.service(name, capture, state, relay).await);
    }
    services
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn print_relay(service: Service, before: u64, seconds: f64) {
    let records = (service.relay.records() - before) as f64;
    let told = service.relay.stop();
    assert!(told.failures.is_empty(), "{:?}", told.failures);
    let milliseconds = |took: &Duration| took.as_secs_f64() * 1_000.0;
    let commits = Spread::of(told.commits.iter().map(milliseconds).collect());
    println!(
        "records_per_second={:.0} flush_and_commit_ms: {commits}",
        records / seconds
    );
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn print_outcomes(attempts: &checkpoints::Attempts, mode: &str) {
    let (completed, reasons) = checkpoints::outcomes(attempts);
    println!(
        "mode={mode} checkpoints={} completed={completed}",
        attempts.len()
    );
    for (reason, times) in &reasons {
        println!("  failed {times} times: {reason}");
    }
    if !reasons.is_empty() {
        Run::this().keep_logs();
        eprintln!("logs are kept in {}", Run::this().directory().display());
    }
}

fn feed(kafka: &Kafka, options: &Options) -> Feed {
    Feed::start(FeedOptions {
        bootstrap: kafka.bootstrap(),
        topic: TOPICS[0].into(),
        partitions: options.partitions,
        records_per_second: Some(options.records_per_second),
        value_bytes: options.value_bytes,
        records_max: None,
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn print_phases(attempts: &checkpoints::Attempts, options: &Options) {
    let mut phases: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    let completed = attempts
        .values()
        .filter(|detail| detail["status"] == "COMPLETED");
    let mut durations = Vec::new();
    for detail in completed {
        durations.extend(detail["duration_ms"].as_f64());
        for process in detail["processes"].as_array().into_iter().flatten() {
            let service = process["service"].as_str().unwrap_or_default();
            for (at, phase) in PHASES.iter().enumerate() {
                let figures = phases.entry((service.to_owned(), at)).or_default();
                figures.extend(process[phase].as_f64());
            }
        }
    }
    println!("checkpoint duration_ms: {}", Spread::of(durations));
    println!(
        "{:8} {:16} {:>9} {:>9} {:>9} {:>9}",
        "service", "phase", "p50", "p90", "p99", "max"
    );
    let mut p99 = BTreeMap::new();
    for ((service, at), figures) in phases {
        let spread = Spread::of(figures);
        println!("{service:8} {:16} {}", PHASES[at], spread.columns());
        if PHASES[at] == "pause_ms" {
            p99.insert(service, spread.p99);
        }
    }
    print_worst(attempts);
    let of = |service: &str| p99.get(service).copied().unwrap_or(f64::NAN);
    let over_interval = of("commit") - options.commit_interval_ms as f64;
    println!(
        "pause_commit_over_interval_ms_p99={over_interval:.1} pause_hook_ms_p99={:.1}",
        of("hook")
    );
}

/// The longest pause of each service, phase by phase: what to look into.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn print_worst(attempts: &checkpoints::Attempts) {
    let mut worst: BTreeMap<String, (f64, &Value, u64)> = BTreeMap::new();
    for (epoch, detail) in attempts {
        for process in detail["processes"].as_array().into_iter().flatten() {
            let service = process["service"].as_str().unwrap_or_default().to_owned();
            let pause = process["pause_ms"].as_f64().unwrap_or_default();
            let known = worst.get(&service).map_or(0.0, |(pause, ..)| *pause);
            if pause > known {
                worst.insert(service, (pause, process, *epoch));
            }
        }
    }
    for (service, (_, process, epoch)) in worst {
        let figures: Vec<String> = PHASES
            .iter()
            .map(|phase| format!("{phase}={:.1}", process[phase].as_f64().unwrap_or_default()))
            .collect();
        println!(
            "worst of {service}: epoch={epoch} unaligned={} {}",
            process["unaligned"],
            figures.join(" ")
        );
    }
}
