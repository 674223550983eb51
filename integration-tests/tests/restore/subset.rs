//! Some go back and others stay: who has seen too much is named.

use integration_tests::flow::{Watch, WatchOptions};
use integration_tests::wait_until;
use integration_tests::{Run, Sidecar};
use serde_json::json;

use crate::world::{FLOW_DEADLINE, Options, World};

#[tokio::test]
async fn a_service_at_the_end_is_rolled_back_alone() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(200).await;
    let view = world
        .restore(&json!({ "epoch": epoch, "services": ["b"] }))
        .await;
    assert_eq!(view["services"], json!(["b"]));
    world.wait_for_flow(200).await;
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn a_service_whose_reader_stays_is_refused_and_the_reader_named() {
    let world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(200).await;
    let request = json!({ "epoch": epoch, "services": ["a"] });
    let plan = world.plan(request.clone()).await;
    assert_eq!(plan["feasible"], false);
    let named = plan["contaminated"].as_array().unwrap();
    assert!(
        named.iter().all(|reader| reader["service"] == "b"),
        "{plan}"
    );
    assert!(
        named
            .iter()
            .any(|reader| reader["group"] == world.group("b").as_str()),
        "{plan}"
    );
    let (status, problem) = world.admin.post("/v1/restores", &request).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("CL0320")),
        "{problem}"
    );
    assert!(
        problem["detail"].as_str().unwrap().contains("CL0314"),
        "{problem}"
    );
    let allowed = json!({ "epoch": epoch, "services": ["a"], "allow_contamination": true });
    let view = world.restore(&allowed).await;
    assert!(
        !view["contaminated"].as_array().unwrap().is_empty(),
        "{view}"
    );
}

#[tokio::test]
async fn a_reader_without_a_group_that_stays_is_contaminated_too() {
    let world = World::start(Options::default()).await;
    let sidecar = Sidecar::start(&world.sidecar_options("looker", "0")).await;
    let epoch = world.checkpoint("aligned").await;
    let watch = Watch::start(WatchOptions {
        bootstrap: sidecar.bootstrap(),
        topics: vec![world.topic("out")],
        partitions: 2,
        group: None,
        read_committed: false,
    });
    world.wait_for_flow(200).await;
    wait_until(FLOW_DEADLINE, "the reader to have read", || async {
        watch.records(&world.topic("out")) > 150
    })
    .await;
    let plan = world
        .plan(json!({ "epoch": epoch, "services": ["a", "b"] }))
        .await;
    let named = plan["contaminated"].as_array().unwrap();
    assert!(
        named.iter().any(|reader| reader["service"] == "looker"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_service_that_is_down_keeps_nobody_else_from_being_restored() {
    let mut world = World::start(Options::default()).await;
    let state = Run::this().part("state-spare");
    let mut options = world.sidecar_options("spare", "0");
    options.state = vec![format!("dir:{}", state.display())];
    let mut spare = Sidecar::start(&options).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    spare.process().terminate();
    wait_until(FLOW_DEADLINE, "the sidecar to be gone", || async {
        let (_, sidecars) = world.admin.get("/v1/sidecars").await;
        sidecars
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["service"] != "spare"))
    })
    .await;
    let all = json!({ "epoch": epoch });
    assert_eq!(
        world.codes(all).await,
        ["CL0310"],
        "its state needs a sidecar"
    );
    let others = json!({ "epoch": epoch, "services": ["a", "b"], "safety_checkpoint": false });
    world.restore(&others).await;
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}
