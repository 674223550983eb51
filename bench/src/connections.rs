//! What many connections cost a sidecar with a core while all of them fetch from a backlog: its memory at most.
//!
//! Each connection fetches from somewhere else in the backlog, again and again, and throws away what comes as fast as it comes.
//! Every number of connections has a sidecar of its own, so that one's memory is not the other's.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use clap::Args;
use integration_tests::{Admin, AdminOptions, Sidecar, SidecarOptions};
use kafka_protocol::{
    messages::{
        ApiKey, FetchRequest, RequestHeader,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::{Encodable, HeaderVersion, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    filling::{self, RECORD_BYTES},
    usage::resident_kib_max,
    world,
};

const TOPIC: &str = "bench-connections";
// The last version that calls topics by name.
const VERSION: i16 = 12;
// What consumers ask for by default: this of a partition, and of all of them.
const PARTITION_BYTES: i32 = 1 << 20;
const FETCH_BYTES: i32 = 50 << 20;
const WAIT_MS: i32 = 500;
// Multiplied with a number of requests it is somewhere else in the backlog each time.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// How much is measured.
#[derive(Debug, Args)]
pub struct Options {
    /// Connections that fetch at once
    #[arg(long, default_value_t = 1_000)]
    connections: u64,
    /// The backlog, in MiB
    #[arg(long, env = "CUTLINE_BACKLOG_MIB", default_value_t = 10_240)]
    mib: u64,
    /// Seconds that each number of connections fetches for
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Bytes of a batch in the backlog
    #[arg(long, default_value_t = 65_536)]
    batch_bytes: usize,
    /// Partitions of the topic
    #[arg(long, default_value_t = 8)]
    partitions: i32,
}

struct Figures {
    idle_kib: u64,
    max_kib: u64,
    bytes: u64,
}

/// Measures and prints.
#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
pub async fn run(options: &Options) {
    let kafka = world::kafka().await;
    let topics = kafka.topics();
    // The backlog has to stay.
    let settings = [("retention.ms", "-1")];
    topics
        .create_with(TOPIC, options.partitions, &settings)
        .await;
    let records = options.mib * (1 << 20) / RECORD_BYTES as u64;
    filling::fill(
        &kafka.bootstrap(),
        TOPIC,
        options.partitions,
        records,
        options.batch_bytes,
    );
    let admin = Admin::start(&AdminOptions::over(&kafka.bootstrap())).await;
    let mut figures = Vec::new();
    for connections in [(options.connections / 10).max(1), options.connections] {
        let over = SidecarOptions {
            admin: Some(admin.url()),
            deployment: "default".into(),
            ..SidecarOptions::transparent(&kafka.bootstrap())
        };
        let measured = measure(options, &over, connections).await;
        println!(
            "connections={connections} idle_mib={} max_mib={} mib_per_s={}",
            measured.idle_kib / 1_024,
            measured.max_kib / 1_024,
            (measured.bytes >> 20) / options.seconds
        );
        figures.push((connections, measured));
    }
    let [(few, tenth), (many, all)] = &figures[..] else {
        unreachable!("two numbers of connections are measured");
    };
    let each = |count: u64, of: &Figures| (of.max_kib - of.idle_kib) as f64 / count as f64;
    println!("rss_mib_max_tenth={}", tenth.max_kib / 1_024);
    println!("rss_per_connection_kib_tenth={:.0}", each(*few, tenth));
    println!("rss_mib_max={}", all.max_kib / 1_024);
    println!("rss_per_connection_kib={:.0}", each(*many, all));
    println!("rss_ratio={:.2}", all.max_kib as f64 / tenth.max_kib as f64);
}

async fn measure(options: &Options, over: &SidecarOptions, connections: u64) -> Figures {
    let mut sidecar = Sidecar::start(over).await;
    let pid = sidecar.process().pid().expect("the sidecar runs");
    let idle_kib = resident_kib_max(pid);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let offsets = options.mib * (1 << 20) / RECORD_BYTES as u64 / options.partitions as u64;
    let mut fetching = JoinSet::new();
    for number in 0..connections {
        let partition = i32::try_from(number % options.partitions as u64).unwrap_or(0);
        let address = sidecar.bootstrap();
        fetching.spawn(fetch(address, partition, (number, offsets), until));
    }
    let mut bytes = 0;
    while let Some(fetched) = fetching.join_next().await {
        bytes += fetched.expect("fetching does not panic");
    }
    Figures {
        idle_kib,
        max_kib: resident_kib_max(pid),
        bytes,
    }
}

// Fetches on one connection until the time is over; how many bytes came.
async fn fetch(
    address: String,
    partition: i32,
    (number, offsets): (u64, u64),
    until: Instant,
) -> u64 {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.expect("the sidecar takes connections");
    let mut sink = vec![0; 64 * 1_024];
    let (mut bytes, mut asked) = (0, number);
    while Instant::now() < until {
        asked += 1_000_003;
        let offset = asked.wrapping_mul(STRIDE) % offsets;
        let request = request(partition, i64::try_from(offset).unwrap_or(0));
        stream.write_all(&request).await.expect("it is open");
        let mut left = stream.read_u32().await.expect("an answer comes") as usize;
        bytes += left as u64;
        while left > 0 {
            let most = left.min(sink.len());
            let read = stream.read(&mut sink[..most]).await.expect("it goes on");
            assert!(read > 0, "the answer is whole");
            left -= read;
        }
    }
    bytes
}

fn request(partition: i32, offset: i64) -> BytesMut {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(PARTITION_BYTES);
    let topic = FetchTopic::default()
        .with_topic(StrBytes::from_static_str(TOPIC).into())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut bytes = BytesMut::new();
    bytes.put_u32(0);
    RequestHeader::default()
        .with_request_api_key(ApiKey::Fetch as i16)
        .with_request_api_version(VERSION)
        .encode(&mut bytes, FetchRequest::header_version(VERSION))
        .expect("a header");
    request.encode(&mut bytes, VERSION).expect("a request");
    let size = u32::try_from(bytes.len() - 4).expect("it is small");
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}
