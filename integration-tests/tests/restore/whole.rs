//! Everything goes back: in every mode, again and again, with several instances, with applications up and down.

use std::collections::BTreeMap;

use serde_json::json;

use crate::world::{Options, World};

async fn rolls_back(mode: &str, options: Options) {
    let mut world = World::start(options).await;
    let epoch = world.checkpoint(mode).await;
    world.wait_for_flow(300).await;
    let view = world.restore(&json!({ "epoch": epoch })).await;
    assert!(view["masked_offsets"].as_u64().unwrap() > 0, "{view}");
    assert!(view["safety_epoch"].as_u64().is_some(), "{view}");
    world.wait_for_flow(300).await;
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn running_services_are_rolled_back_to_an_aligned_checkpoint() {
    rolls_back("aligned", Options::default()).await;
}

#[tokio::test]
async fn running_services_are_rolled_back_to_an_unaligned_checkpoint() {
    rolls_back("unaligned", Options::default()).await;
}

#[tokio::test]
async fn running_services_are_rolled_back_to_a_synchronous_checkpoint() {
    rolls_back("synchronous", Options::default()).await;
}

#[tokio::test]
async fn three_instances_with_state_of_their_own_are_rolled_back() {
    let options = Options {
        instances: 3,
        partitions: 3,
        ..Options::default()
    };
    rolls_back("aligned", options).await;
}

#[tokio::test]
async fn groups_of_the_new_protocol_are_rolled_back() {
    let options = Options {
        kip848: true,
        ..Options::default()
    };
    rolls_back("aligned", options).await;
}

#[tokio::test]
async fn rollbacks_go_back_and_forth_between_checkpoints() {
    let mut world = World::start(Options::default()).await;
    let first = world.checkpoint("aligned").await;
    world.wait_for_flow(150).await;
    let second = world.checkpoint("unaligned").await;
    world.wait_for_flow(150).await;
    for epoch in [second, first, second, first, first] {
        world.restore(&json!({ "epoch": epoch })).await;
        world.wait_for_flow(150).await;
    }
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn a_rollback_is_undone_by_its_safety_checkpoint() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(200).await;
    let view = world.restore(&json!({ "epoch": epoch })).await;
    world.wait_for_flow(100).await;
    world
        .restore(&json!({ "epoch": view["safety_epoch"] }))
        .await;
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn offsets_and_state_of_stopped_applications_are_the_checkpoints() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    let (_, detail) = world.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
    world.wait_for_flow(200).await;
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.stop();
    }
    world
        .restore(&json!({ "epoch": epoch, "safety_checkpoint": false }))
        .await;
    let mut compared = 0;
    for process in detail["processes"].as_array().unwrap() {
        for position in process["positions"].as_array().unwrap() {
            let committed = world.committed(position["group"].as_str().unwrap());
            let place = (
                position["topic"].as_str().unwrap().to_owned(),
                position["partition"].as_i64().unwrap(),
            );
            assert_eq!(
                committed.get(&place).copied(),
                position["offset"].as_i64(),
                "{position}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 4, "{detail}");
    let due: Vec<BTreeMap<i32, u64>> = [&world.a, &world.b].map(|apps| world.due(apps)).into();
    assert!(
        due[0].values().sum::<u64>() >= due[1].values().sum::<u64>(),
        "{due:?}"
    );
    for app in world.a.iter_mut().chain(&mut world.b) {
        app.start();
    }
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn partitions_added_since_are_named_and_rolled_back_to_empty() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.kafka.topics().grow(&world.topic("mid"), 3).await;
    world.wait_for_flow(100).await;
    let plan = world.plan(json!({ "epoch": epoch })).await;
    let warnings = plan["warnings"].to_string();
    assert!(
        plan["feasible"] == true && warnings.contains("mid-2 was added"),
        "{plan}"
    );
    world.restore(&json!({ "epoch": epoch })).await;
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}
