//! Compacted topics come back as the tables they were, whatever the cleaner does, with an application's local files and
//! without.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use cutline_model::TopicPartition;
use cutline_wire::{
    batch::batches,
    client::{Client, ClientOptions},
    records::decode,
};
use integration_tests::{
    Admin, AdminOptions, Kafka, KafkaOptions, Run, Sidecar, topics::unique_name, wait_until,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;
use tokio::sync::OnceCell;

use super::{
    keeper::{Keeper, KeeperOptions, Table, apply, read_changelog, read_state},
    world::{FLOW_DEADLINE, Options, World},
};

const PARTITIONS: i32 = 2;
/// Keys that are in use at a time; over time others are.
const KEYS: u64 = 25;
const PACE: Duration = Duration::from_millis(2);
const CLEAN_DEADLINE: Duration = Duration::from_secs(90);
const LAG: &str = "min.compaction.lag.ms";
/// The record of a journal with tables that says that something is about to be touched.
const STATE_BEGUN: usize = 9;

static FAST_CLEANER: OnceCell<Kafka> = OnceCell::const_new();

/// A Kafka whose cleaner looks all the time.
async fn kafka() -> &'static Kafka {
    let start = || async {
        let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let options = KafkaOptions {
            properties: vec![property("log.cleaner.backoff.ms", "200")],
            ..KafkaOptions::default()
        };
        Kafka::start(options).await
    };
    FAST_CLEANER.get_or_init(start).await
}

/// Commands without end, and all that were sent.
struct Commands {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Table>,
}

