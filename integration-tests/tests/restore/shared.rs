//! Topics with several writers, and tables: only the restored writers' records go, or nothing is done.

use std::{collections::BTreeSet, time::Duration};

use integration_tests::{Sidecar, wait_until};
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;

use crate::world::{FLOW_DEADLINE, Options, World};

const LIMIT: Duration = Duration::from_secs(30);

/// An application that only writes.
struct Writer(BaseProducer, String);

impl Writer {
    fn start(bootstrap: &str, topic: &str, idempotent: bool) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", idempotent.to_string())
            .create()
            .unwrap();
        Self(producer, topic.to_owned())
    }

    fn write(&self, words: std::ops::Range<u32>) {
        for word in words {
            let value = word.to_string();
            let record = BaseRecord::to(&self.1)
                .partition(0)
                .key(&value)
                .payload(&value);
            self.0.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.0.flush(LIMIT).unwrap();
    }
}

/// Everything on partition 0 that comes through `bootstrap`, once `last` is among it.
async fn read(bootstrap: &str, topic: &str, last: u32) -> BTreeSet<u32> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "none")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&all).unwrap();
    let seen = Mutex::new(BTreeSet::new());
    wait_until(FLOW_DEADLINE, "the last record", || async {
        while let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            let value = message.payload_view::<str>().unwrap().unwrap();
            let fresh = seen.lock().insert(value.parse().unwrap());
            assert!(fresh, "{value} came twice");
        }
        seen.lock().contains(&last)
    })
    .await;
    seen.into_inner()
}

#[tokio::test]
async fn of_a_shared_topic_only_the_restored_writers_records_go() {
    let world = World::idle(Options::default()).await;
    let topic = world.topic("shared");
    world.kafka.topics().create(&topic, 1).await;
    let sidecars = [
        Sidecar::start(&world.sidecar_options("t", "0")).await,
        Sidecar::start(&world.sidecar_options("u", "0")).await,
    ];
    let [t, u] = sidecars
        .each_ref()
        .map(|s| Writer::start(&s.bootstrap(), &topic, true));
    t.write(0..10);
    u.write(100..110);
    let epoch = world.checkpoint("aligned").await;
    for step in 0..5 {
        t.write(10 + step * 2..12 + step * 2);
        u.write(110 + step * 2..112 + step * 2);
    }
    let outside = Writer::start(&world.kafka.bootstrap(), &topic, true);
    outside.write(200..205);
    let only_t = json!({ "epoch": epoch, "services": ["t"] });
    world.restore(&only_t).await;
    u.write(120..121);
    let reader = Sidecar::start(&world.sidecar_options("reader", "0")).await;
    let seen = read(&reader.bootstrap(), &topic, 120).await;
    let expected: BTreeSet<u32> = (0..10).chain(100..121).chain(200..205).collect();
    assert_eq!(seen, expected);

    let nameless = Writer::start(&world.kafka.bootstrap(), &topic, false);
    nameless.write(300..301);
    assert_eq!(
        world.codes(only_t).await,
        ["CL0316"],
        "nobody can tell whose it is"
    );
}

#[tokio::test]
async fn a_compacted_topic_is_refused_only_when_something_on_it_is_rolled_back() {
    let world = World::idle(Options::default()).await;
    let topic = world.topic("table");
    let compact = [("cleanup.policy", "compact")];
    world.kafka.topics().create_with(&topic, 1, &compact).await;
    let sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let writer = Writer::start(&sidecar.bootstrap(), &topic, true);
    writer.write(0..10);
    let epoch = world.checkpoint("aligned").await;
    let request = json!({ "epoch": epoch, "services": ["t"] });
    assert!(world.codes(request.clone()).await.is_empty());
    writer.write(10..11);
    assert_eq!(world.codes(request).await, ["CL0317"]);
}
