//! An application for tests: it keeps, for each partition, the number that is due next, and passes records on.
//!
//! Plain at-least-once, without deduplication: whatever comes twice, is missing or comes out of order is told. It reads its
//! state again whenever partitions are assigned to it, as an application that was rolled back has to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    message::BorrowedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
};

const POLL: Duration = Duration::from_millis(10);
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// How long one wait for acknowledgements lasts before the next begins.
const FLUSH: Duration = Duration::from_millis(100);
const PROBLEMS_MAX: usize = 10;

/// The number that is due next, by partition.
pub type Due = BTreeMap<i32, u64>;

/// What a ledger is told.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The brokers, or a sidecar.
    pub bootstrap: String,
    /// Its group.
    pub group: String,
    /// Its static membership, if it has one.
    pub instance: Option<String>,
    /// True for a group of KIP-848.
    pub kip848: bool,
    /// From where.
    pub from: String,
    /// To the same partition of which topic.
    pub to: Option<String>,
    /// The directory of its state.
    pub state: PathBuf,
}

/// A running ledger.
pub struct Ledger {
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
    problems: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    pub fn start(options: LedgerOptions) -> Self {
        let (stop, records) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let problems = Arc::new(Mutex::new(Vec::new()));
        let worker = Worker::new(options, &stop, &records, &problems);
        Self {
            stop,
            records,
            problems,
            thread: Some(std::thread::spawn(move || worker.run())),
        }
    }

    /// How many records it took.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// What came twice, was missing or came out of order.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().clone()
    }

    /// Lets it commit what it has done and stops it.
    pub fn stop(mut self) -> Vec<String> {
        self.end();
        self.problems()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a ledger does not panic");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The state in `directory`.
pub fn read_state(directory: &Path) -> Due {
    let text = std::fs::read(directory.join("due.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The partition and number of a record.
pub fn numbers(value: &[u8]) -> Option<(i32, u64)> {
    let partition = value.get(..4)?.try_into().ok()?;
    let number = value.get(4..12)?.try_into().ok()?;
    Some((i32::from_be_bytes(partition), u64::from_be_bytes(number)))
}

/// Notes that partitions were assigned.
struct Assigned(AtomicBool);

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    options: LedgerOptions,
    consumer: BaseConsumer<Assigned>,
    producer: BaseProducer,
    stop: Arc<AtomicBool>,
    records: Arc<AtomicU64>,
    problems: Arc<Mutex<Vec<String>>>,
    due: Due,
    positions: BTreeMap<i32, i64>,
}

impl Worker {
    fn new(
        options: LedgerOptions,
        stop: &Arc<AtomicBool>,
        records: &Arc<AtomicU64>,
        problems: &Arc<Mutex<Vec<String>>>,
    ) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.bootstrap)
            .set("group.id", &options.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "500")
            .set("fetch.wait.max.ms", "50")
            .set("log_level", "2");
        if options.kip848 {
            config.set("group.protocol", "consumer");
        } else {
            config.set("heartbeat.interval.ms", "500");
        }
        if let Some(instance) = &options.instance {
            config.set("group.instance.id", instance);
        }
        let consumer: BaseConsumer<Assigned> = config
            .create_with_context(Assigned(AtomicBool::new(true)))
            .unwrap();
        consumer.subscribe(&[&options.from]).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("reconnect.backoff.max.ms", "500")
            .set("linger.ms", "20")
            .set("log_level", "2")
            .create()
            .unwrap();
        Self {
            options,
            consumer,
            producer,
            stop: Arc::clone(stop),
            records: Arc::clone(records),
            problems: Arc::clone(problems),
            due: Due::new(),
            positions: BTreeMap::new(),
        }
    }

    fn run(mut self) {
        let mut next = Instant::now() + COMMIT_EVERY;
        while !self.stop.load(Ordering::Relaxed) {
            self.take_one();
            if Instant::now() >= next {
                self.commit();
                next = Instant::now() + COMMIT_EVERY;
            }
        }
        self.commit();
    }

    fn take_one(&mut self) {
        let polled = self.consumer.poll(POLL);
        if self.consumer.context().0.swap(false, Ordering::Relaxed) {
            self.due = read_state(&self.options.state);
            self.positions.clear();
        }
        // An error is a connection that a fence cut; the client comes back by itself.
        if let Some(Ok(message)) = polled {
            let place = (message.partition(), message.offset());
            let value = message.payload().unwrap_or_default();
            let number = numbers(value);
            let due = self.due.entry(place.0).or_default();
            if number != Some((place.0, *due)) {
                let mut problems = self.problems.lock();
                if problems.len() < PROBLEMS_MAX {
                    let topic = &self.options.from;
                    problems.push(format!(
                        "{due} was due and {number:?} came on {topic} at {place:?}"
                    ));
                }
            }
            *due = number.map_or(*due, |(_, number)| number) + 1;
            if let Some(to) = &self.options.to {
                pass_on(&self.producer, to, &message);
            }
            self.positions.insert(place.0, place.1 + 1);
            self.records.fetch_add(1, Ordering::Relaxed);
        }
        self.producer.poll(Duration::ZERO);
    }

    fn commit(&mut self) {
        if self.positions.is_empty() {
            return;
        }
        // A timeout is a broker that is away, or a gate that is shut. (`in_flight_count` counts unread errors too.)
        while self.producer.flush(FLUSH).is_err() {}
        let (new, file) = (
            self.options.state.join("new"),
            self.options.state.join("due.json"),
        );
        std::fs::write(&new, serde_json::to_vec(&self.due).unwrap()).unwrap();
        std::fs::rename(new, file).unwrap();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in std::mem::take(&mut self.positions) {
            let at = Offset::Offset(offset);
            list.add_partition_offset(&self.options.from, partition, at)
                .unwrap();
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Sync) {
            self.problems.lock().push(format!("commit: {error}"));
        }
    }
}

fn pass_on(producer: &BaseProducer, to: &str, message: &BorrowedMessage<'_>) {
    let mut record = BaseRecord::to(to)
        .partition(message.partition())
        .key(message.key().unwrap_or_default())
        .payload(message.payload().unwrap_or_default());
    while let Err((_, again)) = producer.send(record) {
        record = again;
        producer.poll(POLL);
    }
}
