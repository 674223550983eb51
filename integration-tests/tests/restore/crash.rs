//! Whatever dies while a restore runs: nothing half done is ever seen.

use std::{fs, time::Duration};

use integration_tests::{Sidecar, wait_at_most, wait_for, wait_until};
use serde_json::{Value, json};

use crate::world::{FLOW_DEADLINE, Options, RESTORE_DEADLINE, World};

/// Records of a whole journal of two services with one state each.
const RECORDS: usize = 15;
/// The record that says that state is about to be touched.
const STATE_BEGUN: usize = 8;
/// How long it is looked that something does not happen.
const QUIET: Duration = Duration::from_secs(2);

impl World {
    /// Records in the journal of a restore.
    pub fn journal(&self, id: &str) -> usize {
        let directory = self.admin.store().join("restores").join(id).join("journal");
        fs::read_dir(directory).map_or(0, Iterator::count)
    }

    async fn sidecar(&self, service: &str) -> Value {
        let (_, sidecars) = self.admin.get("/v1/sidecars").await;
        let mut all = sidecars.as_array().cloned().unwrap_or_default().into_iter();
        all.find(|sidecar| sidecar["service"] == service)
            .unwrap_or_default()
    }
}

#[tokio::test]
async fn what_is_fenced_stays_fenced_until_all_is_consistent() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    // The state of b cannot be put back: its directory is a file.
    world.b[0].stop();
    let state = world.b[0].state().clone();
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "in the way").unwrap();
    let request = json!({ "epoch": epoch, "safety_checkpoint": false });
    let id = world.begin(&request).await;
    let path = format!("/v1/restores/{id}");
    let stuck = || async {
        let (_, view) = world.admin.get(&path).await;
        (view["status"] == "RESTORING" && view["reason"].is_string()).then_some(view)
    };
    let view = wait_for(RESTORE_DEADLINE, "the restore to be stuck", stuck).await;
    assert!(view["reason"].as_str().unwrap().contains("b/0"), "{view}");

    let (status, problem) = world.admin.post("/v1/checkpoints", &json!({})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("CL0203")),
        "{problem}"
    );
    let (status, problem) = world.admin.post("/v1/restores", &request).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("CL0203")),
        "{problem}"
    );
    let (status, problem) = world.admin.post(&format!("{path}/abort"), &json!({})).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("CL0322")),
        "{problem}"
    );

    world.a[0].sidecar.restart(true).await;
    world.admin.restart(true).await;
    wait_until(
        FLOW_DEADLINE,
        "the sidecar of a to be back and fenced",
        || async { world.sidecar("a").await["state"] == "fenced" },
    )
    .await;
    let before = world.a[0].ledger.as_ref().unwrap().records();
    let moved = wait_at_most(QUIET, || async {
        let now = world.a[0].ledger.as_ref().unwrap().records();
        (now > before).then_some(now)
    });
    assert_eq!(moved.await, None, "a fenced application reads nothing");

    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    let view = world.ended(&id).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    world.b[0].start();
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn a_sidecar_killed_at_any_step_leaves_one_world_or_the_other() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    for records in (2..RECORDS).step_by(2) {
        world.wait_for_flow(50).await;
        let request = json!({ "epoch": epoch, "safety_checkpoint": false });
        let id = begin_when_possible(&world, &request).await;
        while world.journal(&id) < records {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.b[0].sidecar.restart(true).await;
        let view = world.ended(&id).await;
        eprintln!(
            "killed after record {records}: {} {}",
            view["status"], view["reason"]
        );
        let touched = records >= STATE_BEGUN;
        assert!(!touched || view["status"] == "COMPLETED", "{view}");
    }
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

/// A sidecar that was just killed is known again only after some time.
async fn begin_when_possible(world: &World, request: &Value) -> String {
    wait_for(FLOW_DEADLINE, "a restore to begin", || async {
        let (status, view) = world.admin.post("/v1/restores", request).await;
        (status == 202).then(|| view["id"].as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test]
async fn a_reader_whose_sidecar_dies_does_not_hold_up_a_restore_for_ever() {
    let mut world = World::start(Options::default()).await;
    let mut looker = Sidecar::start(&world.sidecar_options("looker", "0")).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    let id = world
        .begin(&json!({ "epoch": epoch, "safety_checkpoint": false }))
        .await;
    while world.journal(&id) < STATE_BEGUN {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    looker.process().kill();
    let view = world.ended(&id).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    world.wait_for_flow(100).await;
    world.settle_and_check("reader").await;
}

#[tokio::test]
async fn a_restore_is_aborted_on_request_while_nothing_was_touched() {
    let mut world = World::start(Options::default()).await;
    let epoch = world.checkpoint("aligned").await;
    world.wait_for_flow(100).await;
    // Frozen, it acknowledges no holds: the restore waits.
    world.b[0].sidecar.process().freeze();
    let (status, view) = world
        .admin
        .post("/v1/restores", &json!({ "epoch": epoch }))
        .await;
    if status == 202 {
        let id = view["id"].as_str().unwrap().to_owned();
        let (status, view) = world
            .admin
            .post(&format!("/v1/restores/{id}/abort"), &json!({}))
            .await;
        assert_eq!(status, 200, "{view}");
        world.b[0].sidecar.process().thaw();
        let view = world.ended(&id).await;
        let word = view["status"].as_str().unwrap();
        assert!(["ABORTED", "FAILED"].contains(&word), "{view}");
    }
    world.b[0].sidecar.process().thaw();
    wait_until(FLOW_DEADLINE, "the sidecar of b to be back", || async {
        world.sidecar("b").await["state"] == "connected"
    })
    .await;
    world.wait_for_flow(100).await;
    world.restore(&json!({ "epoch": epoch })).await;
    world.settle_and_check("reader").await;
}
