//! The dashboard in a real browser, before the bank under load: what each role sees and may do, a checkpoint by keyboard, and a
//! rollback by its steps after which not a coin is missing.

use std::{fs, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Browser, Kafka, Tokens,
    bank::{Behind, Count},
    topics::unique_name,
    wait_until,
};
use serde_json::{Value, json};

const LOAD_TIME_MAX: Duration = Duration::from_secs(240);
const WORK_DEADLINE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(90);
/// How many records flow between two events.
const FLOW: i64 = 4_000;
/// About three records each. A browser works beside it.
const ORDERS_PER_SECOND: u64 = 700;
/// A directory: pictures of the main views are put there, as docs/dashboard.md shows them.
const SCREENSHOTS: &str = "CUTLINE_SCREENSHOTS";

/// Banks behind sidecars, under load, with an admin API that asks for tokens.
struct World {
    admin: Admin,
    bank: Bank,
    /// What every step is told.
    parameters: Value,
}

impl World {
    async fn start() -> Self {
        let kafka = Kafka::shared().await.bootstrap();
        let deployment = unique_name("dashboard");
        let mut tokens = Tokens::default();
        let people = [("vera", "viewer"), ("otto", "operator"), ("anna", "admin")];
        let people = people.map(|(name, role)| {
            let file = tokens.make(name, role, &[]);
            let token = fs::read_to_string(file).expect("a token");
            (role.to_owned(), Value::from(token))
        });
        let banks = tokens.make("banks", "sidecar", &[]);
        let list = tokens.list().display().to_string();
        let arguments = ["--deployment", &deployment, "--tokens", &list];
        let admin = Admin::start(&AdminOptions {
            arguments: arguments.map(str::to_owned).into(),
            ..AdminOptions::over(&kafka)
        })
        .await;
        let behind = Behind {
            admin: Some(admin.url()),
            deployment: deployment.clone(),
            arguments: vec!["--token-file".to_owned(), banks],
            environment: Vec::new(),
        };
        let options = BankOptions {
            prefix: format!("{deployment}-"),
            behind: Some(behind),
            ..BankOptions::default()
        };
        let mut bank = Bank::start(&kafka, options).await;
        bank.start_load(ORDERS_PER_SECOND, LOAD_TIME_MAX);
        wait_until(WORK_DEADLINE, "both banks to work", || async {
            bank.home().has_state("a").await && bank.home().has_state("b").await
        })
        .await;
        bank.flow(FLOW).await;
        let parameters = json!({
            "url": admin.url(),
            "deployment": deployment,
            "tokens": serde_json::Map::from_iter(people),
            "shots": std::env::var(SCREENSHOTS).ok(),
        });
        Self {
            admin,
            bank,
            parameters,
        }
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

    async fn settled(&mut self) -> Count {
        self.bank.flow(FLOW).await;
        self.bank.stop_load().await;
        self.bank.count(SETTLE).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_is_checkpointed_and_rolled_back_at_the_dashboard_and_not_a_coin_is_missing() {
    let mut world = World::start().await;
    let (looked, many) = tokio::join!(
        Browser::run("look", &world.parameters),
        Browser::run("many", &world.parameters),
    );
    eprintln!("{looked} {many}");
    let taken = Browser::run("checkpoint", &world.parameters).await;
    assert!(
        taken["said"]
            .as_str()
            .is_some_and(|said| said.contains("completed")),
        "those who cannot see are told: {taken}"
    );
    world.spoil().await;
    world.parameters["epoch"] = taken["epoch"].clone();
    let rolled_back = Browser::run("rollback", &world.parameters).await;
    eprintln!("{taken} {rolled_back}");
    let count = world.settled().await;
    assert!(count.is_right(), "{count:?}");

    let mut away = Browser::start("away", &world.parameters).await;
    away.says("ready").await;
    world.admin.process().kill();
    away.go_on().await;
    away.says("noticed").await;
    world.admin.process().start_again();
    away.go_on().await;
    away.verdict().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_tokens_are_asked_for_nobody_has_to_sign_in() {
    let deployment = unique_name("open");
    let kafka = Kafka::shared().await.bootstrap();
    let arguments = ["--deployment", &deployment].map(str::to_owned);
    let admin = Admin::start(&AdminOptions {
        arguments: arguments.into(),
        ..AdminOptions::over(&kafka)
    })
    .await;
    let parameters = json!({ "url": admin.url(), "deployment": deployment, "shots": null });
    Browser::run("unasked", &parameters).await;
}
