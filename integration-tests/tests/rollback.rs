//! The whole promise: two banks are rolled back in place to one consistent cut, under load, and not a coin is missing.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are the test")]

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Kafka, KafkaOptions, Services,
    bank::{Behind, Count},
    checkpoints, http,
    kafka::VERSION_OLDEST,
    topics::unique_name,
    wait_for, wait_until,
};
use serde_json::{Value, json};

const LOAD_TIME_MAX: Duration = Duration::from_secs(240);
const WORK_DEADLINE: Duration = Duration::from_secs(60);
/// How long a lost sidecar may take to be evicted, its partitions to move, and a checkpoint after that.
const REELECTION: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(90);
/// How many records flow between two events.
const FLOW: i64 = 7_500;
/// About three records each.
const ORDERS_PER_SECOND: u64 = 900;

/// Banks behind sidecars, under load, with an admin API of their own.
struct World {
    admin: Admin,
    bank: Bank,
}

impl World {
    async fn start(options: BankOptions) -> Self {
        Self::start_on(Kafka::shared().await, options, None).await
    }

    /// With files as store and state, or with real services.
    async fn start_on(
        kafka: &Kafka,
        mut options: BankOptions,
        services: Option<&Services>,
    ) -> Self {
        let kafka = kafka.bootstrap();
        let deployment = unique_name("rollback");
        let mut over = AdminOptions::over(&kafka);
        let mut environment = Vec::new();
        if let Some(services) = services {
            over = services.under(over, &deployment);
            environment = services.environment();
            options.databases = Some(services.databases(&deployment).await);
        }
        over.environment
            .push(("CUTLINE_DEPLOYMENT".into(), deployment.clone()));
        let admin = Admin::start(&over).await;
        let behind = Behind {
            admin: Some(admin.url()),
            deployment: deployment.clone(),
            arguments: Vec::new(),
            environment,
        };
        let options = BankOptions {
            prefix: deployment + "-",
            behind: Some(behind),
            ..options
        };
        let mut bank = Bank::start(&kafka, options).await;
        bank.start_load(ORDERS_PER_SECOND, LOAD_TIME_MAX);
        let world = Self { admin, bank };
        wait_until(WORK_DEADLINE, "both banks to work", || async {
            world.bank.home().has_state("a").await && world.bank.home().has_state("b").await
        })
        .await;
        world.bank.flow(FLOW).await;
        world
    }

