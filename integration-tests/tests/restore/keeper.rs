//! An application for tests whose state is a table and its changelog: it adds up what it is told, by key.
//!
//! A command adds to a key or removes it; every change goes to the changelog. When partitions are assigned to it, it loads
//! its local files; without any it reads the changelog from the beginning. A table that comes back wrong by one record
//! shows in every sum after it.

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

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    producer::{BaseProducer, BaseRecord, Producer},
};

const POLL: Duration = Duration::from_millis(10);
const COMMIT_EVERY: Duration = Duration::from_millis(50);
const FLUSH: Duration = Duration::from_millis(100);
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Sums by partition and key.
pub type Table = BTreeMap<i32, BTreeMap<String, i64>>;

/// Applies a command: `None` removes the key. Answers what goes to the changelog.
pub fn apply(table: &mut Table, partition: i32, key: &str, add: Option<i64>) -> Option<i64> {
    let rows = table.entry(partition).or_default();
    match add {
        None => {
            rows.remove(key);
            None
        }
        Some(add) => {
            let sum = rows.entry(key.to_owned()).or_default();
            *sum += add;
            Some(*sum)
        }
    }
}

#[derive(Clone, Debug)]
pub struct KeeperOptions {
    pub bootstrap: String,
    pub group: String,
    pub commands: String,
    pub changelog: String,
    pub partitions: i32,
    /// The directory of its local files; `None`: it has none.
    pub state: Option<PathBuf>,
}

pub struct Keeper {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub fn start(options: KeeperOptions) -> Self {
        let (stop, taken) = (Arc::default(), Arc::default());
        let worker = Worker::new(options, &stop, &taken);
        Self {
            stop,
            taken,
            thread: Some(std::thread::spawn(move || worker.run())),
        }
    }

    /// Commands it has taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Lets it commit what it has done and stops it.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        thread.join().expect("a keeper does not panic");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The table in local files.
pub fn read_state(directory: &Path) -> Option<Table> {
    let text = std::fs::read(directory.join("table.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// The table as a fresh reader makes it of a changelog, up to its end.
pub fn read_changelog(bootstrap: &str, topic: &str, partitions: i32) -> Table {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("log_level", "2")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut table: Table = (0..partitions).map(|p| (p, BTreeMap::new())).collect();
    let mut left = partitions;
    let deadline = Instant::now() + READ_DEADLINE;
    while left > 0 {
        assert!(Instant::now() < deadline, "{topic} is not read to its end");
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let rows = table.get_mut(&message.partition()).unwrap();
                let key = message.key_view::<str>().unwrap().unwrap().to_owned();
                match message.payload_view::<str>() {
                    Some(value) => rows.insert(key, value.unwrap().parse().unwrap()),
                    None => rows.remove(&key),
                };
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
            _ => {}
        }
    }
    table
}

struct Assigned(AtomicBool);

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    options: KeeperOptions,
    consumer: BaseConsumer<Assigned>,
    producer: BaseProducer,
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    table: Table,
    positions: BTreeMap<i32, i64>,
}

impl Worker {
    fn new(options: KeeperOptions, stop: &Arc<AtomicBool>, taken: &Arc<AtomicU64>) -> Self {
        let consumer: BaseConsumer<Assigned> = ClientConfig::new()
            .set("bootstrap.servers", &options.bootstrap)
            .set("group.id", &options.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "500")
            .set("heartbeat.interval.ms", "500")
            .set("fetch.wait.max.ms", "50")
            .set("log_level", "2")
            .create_with_context(Assigned(AtomicBool::new(true)))
            .unwrap();
        consumer.subscribe(&[&options.commands]).unwrap();
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
            taken: Arc::clone(taken),
            table: Table::new(),
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
            self.positions.clear();
            let local = self.options.state.as_deref();
            self.table = local.and_then(read_state).unwrap_or_else(|| {
                let KeeperOptions {
                    bootstrap,
                    changelog,
                    partitions,
                    ..
                } = &self.options;
                read_changelog(bootstrap, changelog, *partitions)
            });
        }
        // An error is a connection that a fence cut; the client comes back by itself.
        if let Some(Ok(message)) = polled {
            let partition = message.partition();
            let key = message.key_view::<str>().unwrap().unwrap();
            let add = message.payload_view::<str>();
            let add = add.map(|add| add.unwrap().parse().unwrap());
            let value = apply(&mut self.table, partition, key, add);
            let value = value.map(|value| value.to_string());
            let mut record = BaseRecord::to(&self.options.changelog)
                .partition(partition)
                .key(key);
            record.payload = value.as_ref();
            while let Err((_, again)) = self.producer.send(record) {
                record = again;
                self.producer.poll(POLL);
            }
            self.positions.insert(partition, message.offset() + 1);
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        self.producer.poll(Duration::ZERO);
    }

    fn commit(&mut self) {
        if self.positions.is_empty() {
            return;
        }
        // A timeout is a broker that is away, or a gate that is shut. (`in_flight_count` counts unread errors too.)
        while self.producer.flush(FLUSH).is_err() {}
        if let Some(state) = &self.options.state {
            let (new, file) = (state.join("new"), state.join("table.json"));
            std::fs::write(&new, serde_json::to_vec(&self.table).unwrap()).unwrap();
            std::fs::rename(new, file).unwrap();
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in std::mem::take(&mut self.positions) {
            list.add_partition_offset(&self.options.commands, partition, Offset::Offset(offset))
                .unwrap();
        }
        // A commit that the fence cut off is made again by whoever reads those records again.
        let _ = self.consumer.commit(&list, CommitMode::Sync);
    }
}
