//! What a sidecar costs a consumer: rate through it over rate without it, and its CPU time per GiB.
//!
//! Rounds directly, through a plain sidecar and through one with a core at rest alternate within one run, so that a noisy machine
//! disturbs all alike; the medians count.

use std::time::{Duration, Instant};

use clap::Args;
use integration_tests::{Admin, AdminOptions, Sidecar, SidecarOptions};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    filling::{self, RECORD_BYTES},
    usage::{cpu_seconds, resident_kib_max},
    world,
};

const TOPIC: &str = "bench-proxy";
const BATCH_BYTES: usize = 1_000_000;
const GIB: f64 = (1_u64 << 30) as f64;
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How much is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Records of 1 KiB in the topic
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Rounds of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

struct Round {
    seconds: f64,
    cpu_seconds: f64,
}

/// Measures and prints.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
pub async fn run(options: &Options) {
    let kafka = world::kafka().await;
    kafka.topics().create(TOPIC, options.partitions).await;
    let direct = kafka.bootstrap();
    filling::fill(
        &direct,
        TOPIC,
        options.partitions,
        options.records,
        BATCH_BYTES,
    );
    let admin = Admin::start(&AdminOptions::over(&direct)).await;
    let mut plain = Sidecar::start(&SidecarOptions::transparent(&direct)).await;
    let mut core = Sidecar::start(&SidecarOptions {
        admin: Some(admin.url()),
        deployment: "default".into(),
        ..SidecarOptions::transparent(&direct)
    })
    .await;
    let pid = |sidecar: &mut Sidecar| sidecar.process().pid().expect("the sidecar runs");
    let (plain_pid, core_pid) = (pid(&mut plain), pid(&mut core));
    let ways = [
        (direct, plain_pid),
        (plain.bootstrap(), plain_pid),
        (core.bootstrap(), core_pid),
    ];
    let consume_all = || ways.each_ref().map(|(at, pid)| consume(at, options, *pid));
    // Once for the page cache and the JVM's compiler, uncounted.
    consume_all();
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let [direct, plain, core] = consume_all();
        println!(
            "round={number} direct_s={:.3} proxied_s={:.3} cpu_s={:.2} with_core_s={:.3} with_core_cpu_s={:.2}",
            direct.seconds, plain.seconds, plain.cpu_seconds, core.seconds, core.cpu_seconds
        );
        rounds.push([direct, plain, core]);
    }
    let gib = options.records as f64 * RECORD_BYTES as f64 / GIB;
    let seconds = [0, 1, 2].map(|way| median(rounds.iter().map(|round| round[way].seconds)));
    let cpu = [0, 1, 2].map(|way| {
        let cpu: f64 = rounds.iter().map(|round| round[way].cpu_seconds).sum();
        cpu / (gib * options.rounds as f64)
    });
    println!("direct_mib_per_s={:.0}", gib * 1_024.0 / seconds[0]);
    println!("proxied_mib_per_s={:.0}", gib * 1_024.0 / seconds[1]);
    println!("rss_mib={}", resident_kib_max(plain_pid) / 1_024);
    println!("rss_mib_with_core={}", resident_kib_max(core_pid) / 1_024);
    println!("consume_ratio_with_core={:.3}", seconds[0] / seconds[2]);
    println!("cpu_s_per_gib_with_core={:.3}", cpu[2]);
    println!("consume_ratio={:.3}", seconds[0] / seconds[1]);
    println!("cpu_s_per_gib={:.3}", cpu[1]);
}

// Reads the topic from its beginning to its end, once.
fn consume(bootstrap: &str, options: &Options, sidecar: u32) -> Round {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "262144")
        .create()
        .expect("a consumer needs a bootstrap only");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..options.partitions {
        assignment
            .add_partition_offset(TOPIC, partition, Offset::Beginning)
            .expect("the beginning is an offset");
    }
    let (cpu, start) = (cpu_seconds(sidecar), Instant::now());
    consumer
        .assign(&assignment)
        .expect("partitions that exist can be assigned");
    let mut bytes = 0;
    for _ in 0..options.records {
        let record = consumer.poll(SILENCE_MAX).expect("the topic has more");
        bytes += record.expect("no error while consuming").payload_len();
    }
    assert_eq!(
        bytes as u64,
        options.records * RECORD_BYTES as u64,
        "every byte was read"
    );
    Round {
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds(sidecar) - cpu,
    }
}

fn median(seconds: impl Iterator<Item = f64>) -> f64 {
    let mut seconds: Vec<f64> = seconds.collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
