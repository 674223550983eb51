//! One instance of bank A: take a batch, apply it, send what it causes, keep the state, commit the offsets, in that order.
//!
//! When a commit is seen, the state, the acknowledged transfers and the input of a record are complete together. Errors of the network
//! are survived for ever; the client library reconnects.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    batch::{Batch, Change, Changes, Delivered, Place},
    ledger::Ledger,
    outbox::Outbox,
    record::{Outgoing, Record},
    shard::{Kind, Route, Shard},
    stop::Stop,
    term::new_term,
};

/// How long one wait for a record lasts when there is none.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// How long to wait before a commit is tried again, and how often.
const COMMIT_RETRY_DELAY: Duration = Duration::from_millis(200);
const COMMIT_TRIES_MAX: u32 = 100;

/// How one instance is run.
#[derive(Args)]
pub struct ServeOptions {
    /// Kafka, or the sidecar before it
    #[arg(long, env = "BANK_BOOTSTRAP")]
    bootstrap: String,
    /// Where the service's state is: a directory, or postgres://…; instances may share it
    #[arg(long, env = "BANK_STATE")]
    state: String,
    /// How many partitions the other bank's transfers have
    #[arg(long, env = "BANK_PARTITIONS", default_value_t = 4)]
    partitions: i32,
    /// What the names of topics and group begin with
    #[arg(long, env = "BANK_PREFIX", default_value = "")]
    prefix: String,
    /// How assignments are made: range, cooperative-sticky, or consumer for KIP-848
    #[arg(long, env = "BANK_ASSIGNOR", default_value = "range")]
    assignor: String,
    /// A static member's name, none by default
    #[arg(long, env = "BANK_MEMBER")]
    member: Option<String>,
    /// The most records of one batch
    #[arg(long, default_value_t = 500)]
    batch_records_max: usize,
    /// How long a batch is collected at most, in milliseconds
    #[arg(long, default_value_t = 50)]
    batch_ms_max: u64,
}

