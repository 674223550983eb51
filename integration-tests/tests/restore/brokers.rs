//! Three brokers: what their restarts, and an election that loses records, do to checkpoints and rollbacks.

use std::time::Duration;

use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{Kafka, KafkaOptions, Sidecar, checkpoints, wait_for, wait_until};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::json;
use tokio::task::block_in_place;

use crate::world::{FLOW_DEADLINE, Options, World};

const LIMIT: Duration = Duration::from_secs(30);

async fn three_brokers() -> &'static Kafka {
    let kafka = Kafka::start(KafkaOptions {
        brokers: 3,
        heap_mib: 384,
        ..KafkaOptions::default()
    })
    .await;
    // It ends with the run, as everything does.
    Box::leak(Box::new(kafka))
}

/// Begins a checkpoint, as soon as somebody leads.
async fn begin(world: &World) -> serde_json::Value {
    wait_for(FLOW_DEADLINE, "a checkpoint to begin", || async {
        let request = json!({ "mode": "aligned" });
        let (status, accepted) = world.admin.post("/v1/checkpoints", &request).await;
        (status == 202).then_some(accepted)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_restarted_one_after_the_other_during_checkpoints_cost_no_record() {
    let kafka = three_brokers().await;
    let mut world = World::start_on(kafka, Options::default()).await;
    for index in 0..3 {
        let accepted = begin(&world).await;
        block_in_place(|| kafka.with_broker(index, |broker| broker.terminate()));
        for detail in checkpoints::follow(&world.admin, &accepted).await.values() {
            let completed = detail["status"] == "COMPLETED";
            assert!(completed || detail["reason"].is_string(), "{detail}");
        }
        block_in_place(|| kafka.with_broker(index, |broker| broker.start_again()));
        kafka.wait_ready().await;
    }
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    world.restore(&json!({ "epoch": epoch })).await;
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_an_unclean_election_cut_off_below_the_checkpoint_is_refused() {
    let kafka = three_brokers().await;
    let world = World::idle_on(kafka, Options::default()).await;
    let topic = world.topic("cut");
    let replicas: &[&[i32]] = &[&[1, 2]];
    let new = NewTopic::new(&topic, 1, TopicReplication::Variable(replicas))
        .set("unclean.leader.election.enable", "true");
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    let made = admin.create_topics([&new], &AdminOptions::new()).await;
    made.unwrap()[0].as_ref().unwrap();
    let sidecar = Sidecar::start(&world.sidecar_options("t", "0")).await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", sidecar.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    let produce = |count: usize| {
        for _ in 0..count {
            let record = BaseRecord::<[u8], [u8]>::to(&topic)
                .partition(0)
                .payload(b"x");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    };
    block_in_place(|| produce(10));
    let bootstrap: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    let client = Client::connect(&bootstrap, ClientOptions::default())
        .await
        .unwrap();
    let partition = cutline_model::TopicPartition::new(topic.as_str(), 0);
    // Broker 2 stays behind; then broker 1, which has all, goes, and broker 2 is what is left.
    block_in_place(|| kafka.with_broker(1, |broker| broker.terminate()));
    wait_until(FLOW_DEADLINE, "broker 1 to lead", || async {
        let seen = client.refresh_metadata().await;
        seen.is_ok_and(|metadata| {
            metadata
                .leader_of(&partition)
                .is_ok_and(|leader| leader == 1)
        })
    })
    .await;
    block_in_place(|| produce(50));
    let epoch = world.checkpoint("aligned").await;
    kafka.with_broker(0, |broker| broker.kill());
    kafka.with_broker(1, |broker| broker.start_again());
    wait_until(FLOW_DEADLINE, "broker 2 to lead", || async {
        let seen = client.refresh_metadata().await;
        seen.is_ok_and(|metadata| {
            metadata
                .leader_of(&partition)
                .is_ok_and(|leader| leader == 2)
        })
    })
    .await;
    let request = json!({ "epoch": epoch, "services": ["t"], "dry_run": true });
    let plan = wait_for(FLOW_DEADLINE, "a plan", || async {
        let (status, plan) = world.admin.post("/v1/restores", &request).await;
        (status == 200).then_some(plan)
    })
    .await;
    let problems = plan["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|problem| problem["code"] == "CL0308"),
        "{plan}"
    );
    kafka.with_broker(0, |broker| broker.start_again());
}
