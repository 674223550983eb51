//! What cannot be is refused before anything is touched, with a code and what to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use integration_tests::wait_until;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use serde_json::json;

use crate::world::{FLOW_DEADLINE, Options, World};

#[tokio::test]
async fn a_topic_deleted_and_made_again_is_refused() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.stop();
    }
    let out = world.topic("out");
    world.kafka.topics().delete(&out).await;
    assert_eq!(world.codes(json!({ "epoch": epoch })).await, ["CL0304"]);
    world.kafka.topics().create(&out, 2).await;
    assert_eq!(world.codes(json!({ "epoch": epoch })).await, ["CL0305"]);
    let only = json!({ "epoch": epoch, "services": ["a"], "allow_contamination": true });
    assert!(
        world.codes(only).await.is_empty(),
        "the topic is nothing to a"
    );
}

#[tokio::test]
async fn a_gap_that_retention_made_is_refused() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.stop();
    }
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .create()
        .unwrap();
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&world.topic("in"), 0, Offset::End)
        .unwrap();
    admin
        .delete_records(&gone, &AdminOptions::new())
        .await
        .unwrap();
    let plan = world.plan(json!({ "epoch": epoch })).await;
    assert_eq!(plan["problems"][0]["code"], "CL0307", "{plan}");
    assert_eq!(plan["problems"].as_array().unwrap().len(), 1, "{plan}");
}

#[tokio::test]
async fn a_member_outside_a_sidecar_is_refused() {
    let world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    let outsider: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .set("group.id", world.group("a"))
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    outsider.subscribe(&[&world.topic("in")]).unwrap();
    wait_until(FLOW_DEADLINE, "the outsider to have joined", || async {
        let _ = outsider.poll(Duration::from_millis(50));
        outsider
            .assignment()
            .is_ok_and(|assigned| assigned.count() > 0)
    })
    .await;
    let codes = world.codes(json!({ "epoch": epoch })).await;
    assert!(codes.contains(&"CL0309".to_owned()), "{codes:?}");
}

#[tokio::test]
async fn unknown_checkpoints_services_and_restores_are_told() {
    let world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    let (status, problem) = world
        .admin
        .post("/v1/restores", &json!({ "epoch": 999 }))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (404, Some("CL0113")),
        "{problem}"
    );
    let stranger = json!({ "epoch": epoch, "services": ["a", "b", "nobody"] });
    assert_eq!(world.codes(stranger).await, ["CL0301"]);
    for id in ["none", "..", "a%2Fb"] {
        let (status, problem) = world.admin.get(&format!("/v1/restores/{id}")).await;
        assert_eq!(status, 404, "{id}: {problem}");
    }
}

#[tokio::test]
async fn an_application_that_does_not_drain_is_left_untouched() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    // It reads and never commits.
    world.b[0].stop();
    let hung: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", world.b[0].sidecar.bootstrap())
        .set("group.id", world.group("b"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    hung.subscribe(&[&world.topic("mid")]).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let delivered = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&delivered);
    let polling = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            if let Some(Ok(_)) = hung.poll(Duration::from_millis(20)) {
                seen.store(true, Ordering::Relaxed);
            }
        }
    });
    // A group that is not empty may still be the one before it.
    wait_until(FLOW_DEADLINE, "it to have work in its hands", || async {
        delivered.load(Ordering::Relaxed)
    })
    .await;
    let id = world
        .begin(&json!({ "epoch": epoch, "safety_checkpoint": false }))
        .await;
    let view = world.ended(&id).await;
    assert_eq!(view["status"], "FAILED", "{view}");
    assert!(
        view["reason"]
            .as_str()
            .unwrap()
            .contains("leave its sidecar up"),
        "{view}"
    );
    stop.send(()).unwrap();
    polling.join().unwrap();
    // The application is stopped, its sidecar is left up: now it can be done.
    world.restore(&json!({ "epoch": epoch })).await;
    world.b[0].start();
    world.settle_and_check("reader").await;
}