/// Runs the instance until it is told to end.
///
/// # Errors
/// When its state cannot be read or written, or the client library refuses its configuration.
pub fn serve(options: &ServeOptions) -> Result<ExitCode, Box<dyn Error>> {
    let stop = Stop::listen()?;
    let mut service = Service::open(options)?;
    while !stop.raised() {
        let batch = service.collect();
        if batch.len() > 0 {
            service.handle(&batch)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A term, and how many records its shard had when it was last written in it.
struct Tenure {
    term: String,
    records: u64,
}

/// The shards a batch touched as they are after it, and the transfers it causes.
type Applied = (BTreeMap<Place, Shard>, Vec<Outgoing>);

struct Service {
    consumer: BaseConsumer<Changes>,
    changes: Changes,
    outbox: Outbox,
    ledger: Ledger,
    tenures: HashMap<Place, Tenure>,
    orders: String,
    route: Route,
    batch_records_max: usize,
    batch_time_max: Duration,
}

impl Service {
    fn open(options: &ServeOptions) -> Result<Self, Box<dyn Error>> {
        let prefix = &options.prefix;
        let orders = format!("{prefix}orders-a");
        let route = Route {
            topic: format!("{prefix}transfers-b"),
            partitions: options.partitions,
        };
        let changes = Changes::default();
        let consumer: BaseConsumer<Changes> =
            consumer_config(options).create_with_context(changes.clone())?;
        consumer.subscribe(&[&orders, &format!("{prefix}transfers-a")])?;
        Ok(Self {
            consumer,
            changes,
            outbox: Outbox::new(&options.bootstrap, &route.topic)?,
            ledger: Ledger::open(&options.state)?,
            tenures: HashMap::new(),
            orders,
            route,
            batch_records_max: options.batch_records_max,
            batch_time_max: Duration::from_millis(options.batch_ms_max),
        })
    }

    /// Waits for a first record and takes what follows it within the time and number of a batch.
    fn collect(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut first: Option<Instant> = None;
        while batch.len() < self.batch_records_max {
            let left = first.map_or(POLL_TIMEOUT, |first| {
                self.batch_time_max.saturating_sub(first.elapsed())
            });
            let polled = self
                .consumer
                .poll(left)
                .map(|polled| polled.map(|message| delivered(&message)));
            // Rebalances happen inside a poll, before what it returns: what was collected of partitions that left goes first.
            for change in self.changes.take() {
                self.follow(&change, &mut batch);
            }
            match polled {
                Some(Ok(record)) => {
                    first.get_or_insert_with(Instant::now);
                    batch.push(record);
                }
                Some(Err(error)) => eprintln!("bank-a: poll: {error}"),
                None => break,
            }
            if first.is_some_and(|first| first.elapsed() >= self.batch_time_max) {
                break;
            }
        }
        batch
    }

    fn follow(&mut self, change: &Change, batch: &mut Batch) {
        match change {
            Change::Revoked(places) => {
                batch.drop_revoked(places);
                places.iter().for_each(|place| {
                    self.tenures.remove(place);
                });
            }
            Change::Assigned(places) => places.iter().for_each(|place| {
                self.tenures.remove(place);
            }),
        }
    }

    fn handle(&mut self, batch: &Batch) -> Result<(), Box<dyn Error>> {
        let (shards, outgoing) = self.apply(batch)?;
        self.outbox.send_all(&outgoing)?;
        self.ledger.save(shards.values())?;
        for (place, shard) in &shards {
            if let Some(tenure) = self.tenures.get_mut(place) {
                tenure.records = shard.records;
            }
        }
        self.commit(batch)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, Box<dyn Error>> {
        let mut shards = BTreeMap::new();
        let mut outgoing = Vec::new();
        for delivered in batch.records() {
            if !shards.contains_key(&delivered.place) {
                let shard = self.take_up(&delivered.place)?;
                shards.insert(delivered.place.clone(), shard);
            }
            let shard = shards
                .get_mut(&delivered.place)
                .expect("inserted when missing");
            let tenure = &self.tenures[&delivered.place];
            let record: Record = serde_json::from_slice(&delivered.payload)?;
            let kind = if delivered.place.0 == self.orders {
                Kind::Order
            } else {
                Kind::Transfer
            };
            outgoing.extend(shard.apply(kind, &record, &tenure.term, &self.route));
        }
        Ok((shards, outgoing))
    }

    /// Reads a shard; when someone else wrote it since this instance did, a new term begins.
    fn take_up(&mut self, place: &Place) -> Result<Shard, Box<dyn Error>> {
        let shard = self.ledger.load(&format!("{}-{}", place.0, place.1))?;
        let known = self
            .tenures
            .get(place)
            .is_some_and(|tenure| tenure.records == shard.records);
        if !known {
            self.tenures.insert(
                place.clone(),
                Tenure {
                    term: new_term(),
                    records: shard.records,
                },
            );
        }
        Ok(shard)
    }

    fn commit(&self, batch: &Batch) -> Result<(), Box<dyn Error>> {
        let offsets = batch.commits()?;
        for _ in 0..COMMIT_TRIES_MAX {
            match self.consumer.commit(&offsets, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                Err(error) if lost_membership(&error) => {
                    // Plain at-least-once: whoever has the partitions now gets these records again.
                    eprintln!("bank-a: commit: {error}");
                    return Ok(());
                }
                Err(error) => {
                    eprintln!("bank-a: commit is tried again: {error}");
                    std::thread::sleep(COMMIT_RETRY_DELAY);
                }
            }
        }
        Err("a commit did not succeed in all its tries".into())
    }
}

fn lost_membership(error: &KafkaError) -> bool {
    let lost = [
        RDKafkaErrorCode::UnknownMemberId,
        RDKafkaErrorCode::IllegalGeneration,
        RDKafkaErrorCode::FencedInstanceId,
        RDKafkaErrorCode::StaleMemberEpoch,
        RDKafkaErrorCode::AssignmentLost,
        RDKafkaErrorCode::NoOffset,
    ];
    error
        .rdkafka_error_code()
        .is_some_and(|code| lost.contains(&code))
}

fn delivered(message: &rdkafka::message::BorrowedMessage<'_>) -> Delivered {
    Delivered {
        place: (message.topic().to_owned(), message.partition()),
        offset: message.offset(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}

fn consumer_config(options: &ServeOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("group.id", format!("{}bank-a", options.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500");
    if options.assignor == "consumer" {
        config.set("group.protocol", "consumer");
    } else {
        config.set("partition.assignment.strategy", &options.assignor);
        config
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000");
    }
    if let Some(member) = &options.member {
        config.set("group.instance.id", member);
    }
    config
}
