//! A service that passes records on: consume, produce, flush, commit; at-least-once, without deduplication.
//!
//! It promises the order that `commit` capture needs: when a commit is seen, everything the committed records caused is acknowledged.
//! It commits at fixed times, its commit interval, and can be told to stand still, as a hook does. What the records are it does not know.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio::sync::oneshot;

use super::{QUEUE_FULL_WAIT, WAIT, commit, producer_config};

/// Positions by `topic-partition`, as a hook answers them.
type Positions = BTreeMap<String, i64>;

/// What to pass on.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// The brokers, or a sidecar.
    pub bootstrap: String,
    /// Its group.
    pub group: String,
    /// From where.
    pub from: String,
    /// To the same partition of which topic; `None`: it only consumes.
    pub to: Option<String>,
    /// From one commit to the next.
    pub commit_every: Duration,
    /// How many records it passes on in a second at most.
    pub records_per_second_max: Option<u64>,
    /// A directory in which its state, the positions, is written before each commit.
    pub state: Option<PathBuf>,
    /// How long it stands still before it goes on by itself.
    pub lease: Duration,
    /// Other settings of its consumer.
    pub settings: Vec<(String, String)>,
}

impl RelayOptions {
    /// From one topic to another, at any rate, without state.
    #[must_use]
    pub fn between(bootstrap: &str, group: &str, from: &str, to: Option<&str>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            group: group.into(),
            from: from.into(),
            to: to.map(Into::into),
            commit_every: Duration::from_millis(100),
            records_per_second_max: None,
            state: None,
            lease: Duration::from_secs(10),
            settings: Vec::new(),
        }
    }
}

/// What a relay tells when it has stopped.
#[derive(Clone, Debug, Default)]
pub struct RelayTold {
    /// Records passed on.
    pub records: u64,
    /// How long each flush and commit took.
    pub commits: Vec<Duration>,
    /// What went wrong.
    pub failures: Vec<String>,
}

/// A running relay; dropped, it ends in its own time.
#[derive(Debug)]
pub struct Relay {
    records: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    control: RelayControl,
    thread: Option<JoinHandle<RelayTold>>,
}

/// Makes a relay stand still and go on.
#[derive(Clone, Debug)]
pub struct RelayControl(mpsc::Sender<Ask>);

#[derive(Debug)]
enum Ask {
    Pause(oneshot::Sender<Positions>),
    Resume(oneshot::Sender<bool>),
}

impl RelayControl {
    /// Stops taking work, flushes, and answers where it stands; `None` when the relay is gone.
    pub async fn pause(&self) -> Option<BTreeMap<String, i64>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask::Pause(answer)).ok()?;
        answered.await.ok()
    }

    /// Goes on; whether it had stood still until now.
    pub async fn resume(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask::Resume(answer)).is_ok() && answered.await.unwrap_or(false)
    }
}

