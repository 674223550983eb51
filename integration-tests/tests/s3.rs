//! Checkpoints in a real S3, end to end: the admin API names the store, the sidecar writes to it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use std::{fs, path::PathBuf, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, Run, S3, Sidecar, SidecarOptions, checkpoints,
    flow::{Relay, RelayOptions},
    front::Front,
    http, restores,
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
    assert!(http::get(&endpoint).send().await.is_err());
    server.start_again().await;
    // Nobody gets in without credentials.
    let answer = http::get(format!("{endpoint}/cutline/kept")).send().await;
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
        Self::start_with(&[]).await
    }

    async fn start_with(flags: &[&str]) -> Self {
        let (kafka, server) = (Kafka::shared().await, S3::start().await);
        let name = unique_name("s3");
        kafka.topics().create(&name, 1).await;
        let mut over = AdminOptions::over(&kafka.bootstrap());
        over.store = Some(server.store(&name));
        over.arguments = ["--deployment", &name, "--checkpoint-retries", "0"]
            .iter()
            .chain(flags)
            .map(|flag| (*flag).to_owned())
            .collect();
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

    /// Another admin API in place of this one, with these flags more.
    async fn replace_admin(&mut self, flags: &[&str]) {
        self.admin.process().terminate();
        let mut over = self.over.clone();
        over.arguments.truncate(4);
        over.arguments
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.admin = Admin::start(&over).await;
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
    let id = begun["id"].as_str().unwrap();
    let ended = restores::ended(&world.admin, id, DEADLINE).await;
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

#[tokio::test]
async fn a_checkpoint_is_restored_only_by_who_has_the_key_that_signed_it() {
    let directory = Run::this().part("keys");
    let file = |name: &str, lines: &[&str]| {
        let path = directory.join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    };
    let (old, new) = ("0a".repeat(32), "0b".repeat(32));
    let (first, second) = (file("first", &[&old]), file("second", &[&new]));
    let both = file("both", &[&new, &old]);
    let mut world = World::start_with(&["--signing-keys", &first]).await;
    world.keep(1, 6);
    let epoch = world.completed().await;
    assert!(world.verified(epoch).await);
    let manifest = format!("{}/checkpoints/{epoch:020}/manifest.json", world.name);
    let manifest = world.server.objects().join(manifest);
    let real = fs::read_to_string(&manifest).unwrap();
    // All hashes fit: only the signature tells.
    let (body, _) = real.split_once(",\n  \"blake3\"").unwrap();
    let body = body.replacen("\"unaligned\"", "\"aligned\"", 1);
    let hash = blake3::hash(body.as_bytes()).to_hex();
    fs::write(
        &manifest,
        format!("{body},\n  \"blake3\": \"{hash}\"\n}}\n"),
    )
    .unwrap();
    is_not_proved(&world, epoch).await;
    fs::write(&manifest, &real).unwrap();
    is_planned(&world, epoch).await;
    world.replace_admin(&["--signing-keys", &second]).await;
    is_not_proved(&world, epoch).await;
    world.replace_admin(&["--signing-keys", &both]).await;
    assert!(world.verified(epoch).await);
    let log = world.admin.process().log_tail(10_000);
    assert!(
        !log.contains(&old) && !log.contains(&new),
        "keys never show"
    );
    // Who asks for no signature sees it as before.
    world.replace_admin(&[]).await;
    assert!(world.verified(epoch).await);
}

async fn is_planned(world: &World, epoch: u64) {
    assert!(world.verified(epoch).await);
    let asked = json!({ "epoch": epoch, "dry_run": true });
    let (status, plan) = world.admin.post("/v1/restores", &asked).await;
    assert_eq!(status, 200, "{plan}");
}

async fn is_not_proved(world: &World, epoch: u64) {
    assert!(!world.verified(epoch).await);
    let (_, detail) = world.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
    assert_eq!(detail["status"], "FAILED", "{detail}");
    assert!(
        detail["reason"].as_str().unwrap().contains("CL0123"),
        "{detail}"
    );
    for dry_run in [true, false] {
        let asked = json!({ "epoch": epoch, "dry_run": dry_run });
        let (status, problem) = world.admin.post("/v1/restores", &asked).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("CL0123")),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_server_that_lets_two_writers_win_is_refused_for_good() {
    let (kafka, server) = (Kafka::shared().await, S3::shared().await);
    let name = unique_name("racing");
    let front = Front::start_racing(server).await;
    let mut over = AdminOptions::over(&kafka.bootstrap());
    over.store = Some(front.instead(&server.store(&name)));
    over.arguments = vec!["--deployment".to_owned(), name];
    over.environment = S3::credentials();
    let mut admin = Admin::launch(&over);
    wait_until(DEADLINE, "it to end", || {
        let ended = admin.process().exit_status();
        async move { ended.is_some_and(|status| !status.success()) }
    })
    .await;
    let said = admin.process().log_tail(20);
    assert!(
        said.contains("CL0104") && said.contains("creates of one object won"),
        "{said}"
    );
    // What is behind is sound: the same server without the front is used.
    over.store = Some(server.store(&unique_name("sound")));
    Admin::start(&over).await;
}
