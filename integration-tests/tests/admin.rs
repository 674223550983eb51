//! The admin API on a real Kafka with a real sidecar: what it answers, what it refuses, and what outlives it.

#[path = "admin/access.rs"]
mod access;
#[path = "admin/dashboard.rs"]
mod dashboard;
#[path = "admin/doctor.rs"]
mod doctor;
#[path = "admin/relay.rs"]
mod relay;
#[path = "admin/retention.rs"]
mod retention;
#[path = "admin/tls.rs"]
mod tls;
#[path = "admin/verbs.rs"]
mod verbs;

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Kafka, Process, ProcessSpec, Run, Sidecar, SidecarOptions, Topics,
    binaries::binary, checkpoints, events::events, http, ports::free_port, topics::unique_name,
    wait_for, wait_until,
};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};

use self::relay::Relay;

const SOON: Duration = Duration::from_secs(30);
/// Kafka waits six seconds for a leader that went without a word.
const TAKE_OVER: Duration = Duration::from_secs(60);
const RECORDS: usize = 20;

/// One deployment: an admin API, a sidecar, and an application that passes records on from one topic to another.
struct World {
    kafka: &'static Kafka,
    deployment: String,
    admin: Admin,
    /// Where a second admin API would be; the sidecar knows of both.
    second_port: u16,
    sidecar: Sidecar,
    application: Option<Relay>,
}

impl World {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(flags: &[&str]) -> Self {
        let kafka = Kafka::shared().await;
        let deployment = unique_name("admin");
        let mut options = AdminOptions::over(&kafka.bootstrap());
        options.arguments = ["--deployment", deployment.as_str()]
            .iter()
            .chain(flags)
            .map(|flag| (*flag).to_owned())
            .collect();
        let admin = Admin::start(&options).await;
        let second_port = free_port();
        let topics = Topics::of(&kafka.bootstrap());
        let input = topics.create_unique("in", 2).await;
        let output = topics.create_unique("out", 2).await;
        let sidecar = Sidecar::start(&SidecarOptions {
            service: "relay".into(),
            deployment: deployment.clone(),
            admin: Some(format!("{},http://127.0.0.1:{second_port}", admin.url())),
            ..SidecarOptions::transparent(&kafka.bootstrap())
        })
        .await;
        produce(&kafka.bootstrap(), &input, RECORDS).await;
        let application = Relay::start(&sidecar.bootstrap(), input, output);
        checkpoints::wait_connected(&admin, 1).await;
        Self {
            kafka,
            deployment,
            admin,
            second_port,
            sidecar,
            application: Some(application),
        }
    }

    async fn completed(&self) -> Value {
        let attempts = checkpoints::take(&self.admin, "aligned").await;
        let (_, last) = attempts.into_iter().next_back().expect("one attempt");
        assert_eq!(last["status"], "COMPLETED", "{last}");
        last
    }

    async fn post_with_key(&self, key: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/checkpoints", self.admin.url());
        let question = http::client()
            .post(url)
            .header("idempotency-key", key)
            .json(body);
        let answer = question.send().await.expect("the admin API answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    async fn ended(&self, epoch: u64) -> Value {
        let what = format!("checkpoint {epoch} to end");
        wait_for(SOON, &what, || async {
            let (_, detail) = self.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
            let over = detail["status"] == "COMPLETED" || detail["status"] == "FAILED";
            over.then_some(detail)
        })
        .await
    }

    /// Another admin API of `deployment` on the same store.
    fn second(&self, deployment: &str) -> (Process, String) {
        self.second_with(deployment, &[])
    }

    /// The same with other flags.
    fn second_with(&self, deployment: &str, flags: &[&str]) -> (Process, String) {
        let port = self.second_port;
        let log = Run::this().part("second-admin").join("log");
        let spec = ProcessSpec::new("second-admin", binary("cutline-admin"), log)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--kafka", &self.kafka.bootstrap()])
            .args(["--deployment", deployment])
            .args(["--store", &format!("file:{}", self.admin.store().display())])
            .args(flags);
        (Process::start(spec), format!("http://127.0.0.1:{port}"))
    }
}

async fn produce(bootstrap: &str, topic: &str, count: usize) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a client needs a bootstrap only");
    for number in 0..count {
        let (key, value) = (number.to_string(), format!("record {number}"));
        let record = FutureRecord::to(topic).key(&key).payload(&value);
        producer.send(record, SOON).await.expect("it is taken");
    }
}

