//! How long checkpoints last: what Kafka's retention takes of them, and what retention of their own deletes; and services
//! that do not come back.

use integration_tests::{checkpoints, http, wait_for, wait_until};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};
use serde_json::{Value, json};

use super::{SOON, World, ask};

const SOON_LOOKED_AT: [&str; 2] = ["--retention-check-interval", "200ms"];
/// Half an hour, in milliseconds: inside the margin of an hour that is warned in.
const HALF_AN_HOUR: &str = "1800000";

fn kafka_admin(world: &World) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", world.kafka.bootstrap())
        .create()
        .expect("a client needs a bootstrap only")
}

/// The topic that the application of the world reads.
fn input_of(detail: &Value) -> String {
    let topic = &detail["processes"][0]["positions"][0]["topic"];
    topic.as_str().expect("it read something").to_owned()
}

async fn restorable(world: &World, epoch: &Value, state: &str) -> Value {
    let path = format!("/v1/checkpoints/{epoch}");
    wait_for(SOON, &format!("it to be {state}"), || async {
        let (_, detail) = world.admin.get(&path).await;
        let restorable = detail["restorable"].clone();
        (restorable["state"] == state).then_some(restorable)
    })
    .await
}

#[tokio::test]
async fn a_checkpoint_says_until_when_kafka_keeps_what_it_needs() {
    let world = World::start_with(&SOON_LOOKED_AT).await;
    let detail = world.completed().await;
    let (epoch, input) = (&detail["epoch"], input_of(&detail));
    // A week is what a topic keeps unless told otherwise.
    let far = restorable(&world, epoch, "yes").await;
    assert!(
        far["expires_at"].is_string() || far["expires_at"].is_null(),
        "{far}"
    );
    let kafka = kafka_admin(&world);
    let keep = AlterConfig::new(ResourceSpecifier::Topic(&input)).set("retention.ms", HALF_AN_HOUR);
    let altered = kafka.alter_configs([&keep], &AdminOptions::new()).await;
    altered.expect("Kafka answers")[0]
        .as_ref()
        .expect("it is taken");
    // The cut left nothing behind, so what must not be lost comes after it.
    super::produce(&world.kafka.bootstrap(), &input, super::RECORDS).await;
    let soon = restorable(&world, epoch, "expiring").await;
    assert!(
        soon["partition"]
            .as_str()
            .is_some_and(|p| p.starts_with(&input)),
        "{soon}"
    );
    assert!(
        soon["reason"]
            .as_str()
            .is_some_and(|r| r.contains("retention.ms")),
        "{soon}"
    );
    assert!(soon["expires_at"].is_string(), "{soon}");
    let metrics = metrics(&world).await;
    let left = metrics
        .lines()
        .find_map(|line| line.strip_prefix("cutline_checkpoint_restorable_seconds "));
    let left: f64 = left.expect("the metric").parse().expect("a number");
    assert!((1_000.0..1_800.0).contains(&left), "{left}");
    assert!(
        metrics.contains("cutline_restorable_checkpoints{state=\"expiring\"} 1"),
        "{metrics}"
    );
    let list = world.admin.cutline(&["checkpoint", "list"]).await;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("can be restored until about"), "{list}");

    let ends = world.kafka.topics().watermarks(&input);
    let mut gone = TopicPartitionList::new();
    for (partition, (_, end)) in (0..).zip(ends) {
        gone.add_partition_offset(&input, partition, Offset::Offset(end))
            .expect("a partition");
    }
    kafka
        .delete_records(&gone, &AdminOptions::new())
        .await
        .expect("they are deleted");
    let no = restorable(&world, epoch, "no").await;
    assert!(
        no["reason"]
            .as_str()
            .is_some_and(|r| r.contains("begins at")),
        "{no}"
    );
    let described = world
        .admin
        .cutline(&["checkpoint", "describe", &epoch.to_string()])
        .await;
    let described = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(described.contains("restorable"), "{described}");
}

async fn metrics(world: &World) -> String {
    let answer = http::get(format!("{}/metrics", world.admin.url()))
        .send()
        .await;
    let answer = answer.expect("it answers").text().await;
    answer.expect("text")
}

#[tokio::test]
async fn what_prune_would_delete_is_told_before_it_is_deleted() {
    let mut world = World::start_with(&["--retention-keep-last", "5"]).await;
    let mut epochs = Vec::new();
    for _ in 0..3 {
        epochs.push(world.completed().await["epoch"].clone());
    }
    let named = json!({ "savepoint": "before" });
    let (status, accepted) = world.admin.post("/v1/checkpoints", &named).await;
    assert_eq!(status, 202, "{accepted}");
    let savepoint = checkpoints::follow(&world.admin, &accepted).await;
    let savepoint = *savepoint.last_key_value().expect("one attempt").0;
    world.admin.process().terminate();
    let (_second, url) = world.second_with(&world.deployment, &["--retention-keep-last", "1"]);
    wait_until(super::TAKE_OVER, "the second one to lead", || async {
        ask(&url, "/readyz")
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
    let prune = async |dry_run: bool| -> Value {
        let post = http::client().post(format!("{url}/v1/checkpoints/prune"));
        let answer = post.json(&json!({ "dry_run": dry_run })).send().await;
        answer.expect("it answers").json().await.expect("JSON")
    };
    let of = |report: &Value, what: &str| -> Vec<Value> {
        let entries = report[what].as_array().expect("a list").iter();
        entries.map(|entry| entry["epoch"].clone()).collect()
    };
    let planned = prune(true).await;
    assert_eq!(of(&planned, "deleted"), epochs[..2], "{planned}");
    assert!(
        planned["deleted"][0]["reason"]
            .to_string()
            .contains("keep-last is 1"),
        "{planned}"
    );
    let kept = of(&planned, "kept");
    assert!(
        kept.contains(&json!(savepoint)) && kept.contains(&epochs[2]),
        "{planned}"
    );
    let (_, list) = ask(&url, "/v1/checkpoints").await.expect("it answers");
    assert_eq!(
        list["counts"]["completed"], 4,
        "a dry run changes nothing: {list}"
    );
    let done = prune(false).await;
    assert_eq!(of(&done, "deleted"), of(&planned, "deleted"), "{done}");
    let (_, list) = ask(&url, "/v1/checkpoints").await.expect("it answers");
    assert_eq!(list["counts"]["completed"], 2, "{list}");
}

#[tokio::test]
async fn a_service_that_does_not_come_back_can_be_forgotten() {
    let mut world = World::start().await;
    world.completed().await;
    let base = format!("{}/v1/services", world.admin.url());
    let forget = async |service: &str| {
        let url = format!("{base}/{service}");
        let answer = http::client().delete(url).send().await;
        answer.expect("it answers").status().as_u16()
    };
    assert_eq!(forget("nobody").await, 404);
    assert_eq!(forget("relay").await, 409, "it runs");
    drop(world.application.take());
    // It says itself that it ends.
    world.sidecar.process().terminate();
    wait_until(SOON, "it to be at zero instances", || async {
        let (_, services) = world.admin.get("/v1/services").await;
        let all = services.as_array().expect("a list");
        all.iter()
            .any(|one| one["service"] == "relay" && one["instances"] == json!([]))
    })
    .await;
    let done = world.admin.cutline(&["services", "forget", "relay"]).await;
    assert!(done.status.success(), "{done:?}");
    let (_, services) = world.admin.get("/v1/services").await;
    assert!(!services.to_string().contains("relay"), "{services}");
}
