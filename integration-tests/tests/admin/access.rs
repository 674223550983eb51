//! Who gets in: tokens with roles, sidecars of their own service, the audit log, and what is not served to strangers.

use std::{fs, process::Output, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, Process, ProcessSpec, Run, Sidecar, SidecarOptions, Tokens, Topics,
    binaries::binary, checkpoints, http, ports::free_port, topics::unique_name, wait_until,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{SOON, produce, relay::Relay};

struct World {
    admin: Admin,
    deployment: String,
    kafka: &'static Kafka,
}

impl World {
    async fn start(tokens: &Tokens) -> Self {
        let kafka = Kafka::shared().await;
        let deployment = unique_name("access");
        let list = tokens.list().display().to_string();
        let arguments = ["--deployment", &deployment, "--tokens", &list];
        let options = AdminOptions {
            arguments: arguments.map(str::to_owned).into(),
            ..AdminOptions::over(&kafka.bootstrap())
        };
        Self {
            admin: Admin::start(&options).await,
            deployment,
            kafka,
        }
    }

    /// A sidecar that shows the token in `file`, if any.
    async fn sidecar(&self, service: &str, file: Option<&str>) -> Sidecar {
        let shown = file.map(|file| ["--token-file".to_owned(), file.to_owned()]);
        let sidecar = SidecarOptions {
            service: service.into(),
            deployment: self.deployment.clone(),
            admin: Some(self.admin.url()),
            arguments: shown.into_iter().flatten().collect(),
            ..SidecarOptions::transparent(&self.kafka.bootstrap())
        };
        Sidecar::start(&sidecar).await
    }

    async fn cutline(&self, file: Option<&str>, arguments: &[&str]) -> Output {
        let shown = file.map(|file| vec!["--token-file", file]);
        let all = [&shown.unwrap_or_default(), arguments].concat();
        self.admin.cutline(&all).await
    }

    /// Says that `arguments` are not done, with these words.
    async fn is_refused(&self, file: Option<&str>, arguments: &[&str], words: &[&str]) {
        let output = self.cutline(file, arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for word in words {
            assert!(
                said.contains(word),
                "{arguments:?}: {word} is not in {said}"
            );
        }
    }

    async fn is_done(&self, file: Option<&str>, arguments: &[&str]) -> String {
        let output = self.cutline(file, arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// When somebody was turned away.
    fn audit_times(&mut self) -> Vec<Timestamp> {
        let log = fs::read_to_string(self.admin.process().log()).expect("a log");
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["target"] == "audit" && line["status"] == 401)
            .filter_map(|line| line["timestamp"].as_str()?.parse().ok())
            .collect()
    }

    /// The audit log: who, what, and how it was answered.
    fn audit(&mut self) -> Vec<(String, String, u64)> {
        let log = fs::read_to_string(self.admin.process().log()).expect("a log");
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["target"] == "audit")
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                (
                    text("who"),
                    text("action"),
                    line["status"].as_u64().unwrap_or(0),
                )
            })
            .collect()
    }
}

pub(crate) async fn log_has(process: &Process, words: &str) {
    let what = format!("{words} in the log of {}", process.name());
    wait_until(SOON, &what, || async {
        fs::read_to_string(process.log()).is_ok_and(|log| log.contains(words))
    })
    .await;
}