async fn ask(url: &str, path: &str) -> Option<(u16, Value)> {
    let answer = http::get(format!("{url}{path}")).send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.unwrap_or(Value::Null)))
}

#[tokio::test]
async fn a_completed_checkpoint_tells_what_each_process_paid_and_where_it_stood() {
    let world = World::start().await;
    let detail = world.completed().await;
    let process = &detail["processes"][0];
    assert_eq!(process["process"], "relay/0", "{detail}");
    for field in [
        "start_delay_ms",
        "alignment_ms",
        "quiesce_ms",
        "sync_ms",
        "async_ms",
        "pause_ms",
    ] {
        assert!(process[field].is_number(), "{field} in {process}");
    }
    let positions = process["positions"].as_array().expect("positions");
    assert_eq!(positions.len(), 2, "{process}");
    assert_eq!(process["markers"].as_array().map(Vec::len), Some(2));
    assert_eq!(process["guarantee"], "positions-only");
    let epoch = detail["epoch"].as_u64().expect("a number");
    let (_, list) = world.admin.get("/v1/checkpoints").await;
    assert_eq!(list["counts"]["completed"], 1, "{list}");
    assert_eq!(list["latest"]["completed"]["epoch"], epoch);
    let (status, latest) = world.admin.get("/v1/checkpoints/latest").await;
    assert_eq!((status, &latest["epoch"]), (200, &detail["epoch"]));
    let path = format!("/v1/checkpoints/{epoch}/verify");
    let (status, verified) = world.admin.post(&path, &json!({})).await;
    assert_eq!((status, &verified["whole"]), (200, &json!(true)));
    let (_, topology) = world.admin.get("/v1/topology").await;
    let links = topology["topics"].as_array().expect("topics");
    assert!(links.iter().any(|link| link["writers"] == json!(["relay"])));
    assert!(links.iter().any(|link| link["readers"] == json!(["relay"])));
}

#[tokio::test]
async fn one_idempotency_key_begins_one_checkpoint() {
    let world = World::start().await;
    let body = json!({ "mode": "unaligned" });
    let (status, first) = world.post_with_key("k1", &body).await;
    assert_eq!(status, 202, "{first}");
    let epoch = first["epoch"].as_u64().expect("a number");
    let (status, again) = world.post_with_key("k1", &body).await;
    assert_eq!((status, &again["epoch"]), (202, &first["epoch"]), "{again}");
    world.ended(epoch).await;
    let (_, later) = world.post_with_key("k1", &body).await;
    assert_eq!(later["epoch"], first["epoch"], "{later}");
    let (status, other) = world.post_with_key("k1", &json!({})).await;
    assert_eq!((status, &other["code"]), (422, &json!("CL0208")));
}

#[tokio::test]
async fn a_second_checkpoint_is_refused_and_the_first_can_be_aborted() {
    let world = World::start().await;
    // A sidecar that stands still answers nothing, so the checkpoint stays in progress.
    let mut world = world;
    world.sidecar.process().freeze();
    let (status, first) = world.admin.post("/v1/checkpoints", &json!({})).await;
    assert_eq!(status, 202, "{first}");
    let (status, second) = world.admin.post("/v1/checkpoints", &json!({})).await;
    assert_eq!(
        (status, &second["code"]),
        (409, &json!("CL0202")),
        "{second}"
    );
    let path = format!("/v1/checkpoints/{}/abort", first["epoch"]);
    let (status, aborted) = world.admin.post(&path, &json!({})).await;
    assert_eq!(
        (status, &aborted["status"]),
        (200, &json!("FAILED")),
        "{aborted}"
    );
    assert_eq!(aborted["reason"], "aborted on request");
    assert!(aborted["retried_as"].is_null(), "{aborted}");
    world.sidecar.process().thaw();
    let (status, again) = world.admin.post(&path, &json!({})).await;
    assert_eq!((status, &again["code"]), (409, &json!("CL0209")), "{again}");
}

