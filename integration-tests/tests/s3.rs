//! Checkpoints in a real S3, end to end: the admin API names the store, the sidecar writes to it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use std::{fs, path::PathBuf, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, Run, S3, Sidecar, SidecarOptions, checkpoints,
    flow::{Relay, RelayOptions},
    s3::SECRET_KEY,
    topics::unique_name,
    wait_for, wait_until,
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_killed_server_starts_again_on_its_port_with_its_objects() {
    let mut server = S3::start().await;
    let endpoint = server.endpoint();
    fs::write(server.objects().join("kept"), "x").unwrap();
    server.process().kill();
    assert!(reqwest::get(&endpoint).await.is_err());
    server.start_again().await;
    // Nobody gets in without credentials.
    let answer = reqwest::get(format!("{endpoint}/cutline/kept")).await;
    assert_eq!(answer.unwrap().status(), 403);
}

/// A service that keeps a file, behind its sidecar, and the admin API over a store in S3.
struct World {
    server: S3,
    over: AdminOptions,
    admin: Admin,
    sidecar: Sidecar,
    state: PathBuf,
    name: String,
    _relay: Relay,
}

impl World {
    async fn start() -> Self {
        let (kafka, server) = (Kafka::shared().await, S3::start().await);
        let name = unique_name("s3");
        kafka.topics().create(&name, 1).await;
        let mut over = AdminOptions::over(&kafka.bootstrap());
        over.store = Some(server.store(&name));
        over.arguments = ["--deployment", &name, "--checkpoint-retries", "0"]
            .map(str::to_owned)
            .to_vec();
        over.environment = S3::credentials();
        let admin = Admin::start(&over).await;
        let state = Run::this().part("state").join("data");
        fs::create_dir_all(&state).unwrap();
        let sidecar = Sidecar::start(&SidecarOptions {
            deployment: name.clone(),
            admin: Some(admin.url()),
            state: vec![format!("dir:{}", state.display())],
            environment: S3::credentials(),
            ..SidecarOptions::transparent(&kafka.bootstrap())
        })
        .await;
        let relay = Relay::start(RelayOptions::between(
            &sidecar.bootstrap(),
            &name,
            &name,
            None,
        ));
        checkpoints::wait_connected(&admin, 1).await;
        Self {
            server,
            over,
            admin,
            sidecar,
            state,
            name,
            _relay: relay,
        }
    }

    fn keep(&self, mib: usize, seed: u8) -> Vec<u8> {
        // Nothing in it repeats, so that all of it has to be written.
        let mut state = u64::from(seed) + 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        let bytes: Vec<u8> = (0..mib << 20).map(|_| next()).collect();
        fs::write(self.state.join("file"), &bytes).unwrap();
        bytes
    }

    async fn take(&self) -> Value {
        let attempts = checkpoints::take(&self.admin, "unaligned").await;
        attempts.into_values().next_back().unwrap()
    }

    async fn completed(&self) -> u64 {
        let checkpoint = self.take().await;
        assert_eq!(checkpoint["status"], "COMPLETED", "{checkpoint}");
        checkpoint["epoch"].as_u64().unwrap()
    }

    async fn verified(&self, epoch: u64) -> bool {
        let path = format!("/v1/checkpoints/{epoch}/verify");
        let (status, told) = self.admin.post(&path, &json!({})).await;
        assert_eq!(status, 200, "{told}");
        eprintln!("verify {epoch}: {told}");
        told["problems"].as_array().is_some_and(Vec::is_empty)
    }

    fn packs(&self) -> Vec<PathBuf> {
        let packs = fs::read_dir(self.server.objects().join(&self.name).join("packs"));
        let packs = packs.into_iter().flatten().flatten();
        packs
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect()
    }
}

#[tokio::test]
async fn a_service_rolls_back_to_a_checkpoint_in_s3_and_no_secret_shows() {
    let mut world = World::start().await;
    let kept = world.keep(3, 1);
    let epoch = world.completed().await;
    assert!(world.verified(epoch).await);
    world.keep(1, 2);
    let (status, begun) = world
        .admin
        .post("/v1/restores", &json!({ "epoch": epoch }))
        .await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/v1/restores/{}", begun["id"].as_str().unwrap());
    let ended = wait_for(DEADLINE, "the restore to end", || async {
        let (_, restore) = world.admin.get(&path).await;
        let over = ["COMPLETED", "FAILED", "ABORTED"].map(Value::from);
        over.contains(&restore["status"]).then_some(restore)
    })
    .await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    assert!(fs::read(world.state.join("file")).unwrap() == kept);
    // Another admin API on the same store takes over, and sees the same.
    world.admin.process().terminate();
    let other = Admin::start(&world.over).await;
    let (status, seen) = other.get(&format!("/v1/checkpoints/{epoch}")).await;
    assert_eq!(
        (status, &seen["status"]),
        (200, &json!("COMPLETED")),
        "{seen}"
    );
    let logs = [
        world.admin.process().log_tail(10_000),
        world.sidecar.process().log_tail(10_000),
    ];
    assert!(logs.iter().all(|log| !log.contains(SECRET_KEY)));
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_checkpoint_costs_at_most_that_one() {
    let mut world = World::start().await;
    world.keep(1, 3);
    let first = world.completed().await;
    let before = world.packs().len();
    world.keep(120, 4);
    let (status, begun) = world
        .admin
        .post("/v1/checkpoints", &json!({ "mode": "unaligned" }))
        .await;
    assert_eq!(status, 202, "{begun}");
    wait_until(DEADLINE, "a part to be half written", || async {
        world.packs().len() > before
    })
    .await;
    world.server.process().kill();
    let path = format!("/v1/checkpoints/{}/abort", begun["epoch"]);
    // Given up while the store is away: that cannot be written down before it is back.
    let (_, aborted) = world.admin.post(&path, &json!({})).await;
    eprintln!("aborted: {aborted}");
    world.server.start_again().await;
    let path = format!("/v1/checkpoints/{}", begun["epoch"]);
    let ended = wait_for(DEADLINE, "the checkpoint to end", || async {
        let (_, told) = world.admin.get(&path).await;
        ["COMPLETED", "FAILED"]
            .map(Value::from)
            .contains(&told["status"])
            .then_some(told)
    })
    .await;
    eprintln!("ended: {} {}", ended["status"], ended["reason"]);
    assert!(
        ended["status"] == "COMPLETED" || ended["reason"].is_string(),
        "{ended}"
    );
    let next = world.completed().await;
    assert!(world.verified(first).await && world.verified(next).await);
}

#[tokio::test]
async fn a_damaged_object_is_found_and_named() {
    let world = World::start().await;
    world.keep(2, 5);
    let epoch = world.completed().await;
    let pack = world.packs().pop().unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    for bytes in [&altered[..], &whole[..whole.len() - 9]] {
        fs::write(&pack, bytes).unwrap();
        assert!(!world.verified(epoch).await);
    }
    fs::remove_file(&pack).unwrap();
    assert!(!world.verified(epoch).await);
}