impl Commands {
    fn start(bootstrap: &str, topic: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        let (topic, stopped) = (topic.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(7);
            let mut table = Table::new();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let partition = random.random_range(0..PARTITIONS);
                // Keys come and go: after a while all of them are others.
                let key = format!("key-{}", number / 20 + random.random_range(0..KEYS));
                let add = random
                    .random_bool(0.8)
                    .then(|| random.random_range(-50_i64..100));
                apply(&mut table, partition, &key, add);
                let value = add.map(|add| add.to_string());
                let mut record = BaseRecord::to(&topic).partition(partition).key(&key);
                record.payload = value.as_ref();
                producer.send(record).map_err(|(error, _)| error).unwrap();
                // Not a poll that waits: it is back as soon as anything was delivered.
                producer.poll(Duration::ZERO);
                std::thread::sleep(PACE);
            }
            producer.flush(FLOW_DEADLINE).unwrap();
            table
        });
        Self { stop, thread }
    }

    /// The table that all commands together make.
    fn stop(self) -> Table {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A keeper in a world of its own.
struct Shelf {
    world: World,
    _sidecar: Sidecar,
    reader: Sidecar,
    keeper: Option<Keeper>,
    options: KeeperOptions,
    commands: Option<Commands>,
}

impl Shelf {
    async fn start(local_files: bool, lag_ms: &str, channels: &str, codec: &str) -> Self {
        let world = world(channels).await;
        let (commands, changelog) = (world.topic("commands"), world.topic("changelog"));
        world.kafka.topics().create(&commands, PARTITIONS).await;
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "300"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("delete.retention.ms", "100"),
            (
                "compression.type",
                if codec == "none" {
                    "uncompressed"
                } else {
                    codec
                },
            ),
            (LAG, lag_ms),
        ];
        let topics = world.kafka.topics();
        topics.create_with(&changelog, PARTITIONS, &settings).await;
        let state = local_files.then(|| Run::this().part("state-keeper"));
        let mut options = world.sidecar_options("keeper", "0");
        options.arguments = vec!["--rebuildable".into(), changelog.clone()];
        if let Some(state) = &state {
            options.state = vec![format!("dir:{}", state.display())];
        }
        let sidecar = Sidecar::start(&options).await;
        let mut options = world.sidecar_options("reader", "0");
        options.arguments = vec!["--rebuildable".into(), changelog.clone()];
        let reader = Sidecar::start(&options).await;
        let options = KeeperOptions {
            bootstrap: sidecar.bootstrap(),
            group: world.group("keeper"),
            commands: commands.clone(),
            changelog,
            partitions: PARTITIONS,
            state,
        };
        let mut shelf = Self {
            commands: Some(Commands::start(&world.kafka.bootstrap(), &commands)),
            keeper: Some(Keeper::start(options.clone())),
            world,
            _sidecar: sidecar,
            reader,
            options,
        };
        shelf.flow(300).await;
        // What was taken is written a moment later, and only a table that has begun is part of a checkpoint.
        wait_until(FLOW_DEADLINE, "the table to begin", || async {
            shelf.ends().iter().all(|end| *end > 0)
        })
        .await;
        shelf
    }

    /// Lets so many commands more be taken.
    async fn flow(&mut self, commands: u64) {
        let keeper = self.keeper.as_ref().unwrap();
        let goal = keeper.taken() + commands;
        wait_until(FLOW_DEADLINE, "commands to be taken", || async {
            keeper.taken() >= goal
        })
        .await;
    }

    /// The changelog as a fresh reader behind a sidecar sees it.
    async fn seen(&self) -> Table {
        let (bootstrap, topic) = (self.reader.bootstrap(), self.options.changelog.clone());
        let read = move || read_changelog(&bootstrap, &topic, PARTITIONS);
        let mut table = tokio::task::spawn_blocking(read).await.unwrap();
        table.retain(|_, rows| !rows.is_empty());
        table
    }

    fn local(&self) -> Table {
        let mut table = read_state(self.options.state.as_deref().unwrap()).unwrap();
        table.retain(|_, rows| !rows.is_empty());
        table
    }

    async fn restore(&self, epoch: u64) {
        let request = json!({ "epoch": epoch, "services": ["keeper"], "safety_checkpoint": false });
        self.world.restore(&request).await;
    }

    /// Ends the commands; when all are taken, the table must be what they make, for everybody.
    async fn settle_and_check(&mut self) -> Table {
        let mut expected = self.commands.take().unwrap().stop();
        expected.retain(|_, rows| !rows.is_empty());
        let ends = self.world.kafka.topics().watermarks(&self.options.commands);
        let group = self.options.group.clone();
        let topic = self.options.commands.clone();
        wait_until(FLOW_DEADLINE, "all commands to be taken", || async {
            committed(&self.world.kafka.bootstrap(), &group, &topic)
                == ends.iter().map(|(_, end)| *end).collect::<Vec<_>>()
        })
        .await;
        self.keeper.take().unwrap().stop();
        assert_eq!(self.seen().await, expected, "what the commands make");
        if self.options.state.is_some() {
            assert_eq!(self.local(), expected, "what the commands make");
        }
        expected
    }

    /// Waits until the cleaner has removed every record that a later one of its key replaced, but for the last segment's.
    async fn wait_for_cleaner(&self, below: &[i64]) {
        let (bootstrap, topic) = (
            self.world.kafka.bootstrap(),
            self.options.changelog.as_str(),
        );
        let client = Client::connect(std::slice::from_ref(&bootstrap), ClientOptions::default());
        let client = client.await.unwrap();
        wait_until(CLEAN_DEADLINE, "the cleaner", || async {
            // A segment is closed when something is appended after its time.
            poke(&bootstrap, topic);
            for (partition, below) in (0..PARTITIONS).zip(below) {
                let partition = TopicPartition::new(topic, partition);
                if !is_clean(&client, &partition, *below).await {
                    return false;
                }
            }
            true
        })
        .await;
    }

    fn ends(&self) -> Vec<i64> {
        let marks = self
            .world
            .kafka
            .topics()
            .watermarks(&self.options.changelog);
        marks.into_iter().map(|(_, end)| end).collect()
    }
}

async fn world(channels: &str) -> World {
    let kafka = kafka().await;
    let deployment = unique_name("tables");
    let mut over = AdminOptions::over(&kafka.bootstrap());
    over.arguments = vec![
        "--deployment".into(),
        deployment.clone(),
        "--checkpoint-channels".into(),
        channels.into(),
    ];
    World {
        kafka,
        admin: Admin::start(&over).await,
        deployment,
        options: Options::default(),
        a: Vec::new(),
        b: Vec::new(),
        feed: None,
    }
}

