//! An application that consumes, transforms and produces in Kafka transactions: what it wrote is there once, whatever was
//! rolled back in between.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use integration_tests::{Sidecar, checkpoints, wait_until};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;

use crate::{
    ledger::read_state,
    world::{FLOW_DEADLINE, Options, World},
};

const POLL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(10);
/// Records in one transaction at most.
const BATCH_MAX: usize = 500;
/// How long the application waits before it is put up again, as a supervisor does.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone)]
struct Wiring {
    bootstrap: String,
    group: String,
    id: String,
    from: String,
    to: String,
}

/// The application under a supervisor: whatever is wrong with its clients, it begins anew with others.
struct ExactlyOnce {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl ExactlyOnce {
    fn start(wiring: Wiring) -> Self {
        let (stop, transactions) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&transactions));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = works(&wiring, &stopped, &counted) {
                    eprintln!("the application begins anew: {error}");
                    std::thread::sleep(AGAIN);
                }
            }
        });
        Self {
            stop,
            transactions,
            thread: Some(thread),
        }
    }

    async fn wait_for_transactions(&self, more: u64) {
        let goal = self.transactions.load(Ordering::Relaxed) + more;
        wait_until(FLOW_DEADLINE, "transactions to be committed", || async {
            self.transactions.load(Ordering::Relaxed) >= goal
        })
        .await;
    }
}

impl Drop for ExactlyOnce {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was told where it happened.
            let _ = thread.join();
        }
    }
}

fn works(wiring: &Wiring, stop: &AtomicBool, count: &AtomicU64) -> Result<(), KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &wiring.bootstrap)
        .set("group.id", &wiring.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "50")
        // What it has fetched ahead it can finish within `drain-timeout`.
        .set("queued.min.messages", "1")
        .set("fetch.message.max.bytes", "32768")
        .set("heartbeat.interval.ms", "500")
        // A fence closes every connection at once, and then librdkafka begins anew in the middle of a transaction (docs/clients.md).
        .set("metadata.recovery.strategy", "none")
        .set("log_level", "2")
        .create()?;
    consumer.subscribe(&[&wiring.from])?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &wiring.bootstrap)
        .set("transactional.id", &wiring.id)
        .set("linger.ms", "20")
        .set("metadata.recovery.strategy", "none")
        .set("log_level", "2")
        .create()?;
    producer.init_transactions(LIMIT)?;
    while !stop.load(Ordering::Relaxed) {
        let mut positions = TopicPartitionList::new();
        let mut taken = Vec::new();
        while taken.len() < BATCH_MAX {
            let Some(message) = consumer.poll(POLL).transpose()? else {
                break;
            };
            let next = Offset::Offset(message.offset() + 1);
            let (topic, partition) = (message.topic(), message.partition());
            if positions.find_partition(topic, partition).is_none() {
                positions.add_partition(topic, partition);
            }
            positions.set_partition_offset(topic, partition, next)?;
            taken.push(message.detach());
        }
        if taken.is_empty() {
            continue;
        }
        producer.begin_transaction()?;
        for message in &taken {
            let record = BaseRecord::<[u8], [u8]>::to(&wiring.to)
                .partition(message.partition())
                .key(message.key().unwrap_or_default())
                .payload(message.payload().unwrap_or_default());
            producer.send(record).map_err(|(error, _)| error)?;
        }
        let metadata = consumer.group_metadata().expect("it is in a group");
        producer.send_offsets_to_transaction(&positions, &metadata, LIMIT)?;
        producer.commit_transaction(LIMIT)?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// `a` of the world is replaced by an application that has no state but its offsets, which move with what it writes.
async fn world() -> (World, Sidecar, ExactlyOnce) {
    let mut world = World::idle(Options::default()).await;
    let accepted = world.topic("accepted");
    world.kafka.topics().create(&accepted, 2).await;
    let sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let app = ExactlyOnce::start(Wiring {
        bootstrap: sidecar.bootstrap(),
        group: world.group("t"),
        id: format!("{}-eos", world.deployment),
        from: world.topic("in"),
        to: world.topic("accepted"),
    });
    world.start_feed();
    app.wait_for_transactions(5).await;
    checkpoints::wait_connected(&world.admin, 3).await;
    (world, sidecar, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_stays_exactly_once_over_rollbacks() {
    let (mut world, _sidecar, app) = world().await;
    let mut reads = world.app("c", 0, "accepted", None).await;
    reads.start();
    checkpoints::wait_connected(&world.admin, 4).await;
    let first = world.checkpoint("aligned").await;
    app.wait_for_transactions(10).await;
    let second = world.checkpoint("unaligned").await;
    app.wait_for_transactions(10).await;
    for epoch in [first, second, first] {
        world
            .restore(&json!({ "epoch": epoch, "safety_checkpoint": false }))
            .await;
        app.wait_for_transactions(10).await;
    }
    let sent = world
        .feed
        .take()
        .map(|feed| feed.stop())
        .unwrap_or_default();
    let end: BTreeMap<i32, u64> = (0..).zip(sent).collect();
    wait_until(FLOW_DEADLINE, "everything to flow through", || async {
        read_state(reads.state()) == end
    })
    .await;
    let problems: Vec<String> = reads
        .stop()
        .into_iter()
        .filter(|problem| !problem.starts_with("commit"))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
}
