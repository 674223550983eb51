//! Transactions: aborted ones inside a masked range harm no later record, and what a dead application left open is ended.

use std::time::Duration;

use integration_tests::{
    Sidecar,
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