/// A checkpoint without what is looked at again and again: for how long Kafka keeps what it needs.
fn lasting(view: &Value) -> Value {
    let mut view = view.clone();
    view["restorable"] = Value::Null;
    view
}

#[tokio::test]
async fn history_outlives_the_admin_api() {
    let mut world = World::start().await;
    let before = world.completed().await;
    let (_, list_before) = world.admin.get("/v1/checkpoints").await;
    for hard in [false, true] {
        world.admin.restart(hard).await;
        let path = format!("/v1/checkpoints/{}", before["epoch"]);
        let (status, after) = world.admin.get(&path).await;
        assert_eq!((status, lasting(&after)), (200, lasting(&before)));
        let (_, list) = world.admin.get("/v1/checkpoints").await;
        let history = |list: &Value| -> Vec<Value> {
            let views = list["history"].as_array().expect("a list");
            views.iter().map(lasting).collect()
        };
        assert_eq!(history(&list), history(&list_before));
        assert_eq!(list["summary"], list_before["summary"]);
    }
    // And the sidecar has found its way back.
    checkpoints::wait_connected(&world.admin, 1).await;
    world.completed().await;
}

#[tokio::test]
async fn an_epoch_whose_coordinator_died_has_failed() {
    let mut world = World::start().await;
    world.sidecar.process().freeze();
    let (status, begun) = world.admin.post("/v1/checkpoints", &json!({})).await;
    assert_eq!(status, 202, "{begun}");
    world.admin.restart(true).await;
    let path = format!("/v1/checkpoints/{}", begun["epoch"]);
    let (_, detail) = world.admin.get(&path).await;
    assert_eq!(detail["status"], "FAILED", "{detail}");
    world.sidecar.process().thaw();
}

#[tokio::test]
async fn of_two_admin_apis_one_leads_and_the_other_says_so() {
    let mut world = World::start().await;
    let (mut second, url) = world.second(&world.deployment.clone());
    let not_leading = || async {
        let answer = ask(&url, "/readyz").await?;
        (answer.1["code"] == "CL0201").then_some(answer)
    };
    let (status, _) = wait_for(SOON, "the second to say that it waits", not_leading).await;
    assert_eq!(status, 503);
    let post = http::client().post(format!("{url}/v1/checkpoints"));
    let refused = post.json(&json!({})).send().await.expect("it answers");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    // What is finished it knows as well: it is in the store.
    let done = world.completed().await;
    let path = format!("/v1/checkpoints/{}", done["epoch"]);
    assert_eq!(ask(&url, &path).await, Some((200, done)));
    world.admin.process().kill();
    wait_until(TAKE_OVER, "the second to lead", || async {
        ask(&url, "/readyz")
            .await
            .is_some_and(|(status, _)| status == 200)
    })
    .await;
    second.terminate();
}

#[tokio::test]
async fn a_sidecar_finds_whoever_leads_and_leaves_one_that_froze() {
    let mut world = World::start().await;
    let (mut second, url) = world.second(&world.deployment.clone());
    wait_until(SOON, "the second to stand by", || async {
        let answer = ask(&url, "/readyz").await;
        answer.is_some_and(|(_, problem)| problem["code"] == "CL0201")
    })
    .await;
    // Its connections stand, and nothing answers on them.
    world.admin.process().freeze();
    wait_until(TAKE_OVER, "the sidecar to be with the second", || async {
        let answer = ask(&url, "/v1/sidecars").await;
        answer
            .is_some_and(|(status, sidecars)| status == 200 && sidecars[0]["state"] == "connected")
    })
    .await;
    let post = http::client().post(format!("{url}/v1/checkpoints"));
    let accepted = post.json(&json!({})).send().await.expect("it answers");
    assert_eq!(accepted.status(), 202);
    wait_until(SOON, "a checkpoint by the second", || async {
        let latest = ask(&url, "/v1/checkpoints/latest?status=COMPLETED").await;
        latest.is_some_and(|(status, _)| status == 200)
    })
    .await;
    world.admin.process().thaw();
    second.terminate();
}

