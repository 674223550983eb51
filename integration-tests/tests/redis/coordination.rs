//! What admin APIs share through Redis outlives any of them; and Redis itself, slow, emptied or gone, costs no checkpoint.

use std::{path::Path, time::Duration};

use integration_tests::{
    Kafka, Process, ProcessSpec, Redis, RedisOptions, Run, Sidecar, SidecarOptions,
    binaries::binary, events::events, http, ports::free_port, topics::unique_name, wait_for,
    wait_until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Kafka waits six seconds for a leader that went without a word.
const TAKE_OVER: Duration = Duration::from_secs(60);
const PASSWORD: &str = "r3dis-s3cret";

struct AdminApi {
    process: Process,
    url: String,
    client: reqwest::Client,
}

impl AdminApi {
    fn start(kafka: &Kafka, deployment: &str, store: &Path, redis: &Redis) -> Self {
        let port = free_port();
        let log = Run::this().part("admin").join("log");
        let spec = ProcessSpec::new("admin", binary("cutline-admin"), log)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--kafka", &kafka.bootstrap()])
            .args(["--deployment", deployment])
            .args(["--store", &format!("file:{}", store.display())])
            .env("CUTLINE_REDIS", redis.url());
        Self {
            process: Process::start(spec),
            url: format!("http://127.0.0.1:{port}"),
            client: http::client(),
        }
    }

    async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// The JSON under `path`, once `holds` of it.
    async fn until(&self, limit: Duration, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{path} of {} to be right", self.url);
        wait_for(limit, &what, || async {
            let (_, found) = self.get(path).await?;
            holds(&found).then_some(found)
        })
        .await
    }

    async fn leads(&self) {
        self.until(TAKE_OVER, "/readyz", |ready| ready["status"] == "ready")
            .await;
    }

    async fn redis_is(&self, standing: &str) {
        self.until(SOON, "/healthz", |health| health["redis"] == standing)
            .await;
    }

    async fn post(&self, key: &str) -> (u16, Value) {
        let url = format!("{}/v1/checkpoints", self.url);
        let question = self
            .client
            .post(url)
            .header("idempotency-key", key)
            .json(&json!({}));
        let answer = question.send().await.expect("the admin API answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Takes a checkpoint to its end, that of its last attempt.
    async fn checkpoint(&self) -> Value {
        let (status, begun) = self.post(&unique_name("key")).await;
        assert_eq!(status, 202, "{begun}");
        let mut epoch = begun["epoch"].clone();
        loop {
            let path = format!("/v1/checkpoints/{epoch}");
            let over =
                |detail: &Value| detail["status"] == "COMPLETED" || detail["status"] == "FAILED";
            let detail = self.until(SOON, &path, over).await;
            match detail["retried_as"].clone() {
                Value::Null => return detail,
                next => epoch = next,
            }
        }
    }
}

struct World {
    kafka: &'static Kafka,
    redis: Redis,
    deployment: String,
    store: tempfile::TempDir,
    _sidecar: Sidecar,
    admin: AdminApi,
}

async fn world() -> World {
    let kafka = Kafka::shared().await;
    let options = RedisOptions {
        password: Some(PASSWORD.to_owned()),
        ..RedisOptions::default()
    };
    let redis = Redis::start(&options).await;
    let deployment = unique_name("shared");
    let store = tempfile::tempdir().unwrap();
    let admin = AdminApi::start(kafka, &deployment, store.path(), &redis);
    admin.leads().await;
    let sidecar = Sidecar::start(&SidecarOptions {
        service: "relay".into(),
        deployment: deployment.clone(),
        admin: Some(admin.url.clone()),
        ..SidecarOptions::transparent(&kafka.bootstrap())
    })
    .await;
    admin
        .until(SOON, "/v1/sidecars", |all| all[0]["state"] == "connected")
        .await;
    World {
        kafka,
        redis,
        deployment,
        store,
        _sidecar: sidecar,
        admin,
    }
}

fn ids(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["id"].as_str())
        .collect()
}

#[tokio::test]
async fn another_admin_api_honours_keys_and_schedule_and_resumes_events() {
    let mut world = world().await;
    let second = AdminApi::start(
        world.kafka,
        &world.deployment,
        world.store.path(),
        &world.redis,
    );
    second.redis_is("up").await;

    let (status, begun) = world.admin.post("once").await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/v1/checkpoints/{}", begun["epoch"]);
    world
        .admin
        .until(SOON, &path, |detail| detail["status"] == "COMPLETED")
        .await;
    let put = world
        .admin
        .client
        .put(format!("{}/v1/schedule", world.admin.url));
    let set = put
        .json(&json!({ "interval_ms": 7_200_000, "mode": "unaligned" }))
        .send()
        .await;
    assert_eq!(set.unwrap().status(), 200);
    world
        .admin
        .until(SOON, "/v1/checkpoints?limit=9", |list| {
            list["counts"]["completed"] == 2
        })
        .await;

    // The one that does not lead shows what only the leader knows by itself.
    second
        .until(SOON, "/v1/sidecars", |all| all[0]["state"] == "connected")
        .await;
    second
        .until(SOON, "/v1/schedule", |terms| {
            terms["interval_ms"] == 7_200_000
        })
        .await;
    let all = events(&world.admin.url, "none", 5).await;
    assert!(all.len() > 4, "{all:?}");
    let middle = all.len() / 2;
    let seen = ids(&all)[middle];
    wait_until(SOON, "the second to have the same events", || async {
        ids(&events(&second.url, seen, 0).await) == ids(&all[middle + 1..])
    })
    .await;
    let keys = world.redis.command(&["KEYS", "*"]).await;
    let prefix = format!("cutline:{}@", world.deployment);
    assert!(keys.lines().all(|key| key.starts_with(&prefix)), "{keys}");

    world.admin.process.kill();
    second.leads().await;
    let (status, again) = second.post("once").await;
    assert_eq!((status, &again["epoch"]), (202, &begun["epoch"]), "{again}");
    let (_, terms) = second.get("/v1/schedule").await.unwrap();
    assert_eq!(
        (&terms["interval_ms"], &terms["mode"]),
        (&json!(7_200_000), &json!("unaligned"))
    );
    let rest = events(&second.url, seen, all.len() - middle).await;
    assert_eq!(
        ids(&rest)[..all.len() - middle - 1],
        ids(&all)[middle + 1..]
    );
    assert!(
        rest.iter().all(|event| event["kind"] != "reset"),
        "{rest:?}"
    );
    assert!(
        rest.iter().any(|event| event["kind"] == "leader.elected"),
        "{rest:?}"
    );

    // And the first one, started again, knows what happened before and without it.
    world.admin.process.start_again();
    world.admin.redis_is("up").await;
    wait_until(SOON, "the first to have the same events", || async {
        let ours = events(&world.admin.url, seen, 0).await;
        let theirs = events(&second.url, seen, 0).await;
        ids(&ours) == ids(&theirs)
    })
    .await;
}

#[tokio::test]
async fn redis_emptied_stopped_or_gone_at_any_moment_costs_no_checkpoint() {
    let mut world = world().await;
    let admin = &world.admin;
    admin.redis_is("up").await;
    // Emptied again and again, at every stage of each.
    let checkpoints = async {
        for _ in 0..5 {
            let ended = admin.checkpoint().await;
            assert_eq!(ended["status"], "COMPLETED", "{ended}");
        }
    };
    let emptying = async {
        loop {
            world.redis.flush().await;
        }
    };
    tokio::select! {
        () = checkpoints => {}
        () = emptying => {}
    }
    // What was there is written again.
    written_again(&world).await;

    // Stopped: it takes connections and answers nothing.
    world.redis.freeze();
    let began = std::time::Instant::now();
    let ended = admin.checkpoint().await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    admin.redis_is("down").await;
    assert!(began.elapsed() < SOON);
    world.redis.thaw();
    admin.redis_is("up").await;

    // Gone in the middle, and back with nothing in it.
    let (status, begun) = admin.post("over-the-edge").await;
    assert_eq!(status, 202, "{begun}");
    world.redis.kill();
    let path = format!("/v1/checkpoints/{}", begun["epoch"]);
    admin
        .until(SOON, &path, |detail| detail["status"] == "COMPLETED")
        .await;
    let (_, again) = admin.post("over-the-edge").await;
    assert_eq!(again["epoch"], begun["epoch"], "it is in memory too");
    assert_eq!(admin.checkpoint().await["status"], "COMPLETED");
    world.redis.start_again().await;
    world.admin.redis_is("up").await;
    written_again(&world).await;
    let log = std::fs::read_to_string(world.admin.process.log()).unwrap();
    assert!(!log.contains(PASSWORD) && log.contains("redis does not answer"));
}

/// The keys stand in Redis as if nothing had been lost.
async fn written_again(world: &World) {
    let key = |name: &str| format!("cutline:{}@*:{name}", world.deployment);
    wait_until(SOON, "keys to be written again", || async {
        let sidecars = world.redis.command(&["KEYS", &key("sidecars")]).await;
        let stream = world.redis.command(&["KEYS", &key("events")]).await;
        let kept = events(&world.admin.url, "none", 1).await.len() - 1;
        let stored = world.redis.command(&["XLEN", &stream]).await;
        !sidecars.is_empty() && stored.parse::<usize>().is_ok_and(|stored| stored >= kept)
    })
    .await;
}