/// A key that no command has, so that the log goes on; a reader behind no sidecar sees it, and it is removed at once.
fn poke(bootstrap: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    for partition in 0..PARTITIONS {
        let record = BaseRecord::<_, ()>::to(topic)
            .partition(partition)
            .key("poke");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(FLOW_DEADLINE).unwrap();
}

/// True when no record below `below` has one of its key behind it, as far as the log reached when this began.
async fn is_clean(client: &Client, partition: &TopicPartition, below: i64) -> bool {
    let mut keys: BTreeMap<Bytes, i64> = BTreeMap::new();
    let (mut next, mut until) = (cutline_model::Offset(0), None);
    while until.is_none_or(|end| next < end) {
        let Ok(fetched) = client.fetch(partition, next, 100).await else {
            return false;
        };
        until.get_or_insert(fetched.high_watermark);
        for batch in batches(&fetched.records) {
            next = next.max(batch.last_offset.next());
            if batch.control.is_some() {
                continue;
            }
            let bytes = fetched.records.slice(batch.start..batch.end);
            for record in decode(&batch, &bytes).unwrap() {
                let replaced = keys.insert(record.key.unwrap(), record.offset.0);
                if replaced.is_some_and(|offset| offset < below) {
                    return false;
                }
            }
        }
    }
    true
}

fn committed(bootstrap: &str, group: &str, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        asked.add_partition(topic, partition);
    }
    let found = consumer.committed_offsets(asked, FLOW_DEADLINE).unwrap();
    let offsets = found.elements().into_iter();
    offsets
        .map(|at| at.offset().to_raw().unwrap_or(-1))
        .collect()
}

async fn alter(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) {
    let client: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let config = settings
        .iter()
        .fold(config, |c, (name, value)| c.set(name, value));
    let altered = client.alter_configs([&config], &Default::default()).await;
    for result in altered.unwrap() {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_store_and_its_changelog_come_back_alike_and_stay_so_when_the_cleaner_has_run() {
    let mut shelf = Shelf::start(true, "600000", "reference", "gzip").await;
    let epoch = shelf.world.checkpoint("aligned").await;
    shelf.flow(600).await;
    shelf.keeper.take().unwrap().stop();
    let before = shelf.local();
    shelf.restore(epoch).await;
    let after = shelf.seen().await;
    assert_eq!(after, shelf.local(), "the changelog and the files it is of");
    assert_ne!(after, before);

    // From now on the cleaner may do what it wants.
    let ends = shelf.ends();
    let now = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "300"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "100"),
    ];
    let bootstrap = shelf.world.kafka.bootstrap();
    alter(&bootstrap, &shelf.options.changelog, &now).await;
    shelf.wait_for_cleaner(&ends).await;
    assert_eq!(shelf.seen().await, after, "after the cleaner");
    shelf.keeper = Some(Keeper::start(shelf.options.clone()));
    shelf.flow(300).await;
    shelf.settle_and_check().await;
}

#[tokio::test]
async fn a_changelog_alone_brings_its_application_back_again_and_again() {
    let mut shelf = Shelf::start(false, "600000", "reference", "snappy").await;
    let first = shelf.world.checkpoint("aligned").await;
    shelf.flow(300).await;
    let second = shelf.world.checkpoint("unaligned").await;
    shelf.flow(300).await;
    for epoch in [first, second, first, first] {
        shelf.restore(epoch).await;
        shelf.flow(200).await;
    }
    shelf.settle_and_check().await;
}

#[tokio::test]
async fn a_table_whose_cleaner_is_ahead_comes_back_when_it_was_embedded() {
    let mut shelf = Shelf::start(false, "0", "embed", "lz4").await;
    let epoch = shelf.world.checkpoint("aligned").await;
    let ends = shelf.ends();
    shelf.flow(600).await;
    // Every key of the cut has been overwritten or removed since, and the cleaner has been everywhere below.
    shelf.wait_for_cleaner(&ends).await;
    shelf.restore(epoch).await;
    let first = shelf.ends();
    shelf.flow(200).await;
    shelf.wait_for_cleaner(&first).await;
    shelf.restore(epoch).await;
    shelf.flow(200).await;

    shelf.settle_and_check().await;
}

