//! A consumer that only looks: what came on each partition, whether the numbers follow each other, and a digest of every byte.
//!
//! Two watches that saw the same have equal tracks. It knows nothing of who wrote what.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};

use super::{WAIT, commit, numbered};

/// From one commit to the next, in a group.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// How many problems of one partition are told; one is enough to fail.
const PROBLEMS_MAX: usize = 5;

/// What to look at.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The brokers, or a sidecar.
    pub bootstrap: String,
    /// Topics of numbered records.
    pub topics: Vec<String>,
    /// Partitions of each.
    pub partitions: i32,
    /// Its group, if it shall be a member of one; else it assigns itself everything.
    pub group: Option<String>,
    /// Whether it sees only committed records.
    pub read_committed: bool,
}

/// What came on one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// How many records.
    pub records: u64,
    /// Of offset, time, key, value and headers of each, in order.
    pub digest: u64,
    /// Numbers that were missing, came again or came out of order.
    pub problems: Vec<String>,
}

type Tracks = BTreeMap<(String, i32), Track>;

/// A running watch.
#[derive(Debug)]
pub struct Watch {
    tracks: Arc<Mutex<Tracks>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Watch {
    /// Starts it at the beginning of every topic.
    ///
    /// # Panics
    /// When the client library refuses.
    #[must_use]
    pub fn start(options: WatchOptions) -> Self {
        let consumer = consumer(&options);
        let (tracks, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let looker = Looker {
            grouped: options.group.is_some(),
            consumer,
            hashers: BTreeMap::new(),
            tracks: Arc::clone(&tracks),
            stop: Arc::clone(&stop),
            positions: BTreeMap::new(),
        };
        Self {
            tracks,
            stop,
            thread: Some(std::thread::spawn(move || looker.run())),
        }
    }

    /// How many records of `topic` came so far.
    #[must_use]
    pub fn records(&self, topic: &str) -> u64 {
        let tracks = self.tracks.lock();
        let of_topic = tracks.iter().filter(|((name, _), _)| name == topic);
        of_topic.map(|(_, track)| track.records).sum()
    }

    /// Stops it: what came, and errors of the client.
    ///
    /// # Panics
    /// When it panicked.
    #[must_use]
    pub fn stop(mut self) -> (BTreeMap<(String, i32), Track>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("joined once, here");
        let errors = thread.join().expect("a watch does not panic");
        (std::mem::take(&mut *self.tracks.lock()), errors)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn consumer(options: &WatchOptions) -> BaseConsumer {
    let level = if options.read_committed {
        "read_committed"
    } else {
        "read_uncommitted"
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.bootstrap)
        .set("group.id", options.group.as_deref().unwrap_or("none"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", level)
        .set("fetch.wait.max.ms", "50")
        .set("log_level", "2")
        .create()
        .expect("a consumer needs a bootstrap and a group only");
    if options.group.is_some() {
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .expect("topics can be subscribed to");
        return consumer;
    }
    let mut all = TopicPartitionList::new();
    for topic in &options.topics {
        for partition in 0..options.partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("the beginning is an offset");
        }
    }
    consumer.assign(&all).expect("partitions can be assigned");
    consumer
}

struct Looker {
    consumer: BaseConsumer,
    grouped: bool,
    hashers: BTreeMap<(String, i32), DefaultHasher>,
    tracks: Arc<Mutex<Tracks>>,
    stop: Arc<AtomicBool>,
    positions: BTreeMap<(String, i32), i64>,
}

impl Looker {
    fn run(mut self) -> Vec<String> {
        let mut errors = Vec::new();
        let mut due = Instant::now() + COMMIT_EVERY;
        while !self.stop.load(Ordering::Relaxed) {
            match self.consumer.poll(WAIT) {
                Some(Ok(message)) => note(
                    &message,
                    &mut self.hashers,
                    &self.tracks,
                    &mut self.positions,
                ),
                Some(Err(error)) => errors.push(format!("poll: {error}")),
                None => {}
            }
            if self.grouped && Instant::now() >= due {
                errors.extend(self.commit().err());
                due = Instant::now() + COMMIT_EVERY;
            }
        }
        errors
    }

    fn commit(&mut self) -> Result<(), String> {
        let positions = std::mem::take(&mut self.positions);
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .expect("an offset from 0 up is an offset");
        }
        commit(&self.consumer, &list)
    }
}

fn note(
    message: &BorrowedMessage<'_>,
    hashers: &mut BTreeMap<(String, i32), DefaultHasher>,
    tracks: &Mutex<Tracks>,
    positions: &mut BTreeMap<(String, i32), i64>,
) {
    let place = (message.topic().to_owned(), message.partition());
    let hasher = hashers.entry(place.clone()).or_default();
    digest(message, hasher);
    positions.insert(place.clone(), message.offset() + 1);
    let mut tracks = tracks.lock();
    let track = tracks.entry(place).or_default();
    track.digest = hasher.finish();
    let expected = (message.partition(), track.records);
    let found = message.payload().and_then(numbered::read);
    if found != Some(expected) && track.problems.len() < PROBLEMS_MAX {
        let problem = format!(
            "{expected:?} was due and {found:?} came, at offset {}",
            message.offset()
        );
        track.problems.push(problem);
    }
    track.records += 1;
}

fn digest(message: &BorrowedMessage<'_>, hasher: &mut DefaultHasher) {
    message.offset().hash(hasher);
    message.timestamp().to_millis().hash(hasher);
    message.key().hash(hasher);
    message.payload().hash(hasher);
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        (header.key, header.value).hash(hasher);
    }
}
