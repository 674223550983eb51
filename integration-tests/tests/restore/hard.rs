//! What Kafka does on its own to what a checkpoint and a rollback rely on: it forgets producer ids, transactional ids and
//! committed offsets, and a stranger leaves a transaction open.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cutline_model::{Offset, TopicPartition};
use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{Kafka, KafkaOptions, wait_until};
use kafka_protocol::ResponseError;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::world::{FLOW_DEADLINE, Options, World};

const LIMIT: Duration = Duration::from_secs(30);
/// Offsets are kept for whole minutes.
const OFFSETS_EXPIRE: Duration = Duration::from_secs(150);

static FORGETFUL: OnceCell<Kafka> = OnceCell::const_new();

/// A Kafka that forgets as early as it can be told to.
async fn forgetful() -> &'static Kafka {
    let start = || async {
        let properties = [
            ("transactional.id.expiration.ms", "3000"),
            (
                "transaction.remove.expired.transaction.cleanup.interval.ms",
                "500",
            ),
            ("producer.id.expiration.ms", "2000"),
            ("producer.id.expiration.check.interval.ms", "500"),
            ("transaction.max.timeout.ms", "60000"),
            ("offsets.retention.minutes", "1"),
            ("offsets.retention.check.interval.ms", "1000"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Kafka::start(KafkaOptions {
            properties: properties.into(),
            ..KafkaOptions::default()
        })
        .await
    };
    FORGETFUL.get_or_init(start).await
}

async fn client(world: &World) -> Client {
    let bootstrap = [world.kafka.bootstrap()];
    let connected = Client::connect(&bootstrap, ClientOptions::default()).await;
    connected.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_stranger_leaves_open_is_not_waited_for_and_nothing_is_lost_by_it() {
    let mut world = World::start(Options::default()).await;
    let topic = world.topic("in");
    let stranger: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .set("transactional.id", format!("{}-stranger", world.deployment))
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    stranger.init_transactions(LIMIT).unwrap();
    stranger.begin_transaction().unwrap();
    let record = BaseRecord::<[u8], [u8]>::to(&topic)
        .partition(0)
        .payload(b"never to be seen");
    stranger.send(record).map_err(|(error, _)| error).unwrap();
    stranger.flush(LIMIT).unwrap();
    // Behind it nobody who reads committed records gets on, and the barrier stands behind it.
    let began = Instant::now();
    let epoch = world.checkpoint("aligned").await;
    let (_, detail) = world.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
    let processes = detail["processes"].as_array().unwrap();
    let a = processes.iter().find(|p| p["service"] == "a").unwrap();
    assert_eq!(a["unaligned"], true, "{:?}: {detail}", began.elapsed());
    // It is open at the restore too.
    world
        .restore(&json!({ "epoch": epoch, "safety_checkpoint": false }))
        .await;
    stranger.abort_transaction(LIMIT).unwrap();
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_and_masks_outlive_that_kafka_forgets_every_producer() {
    let mut world = World::start_on(forgetful().await, Options::default()).await;
    let first = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    let second = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    let sent = world.feed.take().unwrap().stop();
    // Applications that have nothing to do keep their connections; Kafka forgets who they are.
    let kafka = client(&world).await;
    let marked: Vec<TopicPartition> = (0..2)
        .map(|partition| TopicPartition::new(world.topic("mid").as_str(), partition))
        .collect();
    wait_until(FLOW_DEADLINE, "Kafka to forget its producers", || async {
        let known = kafka.describe_producers(&marked).await.unwrap();
        let mut ids = ["main", "spare"].iter().map(|pair| {
            let id = format!("__cutline.{}.a/0.{pair}", world.deployment);
            let kafka = &kafka;
            async move {
                let described = kafka.describe_transaction(&id).await;
                described.is_err_and(|error| {
                    error.kafka() == Some(ResponseError::TransactionalIdNotFound)
                })
            }
        });
        let forgotten = ids.next().unwrap().await && ids.next().unwrap().await;
        forgotten && known.values().all(Vec::is_empty)
    })
    .await;
    // New marker pairs, of another X.
    world.checkpoint("aligned").await;
    for epoch in [second, first] {
        let view = world
            .restore(&json!({ "epoch": epoch, "safety_checkpoint": false }))
            .await;
        assert!(view["masked_offsets"].as_u64().unwrap() > 0, "{view}");
    }
    let end: BTreeMap<i32, u64> = (0..).zip(sent).collect();
    world.settle_and_check_against("reader", end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_that_kafka_let_expire_are_all_written_again() {
    let mut world = World::start_on(forgetful().await, Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    let groups = [world.group("a"), world.group("b")];
    world.wait_for_flow(100).await;
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.stop();
    }
    assert!(
        groups
            .iter()
            .all(|group| !world.committed(group).is_empty())
    );
    wait_until(OFFSETS_EXPIRE, "the offsets to expire", || async {
        groups.iter().all(|group| world.committed(group).is_empty())
    })
    .await;
    world
        .restore(&json!({ "epoch": epoch, "safety_checkpoint": false }))
        .await;
    let kafka = client(&world).await;
    let (_, detail) = world.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
    let positions = detail["processes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|process| process["positions"].as_array().unwrap());
    let mut compared = 0;
    for position in positions {
        let group = position["group"].as_str().unwrap().to_owned().into();
        let committed = kafka.committed(&group, false).await.unwrap();
        let partition = i32::try_from(position["partition"].as_i64().unwrap()).unwrap();
        let place = TopicPartition::new(position["topic"].as_str().unwrap(), partition);
        let offset = position["offset"].as_i64().map(Offset);
        assert_eq!(committed.get(&place).copied(), offset, "{position}");
        compared += 1;
    }
    assert_eq!(compared, 4, "{detail}");
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.start();
    }
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}