#[tokio::test]
async fn a_store_of_another_deployment_is_refused() {
    let world = World::start().await;
    world.completed().await;
    let (mut second, url) = world.second(&unique_name("other"));
    wait_until(SOON, "the second to say whose store this is", || async {
        let answer = ask(&url, "/readyz").await;
        answer.is_some_and(|(status, problem)| {
            let detail = problem["detail"].as_str().unwrap_or_default();
            status == 503 && detail.contains("CL0216") && detail.contains(&world.deployment)
        })
    })
    .await;
    second.terminate();
}

#[tokio::test]
async fn events_resume_after_the_last_one_seen() {
    let world = World::start().await;
    world.completed().await;
    let all = events(&world.admin.url(), "none", 4).await;
    assert_eq!(all[0]["kind"], "reset", "{all:?}");
    let kinds: Vec<&str> = all
        .iter()
        .filter_map(|event| event["kind"].as_str())
        .collect();
    for kind in [
        "sidecar.connected",
        "checkpoint.triggered",
        "checkpoint.completed",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let middle = all.len() / 2;
    let last = all[middle]["id"].as_str().expect("an id").to_owned();
    let expected = &all[middle + 1..];
    let rest = events(&world.admin.url(), &last, expected.len()).await;
    assert_eq!(rest[..], *expected, "exactly what came after {last}");
}

#[tokio::test]
async fn a_sidecar_out_of_reach_is_evicted_and_begins_anew() {
    let flags = ["--sidecar-lost-timeout", "2s", "--checkpoint-retries", "0"];
    let mut world = World::start_with(&flags).await;
    world.sidecar.process().freeze();
    wait_until(SOON, "the sidecar to be evicted", || async {
        let (_, sidecars) = world.admin.get("/v1/sidecars").await;
        sidecars.as_array().is_some_and(Vec::is_empty)
    })
    .await;
    world.sidecar.process().thaw();
    // It finds in the control topic that its run is over, and begins another.
    checkpoints::wait_connected(&world.admin, 1).await;
    world.completed().await;
}

#[tokio::test]
async fn a_checkpoint_without_a_registered_sidecar_fails_and_names_it() {
    let mut world = World::start_with(&["--checkpoint-retries", "0"]).await;
    world.sidecar.process().kill();
    let attempts = checkpoints::take(&world.admin, "aligned").await;
    let (_, last) = attempts.into_iter().next_back().expect("one attempt");
    assert_eq!(last["status"], "FAILED", "{last}");
    let reason = last["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("relay/0") && reason.contains("not connected"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_deleted_checkpoint_is_gone_and_its_number_is_not_used_again() {
    let world = World::start().await;
    let first = world.completed().await;
    let path = format!("{}/v1/checkpoints/{}", world.admin.url(), first["epoch"]);
    let delete = || http::client().delete(&path).send();
    assert_eq!(delete().await.expect("it answers").status(), 204);
    assert_eq!(delete().await.expect("it answers").status(), 404);
    let (_, list) = world.admin.get("/v1/checkpoints").await;
    assert_eq!(list["counts"]["total"], 0, "{list}");
    let second = world.completed().await;
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64());
}

#[tokio::test]
async fn what_is_not_known_is_named() {
    let world = World::start().await;
    let unknown = json!({ "mod": "aligned" });
    let (status, problem) = world.admin.post("/v1/checkpoints", &unknown).await;
    assert_eq!((status, &problem["code"]), (400, &json!("CL0204")));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("mod"), "{detail}");
    assert_eq!(world.admin.get("/v1/checkpoints?limt=3").await.0, 400);
    assert_eq!(world.admin.get("/v1/checkpoints/999").await.0, 404);
    assert_eq!(world.admin.get("/v1/checkpoints/x").await.0, 400);
    let refused = std::process::Command::new(binary("cutline-admin"))
        .args(["--lisen", "127.0.0.1:0"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--listen"), "{said}");
}
