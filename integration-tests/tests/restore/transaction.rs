//! Transactions: aborted ones inside a masked range harm no later record, and what a dead application left open is ended.

use std::time::Duration;

use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{
    Sidecar, checkpoints,
    flow::{Watch, WatchOptions},
    wait_until,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;

use crate::world::{FLOW_DEADLINE, Options, World};

const LIMIT: Duration = Duration::from_secs(30);

struct Transactional {
    producer: BaseProducer,
    topic: String,
}

impl Transactional {
    fn start(bootstrap: &str, id: &str, topic: &str) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("transactional.id", id)
            .set("transaction.timeout.ms", "600000")
            .create()
            .unwrap();
        producer.init_transactions(LIMIT).unwrap();
        Self {
            producer,
            topic: topic.to_owned(),
        }
    }

    fn open(&self, numbers: std::ops::Range<u64>) {
        self.producer.begin_transaction().unwrap();
        for number in numbers {
            let mut value = 0_i32.to_be_bytes().to_vec();
            value.extend_from_slice(&number.to_be_bytes());
            let record = BaseRecord::to(&self.topic)
                .partition(0)
                .key("k")
                .payload(&value);
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .unwrap();
        }
        self.producer.flush(LIMIT).unwrap();
    }

    fn commit(&self, numbers: std::ops::Range<u64>) {
        self.open(numbers);
        self.producer.commit_transaction(LIMIT).unwrap();
    }

    fn abort(&self, numbers: std::ops::Range<u64>) {
        self.open(numbers);
        self.producer.abort_transaction(LIMIT).unwrap();
    }
}

/// What stands in the way of a checkpoint, in its own words.
async fn refusal(world: &World) -> String {
    let attempts = checkpoints::take(&world.admin, "aligned").await;
    let (completed, reasons) = checkpoints::outcomes(&attempts);
    assert_eq!(completed, 0, "{attempts:?}");
    format!("{reasons:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_older_than_the_sidecar_is_never_cut_in_two() {
    let world = World::idle(Options::default()).await;
    let topic = world.topic("older");
    world.kafka.topics().create(&topic, 1).await;
    let mut sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let id = format!("{}-older", world.deployment);
    let app = Transactional::start(&sidecar.bootstrap(), &id, &topic);
    app.commit(0..1);
    app.open(1..5);
    sidecar.restart(true).await;
    wait_until(
        FLOW_DEADLINE,
        "the sidecar to be connected again",
        || async {
            let (_, all) = world.admin.get("/v1/sidecars").await;
            let states: Vec<_> = all
                .as_array()
                .unwrap()
                .iter()
                .map(|s| &s["state"])
                .collect();
            states.len() == 3 && states.iter().all(|state| *state == "connected")
        },
    )
    .await;
    let reason = refusal(&world).await;
    assert!(reason.contains(&id), "{reason}");
    app.producer.commit_transaction(LIMIT).unwrap();
    world.checkpoint("aligned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_is_left_to_end_is_waited_for_no_longer_than_the_broker_does() {
    let world = World::idle(Options::default()).await;
    let topic = world.topic("left");
    world.kafka.topics().create(&topic, 1).await;
    let sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let id = format!("{}-left", world.deployment);
    let app = Transactional::start(&sidecar.bootstrap(), &id, &topic);
    app.commit(0..1);
    app.open(1..5);
    drop(app);
    refusal(&world).await;
    // What the broker does after the transaction's timeout, an operator can do at once.
    let bootstrap = [world.kafka.bootstrap()];
    let kafka = Client::connect(&bootstrap, ClientOptions::default())
        .await
        .unwrap();
    kafka.fence_transactional_id(&id, 60_000).await.unwrap();
    world.checkpoint("aligned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_committed_records_lose_nothing_after_an_aborted_transaction_was_masked() {
    let world = World::idle(Options::default()).await;
    let topic = world.topic("tx");
    world.kafka.topics().create(&topic, 1).await;
    let mut sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let id = format!("{}-tx", world.deployment);
    let before = Transactional::start(&sidecar.bootstrap(), &id, &topic);
    before.commit(0..10);
    let epoch = world.checkpoint("aligned").await;
    before.commit(10..15);
    before.abort(90..95);
    before.commit(15..20);
    before.abort(95..99);
    // It dies in the middle of a transaction.
    before.open(80..85);
    drop(before);
    sidecar.restart(true).await;
    let view = world
        .restore(&json!({ "epoch": epoch, "services": ["t"], "safety_checkpoint": false }))
        .await;
    assert!(view["warnings"].to_string().contains(&id), "{view}");

    let after = Transactional::start(&sidecar.bootstrap(), &id, &topic);
    after.abort(70..73);
    after.commit(10..30);
    for read_committed in [true, false] {
        let name = format!("reader-{read_committed}");
        let reader = Sidecar::start(&world.sidecar_options(&name, "0")).await;
        let watch = Watch::start(WatchOptions {
            bootstrap: reader.bootstrap(),
            topics: vec![topic.clone()],
            partitions: 1,
            group: None,
            read_committed,
        });
        // Who reads uncommitted records sees the three of the transaction that was aborted after the rollback.
        let expected = if read_committed { 30 } else { 33 };
        wait_until(FLOW_DEADLINE, "the reader to see everything", || async {
            watch.records(&topic) >= expected
        })
        .await;
        let (tracks, _) = watch.stop();
        let track = &tracks[&(topic.clone(), 0)];
        assert_eq!(track.records, expected, "{track:?}");
        assert!(!read_committed || track.problems.is_empty(), "{track:?}");
    }
}
