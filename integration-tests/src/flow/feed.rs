//! The source of a flow: numbered records to every partition of a topic, at a steady rate.
//!
//! It promises that record n of a partition is appended once, after n − 1; while leaders change, librdkafka may append one again
//! (confluentinc/librdkafka#4953). It does not give up: a broker that is away is waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};

use super::{QUEUE_FULL_WAIT, WAIT, numbered, producer_config};

/// How often the feed looks what is due.
const TICK: Duration = Duration::from_millis(5);
/// Every so many records one carries a header.
const HEADER_EVERY: u64 = 100;

/// What to make.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// The brokers, or a sidecar.
    pub bootstrap: String,
    /// Where to.
    pub topic: String,
    /// Its partitions; each gets the same share.
    pub partitions: i32,
    /// Over all partitions; `None`: as fast as it goes.
    pub records_per_second: Option<u64>,
    /// About how long a value is.
    pub value_bytes: usize,
    /// How many records to make, all in all; `None`: until it is stopped.
    pub records_max: Option<u64>,
}

/// A feed that runs until it is stopped or has made all it should.
#[derive(Debug)]
pub struct Feed {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u64>>>,
}

impl Feed {
    /// Starts it.
    ///
    /// # Panics
    /// When the client library refuses.
    #[must_use]
    pub fn start(options: FeedOptions) -> Self {
        let producer: BaseProducer = producer_config(&options.bootstrap)
            .create()
            .expect("a producer needs a bootstrap only");
        let (sent, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let maker = Maker {
            next: vec![0; usize::try_from(options.partitions).expect("counted from 0 up")],
            producer,
            sent: Arc::clone(&sent),
            stop: Arc::clone(&stop),
            options,
        };
        let thread = std::thread::spawn(move || maker.run());
        Self {
            sent,
            stop,
            thread: Some(thread),
        }
    }

    /// How many records it has handed to the client library.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until it has made all it should, and until all is acknowledged; how many went to each partition.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u64> {
        let thread = self.thread.take().expect("joined once, here or in stop");
        thread.join().expect("the feed does not fail")
    }

    /// Stops it and waits until all is acknowledged; how many records went to each partition.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Maker {
    options: FeedOptions,
    producer: BaseProducer,
    next: Vec<u64>,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Maker {
    fn run(mut self) -> Vec<u64> {
        let start = Instant::now();
        let all = self.options.records_max.unwrap_or(u64::MAX);
        let mut made = 0;
        while made < all && !self.stop.load(Ordering::Relaxed) {
            let due = self.due(start).min(all);
            while made < due && !self.stop.load(Ordering::Relaxed) {
                self.make(made);
                made += 1;
                self.sent.store(made, Ordering::Relaxed);
            }
            self.producer.poll(Duration::ZERO);
            if self.options.records_per_second.is_some() {
                std::thread::sleep(TICK);
            }
        }
        // A timeout is a broker that is away, or a gate that is shut. (`in_flight_count` counts unread errors too.)
        while self.producer.flush(WAIT).is_err() {}
        self.next
    }

    fn due(&self, start: Instant) -> u64 {
        match self.options.records_per_second {
            Some(rate) => (start.elapsed().as_secs_f64() * rate as f64) as u64,
            None => u64::MAX,
        }
    }

    fn make(&mut self, made: u64) {
        let at = (made % self.next.len() as u64) as usize;
        let partition = i32::try_from(at).expect("below a partition count");
        let number = self.next[at];
        self.next[at] += 1;
        let (key, value) = (
            number.to_be_bytes(),
            numbered::value(partition, number, self.options.value_bytes),
        );
        let mut record = BaseRecord::to(&self.options.topic)
            .partition(partition)
            .key(&key[..])
            .payload(&value);
        if number.is_multiple_of(HEADER_EVERY) {
            let header = Header {
                key: "hundreds",
                value: Some(&key[..]),
            };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        while let Err((_, again)) = self.producer.send(record) {
            record = again;
            self.producer.poll(QUEUE_FULL_WAIT);
        }
    }
}