    /// Runs the command line; what it says must be COMPLETED.
    async fn completed(&self, arguments: &[&str]) -> Value {
        let output = self.admin.cutline(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        assert!(
            output.status.success() && answer["status"] == "COMPLETED",
            "cutline {arguments:?}: {answer} {told}"
        );
        answer
    }

    async fn checkpoint(&self, mode: &str) -> String {
        let checkpoint = self
            .completed(&[
                "checkpoint",
                "create",
                "--mode",
                mode,
                "--wait",
                "-o",
                "json",
            ])
            .await;
        let epoch = checkpoint["epoch"].to_string();
        let (_, detail) = self.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
        for process in detail["processes"].as_array().unwrap() {
            eprintln!(
                "checkpoint {epoch}, {mode}: {} paused {} ms",
                process["process"], process["pause_ms"]
            );
        }
        epoch
    }

    async fn spoil(&self) {
        self.bank.flow(FLOW).await;
        self.bank.home().spoil().await;
        let count = self.bank.count(Duration::ZERO).await;
        assert!(
            count.total_after < count.total_expected / 2,
            "the state is spoilt: {count:?}"
        );
    }

    async fn roll_back(&self, epoch: &str) {
        self.completed(&["restore", "create", epoch, "--wait", "-o", "json"])
            .await;
        self.bank.flow(FLOW).await;
    }

    async fn settled(&mut self) -> Count {
        self.bank.stop_load().await;
        self.bank.count(SETTLE).await
    }
}

async fn rolls_back(mode: &str, options: BankOptions) {
    let world = World::start(options).await;
    rolls_back_in(world, mode).await;
}

async fn rolls_back_in(mut world: World, mode: &str) {
    let epoch = world.checkpoint(mode).await;
    world.spoil().await;
    world.roll_back(&epoch).await;
    let count = world.settled().await;
    assert!(count.is_right(), "{count:?}");
}

#[tokio::test]
async fn banks_roll_back_to_an_aligned_checkpoint() {
    rolls_back("aligned", BankOptions::default()).await;
}

#[tokio::test]
async fn banks_on_the_oldest_kafka_supported_roll_back() {
    let kafka = Kafka::start(KafkaOptions {
        version: VERSION_OLDEST.into(),
        ..KafkaOptions::default()
    })
    .await;
    let world = World::start_on(&kafka, BankOptions::default(), None).await;
    rolls_back_in(world, "aligned").await;
}

#[tokio::test]
async fn three_instances_each_roll_back_to_an_unaligned_checkpoint() {
    rolls_back(
        "unaligned",
        BankOptions {
            instances: 3,
            ..BankOptions::default()
        },
    )
    .await;
}

#[tokio::test]
async fn three_instances_each_roll_back_to_a_synchronous_checkpoint() {
    rolls_back(
        "synchronous",
        BankOptions {
            instances: 3,
            ..BankOptions::default()
        },
    )
    .await;
}

#[tokio::test]
async fn a_bank_captured_by_its_hook_rolls_back() {
    rolls_back(
        "aligned",
        BankOptions {
            hook: true,
            hook_carries_state: true,
            ..BankOptions::default()
        },
    )
    .await;
}

/// Its client has far more than one batch in memory when the hook pauses it, and comes back with that to a restored state.
#[tokio::test]
async fn what_a_paused_bank_had_fetched_ahead_is_not_worked_on_after_a_rollback() {
    let mut world = World::start(BankOptions {
        hook: true,
        ..BankOptions::default()
    })
    .await;
    let epoch = world.checkpoint("unaligned").await;
    for _ in 0..3 {
        let bank = world.bank.instances.iter().find(|one| one.bank == "b");
        let bank = bank.expect("both banks run");
        bank.app.freeze();
        // Meanwhile its input piles up at the broker.
        world.bank.flow(FLOW / 2).await;
        bank.app.thaw();
        let create = [
            "restore",
            "create",
            &epoch,
            "--no-safety-checkpoint",
            "--wait",
            "-o",
            "json",
        ];
        world.completed(&create).await;
    }
    world.bank.flow(FLOW).await;
    let count = world.settled().await;
    assert!(count.is_right(), "{count:?}");
}

#[tokio::test]
async fn banks_roll_back_twice_in_a_row_to_different_checkpoints() {
    let mut world = World::start(BankOptions::default()).await;
    let first = world.checkpoint("aligned").await;
    world.bank.flow(FLOW).await;
    let second = world.checkpoint("unaligned").await;
    world.spoil().await;
    world.roll_back(&second).await;
    world.spoil().await;
    world.roll_back(&first).await;
    let count = world.settled().await;
    assert!(count.is_right(), "{count:?}");
}

#[tokio::test]
async fn a_checkpoint_taken_after_a_rollback_can_be_rolled_back_to() {
    let mut world = World::start(BankOptions::default()).await;
    let first = world.checkpoint("aligned").await;
    world.spoil().await;
    world.roll_back(&first).await;
    let second = world.checkpoint("aligned").await;
    world.spoil().await;
    world.roll_back(&second).await;
    let count = world.settled().await;
    assert!(count.is_right(), "{count:?}");
}

/// PostgreSQL, Redis and S3 in place of files: the same promise.
async fn rolls_back_in_databases(mode: &str, instances: usize) {
    let options = BankOptions {
        instances,
        ..BankOptions::default()
    };
    let (kafka, services) = (Kafka::shared().await, Services::shared().await);
    let world = World::start_on(kafka, options, Some(services)).await;
    rolls_back_in(world, mode).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn banks_in_databases_roll_back_to_an_aligned_checkpoint_in_s3() {
    rolls_back_in_databases("aligned", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_each_that_share_a_database_roll_back() {
    rolls_back_in_databases("unaligned", 3).await;
}

/// Of instances that share a state, the first by name records. When it is gone amid an epoch the epoch fails, since
/// nobody else knows what it had read; the next is recorded by another.
#[tokio::test]
async fn another_instance_records_when_the_elected_one_dies() {
    let mut world = World::start(BankOptions {
        instances: 3,
        ..BankOptions::default()
    })
    .await;
    let mut elected = world.bank.instances.remove(0);
    let sidecar = elected.sidecar.as_mut().unwrap();
    // What it was given is never committed: the epoch stays where all others wait for it.
    elected.app.freeze();
    let (status, begun) = world
        .admin
        .post("/v1/checkpoints", &json!({ "mode": "aligned" }))
        .await;
    assert_eq!(status, 202, "{begun}");
    let metrics = format!("{}/metrics", sidecar.metrics_url());
    wait_until(WORK_DEADLINE, "it to take part", || async {
        let text = http::get(&metrics)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let held = text
            .lines()
            .find_map(|line| line.strip_prefix("cutline_held_partitions "));
        held.is_some_and(|held| held != "0")
    })
    .await;
    sidecar.process().kill();
    elected.app.kill();
    let mut attempts = checkpoints::follow(&world.admin, &begun).await;
    let (_, first) = attempts.pop_first().unwrap();
    assert_eq!(first["status"], "FAILED", "{first}");
    let completed = wait_for(REELECTION, "a checkpoint without it", || async {
        let (_, last) = checkpoints::take(&world.admin, "aligned")
            .await
            .pop_last()?;
        (last["status"] == "COMPLETED").then_some(last)
    })
    .await;
    world.spoil().await;
    world.roll_back(&completed["epoch"].to_string()).await;
}