#[tokio::test]
async fn a_table_whose_cleaner_may_be_ahead_is_refused_with_the_cure() {
    let mut shelf = Shelf::start(false, "0", "reference", "none").await;
    let epoch = shelf.world.checkpoint("aligned").await;
    shelf.flow(50).await;
    let plan = shelf
        .world
        .plan(json!({ "epoch": epoch, "services": ["keeper"] }))
        .await;
    assert_eq!(plan["problems"][0]["code"], "CL0317", "{plan}");
    let detail = plan["problems"][0]["detail"].as_str().unwrap();
    let changelog = shelf.options.changelog.as_str();
    for part in [changelog, LAG, "checkpoint.channels: embed"] {
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test]
async fn an_admin_api_killed_while_tables_are_put_back_puts_them_back_all_the_same() {
    let mut shelf = Shelf::start(false, "600000", "reference", "none").await;
    let epoch = shelf.world.checkpoint("aligned").await;
    let request = json!({ "epoch": epoch, "services": ["keeper"], "safety_checkpoint": false });
    // The masks, the tables, the beginning, the offsets, the appends, the timeline.
    for records in 7..=12 {
        shelf.flow(100).await;
        let id = shelf.world.begin(&request).await;
        while shelf.world.journal(&id) < records {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        shelf.world.admin.restart(true).await;
        let view = shelf.world.ended(&id).await;
        eprintln!("killed after record {records}: {}", view["status"]);
        let touched = records >= STATE_BEGUN;
        assert!(!touched || view["status"] == "COMPLETED", "{view}");
    }
    shelf.flow(100).await;
    shelf.settle_and_check().await;
}

#[tokio::test]
async fn records_of_every_codec_are_read_as_they_were_written() {
    let kafka = kafka().await;
    let bootstrap = kafka.bootstrap();
    let client = Client::connect(std::slice::from_ref(&bootstrap), ClientOptions::default());
    let client = client.await.unwrap();
    for codec in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let topic = unique_name("codec");
        // Its timestamps are from 1970 on; to the client library 0 means now.
        let settings = [("compression.type", codec), ("retention.ms", "-1")];
        kafka.topics().create_with(&topic, 1, &settings).await;
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .create()
            .unwrap();
        let stamp = |at: i64| (at + 1) * 10_000_000_000;
        let value = |at: i64| "value ".repeat(usize::try_from(at * 100).unwrap());
        for at in 0..50_i64 {
            let (key, value) = (at.to_string(), value(at));
            let header = |value| Header { key: "h", value };
            let headers = OwnedHeaders::new()
                .insert(header(Some("1")))
                .insert(header(None::<&str>));
            let record = BaseRecord::to(&topic)
                .key(&key)
                .payload(&value)
                .timestamp(stamp(at))
                .headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(FLOW_DEADLINE).unwrap();
        let partition = TopicPartition::new(topic.as_str(), 0);
        let mut records = Vec::new();
        // One answer need not hold all of it.
        while records.len() < 50 {
            let next = cutline_model::Offset(i64::try_from(records.len()).unwrap());
            let fetched = client.fetch(&partition, next, 1_000).await.unwrap();
            for batch in batches(&fetched.records) {
                let bytes = fetched.records.slice(batch.start..batch.end);
                let read = decode(&batch, &bytes).unwrap().into_iter();
                records.extend(read.filter(|record| record.offset >= next));
            }
        }
        assert_eq!(records.len(), 50, "{codec}");
        for (at, record) in (0..).zip(records) {
            assert_eq!(record.offset.0, at, "{codec}");
            assert_eq!(record.timestamp_ms, stamp(at), "{codec}");
            assert_eq!(record.key.unwrap(), at.to_string(), "{codec}");
            assert_eq!(record.value.unwrap(), value(at), "{codec}");
            let headers: Vec<_> = record.headers.iter().map(|h| h.value.is_some()).collect();
            assert_eq!(headers, [true, false], "{codec}");
        }
    }
}
