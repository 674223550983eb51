//! Two banks behind sidecars, with an admin API that asks for tokens, all telling what they do.

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Kafka, Sidecar, Tokens, bank::Behind, checkpoints,
    http, topics::unique_name, wait_until,
};
use serde_json::Value;

const WORK_DEADLINE: Duration = Duration::from_secs(60);
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
const ORDERS_PER_SECOND: u64 = 300;
/// How many records flow between two events.
const FLOW: i64 = 1_000;

/// The variable that every program with OpenTelemetry knows.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The banks under load and whoever takes care of them.
pub struct World {
    pub admin: Admin,
    pub bank: Bank,
    /// A token that may do everything.
    pub token: String,
    token_file: String,
    client: reqwest::Client,
}

impl World {
    /// Starts them. Traces go to `endpoint`.
    pub async fn start(endpoint: Option<&str>) -> Self {
        let kafka = Kafka::shared().await.bootstrap();
        let deployment = unique_name("telemetry");
        let mut tokens = Tokens::default();
        let token_file = tokens.make("anna", "admin", &[]);
        let token = tokens.words()[0].clone();
        let of_sidecars = tokens.make("sidecars", "sidecar", &[]);
        let list = tokens.list().display().to_string();
        let mut options = AdminOptions::over(&kafka);
        for (flag, value) in [("--deployment", &deployment), ("--tokens", &list)] {
            options.arguments.extend([flag.to_owned(), value.clone()]);
        }
        options
            .arguments
            .extend(["--checkpoint-objective", "60s"].map(str::to_owned));
        let mut environment = Vec::new();
        if let Some(endpoint) = endpoint {
            let flag = ["--otlp-endpoint", endpoint].map(str::to_owned);
            options.arguments.extend(flag);
            environment.push((ENDPOINT.to_owned(), endpoint.to_owned()));
        }
        let admin = Admin::start(&options).await;
        let options = BankOptions {
            prefix: format!("{deployment}-"),
            behind: Some(Behind {
                admin: Some(admin.url()),
                deployment,
                arguments: vec!["--token-file".to_owned(), of_sidecars],
                environment,
            }),
            hook: true,
            hook_carries_state: true,
            ..BankOptions::default()
        };
        let mut bank = Bank::start(&kafka, options).await;
        bank.start_load(ORDERS_PER_SECOND, LOAD_TIME_MAX);
        let world = Self {
            admin,
            bank,
            token,
            token_file,
            client: http::client(),
        };
        wait_until(WORK_DEADLINE, "both sidecars to be at work", || async {
            checkpoints::at_work(&world.get("/v1/sidecars").await) == 2
        })
        .await;
        world.bank.flow(FLOW).await;
        world
    }

    /// The sidecars.
    pub fn sidecars(&self) -> impl Iterator<Item = &Sidecar> {
        let instances = self.bank.instances.iter();
        instances.filter_map(|instance| instance.sidecar.as_ref())
    }

    /// `GET path`, as one who may.
    pub async fn get(&self, path: &str) -> Value {
        let asked = self.client.get(format!("{}{path}", self.admin.url()));
        let answer = asked.bearer_auth(&self.token).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// `POST path` as part of the caller's own trace.
    pub async fn post(&self, path: &str, body: &Value, traceparent: &str) -> Value {
        let asked = self.client.post(format!("{}{path}", self.admin.url()));
        let asked = asked.bearer_auth(&self.token).json(body);
        let asked = asked.header("traceparent", traceparent);
        asked.send().await.unwrap().json().await.unwrap()
    }

    /// Runs the command line; what it says must be COMPLETED.
    pub async fn completed(&self, arguments: &[&str]) -> Value {
        let token = ["--token-file", &self.token_file];
        let more = ["--wait", "-o", "json"];
        let output = self
            .admin
            .cutline(&[&token, arguments, &more[..]].concat())
            .await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        assert_eq!(
            answer["status"], "COMPLETED",
            "{arguments:?}: {answer} {told}"
        );
        answer
    }

    /// Takes a checkpoint, lets the banks send what is rolled back then, and goes back to it. Answers both as they were answered.
    pub async fn checkpoint_and_roll_back(&self) -> (Value, Value) {
        let checkpoint = self.completed(&["checkpoint", "create"]).await;
        self.bank.flow_between(FLOW / 2).await;
        let epoch = checkpoint["epoch"].to_string();
        let restore = self.completed(&["restore", "create", &epoch]).await;
        self.bank.flow(FLOW).await;
        (checkpoint, restore)
    }
}