#[tokio::test]
async fn nobody_gets_in_who_does_not_belong_and_it_is_written_down_who_did_what() {
    let mut tokens = Tokens::default();
    let viewer = tokens.make("vera", "viewer", &[]);
    let operator = tokens.make("otto", "operator", &[]);
    let admin = tokens.make("anna", "admin", &[]);
    let relays = tokens.make("relays", "sidecar", &["--service", "relay"]);
    let mut world = World::start(&tokens).await;

    let mut own = world.sidecar("relay", Some(&relays)).await;
    let topics = Topics::of(&world.kafka.bootstrap());
    let input = topics.create_unique("in", 1).await;
    let output = topics.create_unique("out", 1).await;
    produce(&world.kafka.bootstrap(), &input, 5).await;
    let _application = Relay::start(&own.bootstrap(), input, output);
    wait_until(SOON, "the sidecar to be at work", || async {
        let seen = world
            .is_done(Some(&viewer), &["sidecars", "-o", "json"])
            .await;
        let seen = serde_json::from_str(&seen).expect("JSON");
        checkpoints::at_work(&seen) == 1
    })
    .await;

    let create = ["checkpoint", "create", "--wait"];
    world
        .is_refused(None, &create, &["CL0218", "--token-file"])
        .await;
    world.is_refused(None, &["topology"], &["CL0218"]).await;
    world
        .is_refused(Some(&viewer), &create, &["CL0219", "vera", "operator"])
        .await;
    world
        .is_refused(Some(&relays), &["topology"], &["CL0219", "viewer"])
        .await;
    world.is_done(Some(&operator), &create).await;
    let restore = ["restore", "create", "1", "--wait"];
    world
        .is_refused(Some(&operator), &restore, &["CL0219", "admin"])
        .await;
    let prune = ["checkpoint", "prune"];
    world
        .is_refused(Some(&operator), &prune, &["CL0219", "admin"])
        .await;
    world
        .is_done(Some(&viewer), &["checkpoint", "prune", "--dry-run"])
        .await;
    let forget = ["services", "forget", "relay"];
    world
        .is_refused(Some(&operator), &forget, &["CL0219", "admin"])
        .await;
    let delete = ["checkpoint", "delete", "1"];
    world
        .is_refused(Some(&operator), &delete, &["CL0219", "admin"])
        .await;
    world.is_done(Some(&admin), &delete).await;

    let audit = world.audit();
    for (who, action, status) in [
        ("otto", "POST /v1/checkpoints", 202),
        ("vera", "POST /v1/checkpoints", 403),
        ("anyone", "POST /v1/checkpoints", 401),
        ("otto", "POST /v1/restores", 403),
        ("anna", "DELETE /v1/checkpoints/1", 204),
    ] {
        let line = (who.to_owned(), action.to_owned(), status);
        assert!(audit.contains(&line), "{line:?} is not in {audit:?}");
    }

    tokens.withdraw("otto");
    wait_until(SOON, "the operator's token to be worth nothing", || async {
        let output = world.cutline(Some(&operator), &["topology"]).await;
        !output.status.success()
    })
    .await;
    world.is_done(Some(&viewer), &["topology"]).await;
    for process in [world.admin.process(), own.process()] {
        let log = fs::read_to_string(process.log()).expect("a log");
        let shown = tokens.words().iter().find(|token| log.contains(*token));
        assert_eq!(shown, None, "a token in the log of {}", process.name());
    }
}

#[tokio::test]
async fn a_sidecar_is_let_in_as_its_own_service_only() {
    let mut tokens = Tokens::default();
    let viewer = tokens.make("vera", "viewer", &[]);
    let relays = tokens.make("relays", "sidecar", &["--service", "relay"]);
    let world = World::start(&tokens).await;
    let (mut other, mut person, mut nobody) = (
        world.sidecar("payments", Some(&relays)).await,
        world.sidecar("relay", Some(&viewer)).await,
        world.sidecar("relay", None).await,
    );
    log_has(other.process(), "is for service relay, not payments").await;
    log_has(person.process(), "CL0219").await;
    log_has(nobody.process(), "CL0218").await;
    let seen = world
        .is_done(Some(&viewer), &["sidecars", "-o", "json"])
        .await;
    assert_eq!(
        checkpoints::at_work(&serde_json::from_str(&seen).expect("JSON")),
        0
    );
}

#[tokio::test]
async fn a_sidecar_that_is_turned_away_asks_ever_less_often() {
    let tokens = {
        let mut tokens = Tokens::default();
        tokens.make("vera", "viewer", &[]);
        tokens
    };
    let mut world = World::start(&tokens).await;
    let _nobody = world.sidecar("relay", None).await;
    wait_until(SOON, "it to be turned away once", || {
        let count = world.audit_times().len();
        async move { count > 0 }
    })
    .await;
    // Pauses are chosen by chance, up to a limit that doubles from 50 ms. Were none longer than a second, fourteen attempts
    // would come within 9.55 s; as it is, one of some forty thousand sidecars is as quick.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let times = world.audit_times();
    assert!(times.len() < 14, "{times:?}");
}

#[tokio::test]
async fn strangers_are_not_listened_to_unless_told_so() {
    let directory = Run::this().part("strangers");
    let port = free_port();
    let start = |flags: &[&str]| {
        let spec = ProcessSpec::new("admin", binary("cutline-admin"), directory.join("log"))
            .args(["--listen", &format!("0.0.0.0:{port}")])
            .args(["--kafka", &format!("127.0.0.1:{}", free_port())])
            .args([
                "--store",
                &format!("file:{}", directory.join("data").display()),
            ])
            .args(flags);
        Process::start(spec)
    };
    let mut refused = start(&[]);
    wait_until(SOON, "it to end", || {
        let ended = refused.exit_status();
        async move { ended.is_some_and(|status| !status.success()) }
    })
    .await;
    let said = refused.log_tail(1);
    assert!(
        said.contains("not loopback") && said.contains("--unauthenticated yes"),
        "{said}"
    );
    let _told = start(&["--unauthenticated", "yes"]);
    wait_until(SOON, "it to live", || async {
        let answer = http::get(format!("http://127.0.0.1:{port}/healthz"))
            .send()
            .await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}
