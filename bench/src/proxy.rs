//! What a sidecar costs a consumer: rate through it over rate without it, and its CPU time per GiB.
//!
//! Direct and proxied rounds alternate within one run, so that a noisy machine disturbs both alike; the medians count.

use std::{
    fs,
    time::{Duration, Instant},
};

use clap::Args;
use integration_tests::{
    Kafka, KafkaOptions, Process, ProcessSpec, Run, binaries::binary, ports::free_ports, wait_until,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};

const TOPIC: &str = "bench-proxy";
const RECORD_BYTES: usize = 1_024;
const GIB: f64 = (1_u64 << 30) as f64;
// Ticks of /proc/PID/stat in a second: fixed at 100 on Linux.
const TICKS: f64 = 100.0;
const FLUSH_LIMIT: Duration = Duration::from_secs(60);
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);
const SILENCE_MAX: Duration = Duration::from_secs(30);
const START_LIMIT: Duration = Duration::from_secs(30);

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
    let kafka = Kafka::start(KafkaOptions {
        heap_mib: 1_024,
        optimised: true,
        ..KafkaOptions::default()
    })
    .await;
    kafka.topics().create(TOPIC, options.partitions).await;
    let direct = kafka.bootstrap();
    fill(&direct, options);
    let listen = format!("127.0.0.1:{}", free_ports(4)[0]);
    let sidecar = start_sidecar(&direct, &listen);
    wait_until(START_LIMIT, "the sidecar to listen", || {
        let listen = listen.clone();
        async move { std::net::TcpStream::connect(listen).is_ok() }
    })
    .await;
    let pid = sidecar.pid().expect("the sidecar runs");
    // Once for the page cache and the JVM's compiler, uncounted.
    consume(&direct, options, pid);
    consume(&listen, options, pid);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let (first, second) = (
            consume(&direct, options, pid),
            consume(&listen, options, pid),
        );
        println!(
            "round={round} direct_s={:.3} proxied_s={:.3} cpu_s={:.2}",
            first.seconds, second.seconds, second.cpu_seconds
        );
        without.push(first);
        with.push(second);
    }
    let gib = options.records as f64 * RECORD_BYTES as f64 / GIB;
    let cpu: f64 = with.iter().map(|round| round.cpu_seconds).sum();
    println!("direct_mib_per_s={:.0}", gib * 1_024.0 / median(&without));
    println!("proxied_mib_per_s={:.0}", gib * 1_024.0 / median(&with));
    println!("rss_mib={}", resident_mib(pid));
    println!("consume_ratio={:.3}", median(&without) / median(&with));
    println!("cpu_s_per_gib={:.3}", cpu / (gib * options.rounds as f64));
}

fn start_sidecar(kafka: &str, listen: &str) -> Process {
    let log = Run::this().part("sidecar").join("log");
    let arguments = ["--service", "bench", "--kafka", kafka, "--listen", listen];
    Process::start(ProcessSpec::new("sidecar", binary("cutline-sidecar"), log).args(arguments))
}

fn fill(bootstrap: &str, options: &Options) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .create()
        .expect("a producer needs a bootstrap only");
    let value: Vec<u8> = (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    for number in 0..options.records {
        let partition = i32::try_from(number % options.partitions as u64).unwrap_or(0);
        let mut record = BaseRecord::<(), [u8]>::to(TOPIC)
            .partition(partition)
            .payload(&value);
        while let Err((_, again)) = producer.send(record) {
            record = again;
            std::thread::sleep(QUEUE_FULL_PAUSE);
        }
    }
    producer
        .flush(FLUSH_LIMIT)
        .expect("the topic can be filled");
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

fn median(rounds: &[Round]) -> f64 {
    let mut seconds: Vec<f64> = rounds.iter().map(|round| round.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

// User and system time of a process, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the sidecar runs");
    // The program's name may hold spaces; what follows it is numbers.
    let (_, numbers) = stat
        .rsplit_once(')')
        .expect("stat names the program in parentheses");
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let ticks = |at: usize| numbers[at].parse::<f64>().expect("times are numbers");
    (ticks(11) + ticks(12)) / TICKS
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the sidecar runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}