impl Relay {
    /// Starts it.
    ///
    /// # Panics
    /// When the client library refuses.
    #[must_use]
    pub fn start(options: RelayOptions) -> Self {
        let consumer: BaseConsumer = consumer_config(&options)
            .create()
            .expect("a consumer needs a bootstrap and a group only");
        consumer
            .subscribe(&[&options.from])
            .expect("a topic can be subscribed to");
        let producer = producer_config(&options.bootstrap)
            .create()
            .expect("a producer needs a bootstrap only");
        let (records, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (asks, asked) = mpsc::channel();
        let worker = Worker {
            options,
            consumer,
            producer,
            asked,
            records: Arc::clone(&records),
            stop: Arc::clone(&stop),
            positions: BTreeMap::new(),
            dirty: false,
            told: RelayTold::default(),
        };
        Self {
            records,
            stop,
            control: RelayControl(asks),
            thread: Some(std::thread::spawn(move || worker.run())),
        }
    }

    /// How many records it has passed on.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// What makes it stand still.
    #[must_use]
    pub fn control(&self) -> RelayControl {
        self.control.clone()
    }

    /// Lets it commit what it has done and stops it.
    ///
    /// # Panics
    /// When it panicked.
    #[must_use]
    pub fn stop(mut self) -> RelayTold {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("joined once, here");
        thread.join().expect("a relay does not panic")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consumer_config(options: &RelayOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("group.id", &options.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .set("log_level", "2");
    for (name, value) in &options.settings {
        config.set(name, value);
    }
    config
}

struct Worker {
    options: RelayOptions,
    consumer: BaseConsumer,
    producer: BaseProducer,
    asked: mpsc::Receiver<Ask>,
    records: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// Where the next record is, by partition.
    positions: BTreeMap<i32, i64>,
    dirty: bool,
    told: RelayTold,
}

impl Worker {
    fn run(mut self) -> RelayTold {
        let start = Instant::now();
        let mut due = start + self.options.commit_every;
        while !self.stop.load(Ordering::Relaxed) {
            match self.asked.try_recv() {
                Ok(Ask::Pause(answer)) => self.stand_still(answer),
                Ok(Ask::Resume(answer)) => drop(answer.send(false)),
                Err(_) => {}
            }
            let now = Instant::now();
            if now >= due {
                self.commit();
                due = (due + self.options.commit_every).max(now);
            }
            if self.may_go_on(start) {
                self.pass_on_one(WAIT.min(due.saturating_duration_since(now)));
            } else {
                std::thread::sleep(QUEUE_FULL_WAIT);
            }
        }
        self.commit();
        self.told.records = self.records.load(Ordering::Relaxed);
        self.told
    }

    fn may_go_on(&self, start: Instant) -> bool {
        let allowed = |rate: u64| (start.elapsed().as_secs_f64() * rate as f64) as u64;
        let records = self.records.load(Ordering::Relaxed);
        self.options
            .records_per_second_max
            .is_none_or(|rate| records < allowed(rate))
    }

    fn pass_on_one(&mut self, wait: Duration) {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                if let Some(to) = &self.options.to {
                    pass_on(&self.producer, to, &message);
                }
                self.positions
                    .insert(message.partition(), message.offset() + 1);
                self.dirty = true;
                self.records.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(error)) => self.told.failures.push(format!("poll: {error}")),
            None => {}
        }
        self.producer.poll(Duration::ZERO);
    }

    fn commit(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let begin = Instant::now();
        self.flush();
        if let Some(directory) = &self.options.state {
            let text = serde_json::to_vec(&self.named()).expect("numbers by names are JSON");
            let (new, file) = (directory.join("new"), directory.join("positions.json"));
            if let Err(error) = std::fs::write(&new, text).and_then(|()| std::fs::rename(new, file))
            {
                self.told.failures.push(format!("state: {error}"));
            }
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &self.positions {
            list.add_partition_offset(&self.options.from, *partition, Offset::Offset(*offset))
                .expect("an offset from 0 up is an offset");
        }
        if let Err(failure) = commit(&self.consumer, &list) {
            self.told.failures.push(failure);
        }
        self.told.commits.push(begin.elapsed());
    }

    fn flush(&self) {
        // A timeout is a broker that is away, or a gate that is shut. (`in_flight_count` counts unread errors too.)
        while self.producer.flush(WAIT).is_err() {}
    }

    fn named(&self) -> Positions {
        let name = |partition: &i32| format!("{}-{partition}", self.options.from);
        self.positions
            .iter()
            .map(|(partition, offset)| (name(partition), *offset))
            .collect()
    }

    /// Until it is told to go on, or its lease is over.
    fn stand_still(&mut self, answer: oneshot::Sender<Positions>) {
        self.flush();
        // Whoever asked and went away is not waited for, beyond the lease.
        let _ = answer.send(self.named());
        let until = Instant::now() + self.options.lease;
        loop {
            match self
                .asked
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Ask::Pause(answer)) => drop(answer.send(self.named())),
                Ok(Ask::Resume(answer)) => {
                    let _ = answer.send(true);
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

fn pass_on(producer: &BaseProducer, to: &str, message: &BorrowedMessage<'_>) {
    let mut record = BaseRecord::to(to)
        .partition(message.partition())
        .key(message.key().unwrap_or_default())
        .payload(message.payload().unwrap_or_default());
    if let Some(time) = message.timestamp().to_millis() {
        record = record.timestamp(time);
    }
    if let Some(headers) = message.headers() {
        record = record.headers(headers.detach());
    }
    while let Err((_, again)) = producer.send(record) {
        record = again;
        producer.poll(QUEUE_FULL_WAIT);
    }
}
