//! The README's commands by hand, word for word but for this machine's ports and directory: they start everything, and roll it back.

use std::{env, fs, path::Path, time::Duration};

use integration_tests::{
    BankOptions, Kafka, Process, ProcessSpec, Run,
    bank::{load, topic_names},
    binaries::binary,
    checkpoints::at_work,
    http,
    ports::{free_port, free_ports},
    readme, wait_until,
};
use serde_json::Value;

const BEGIN: &str = "By hand:\n";
const ORDERS_PER_SECOND: u64 = 100;
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
/// The sidecar's own, and one for each broker.
const SIDECAR_PORTS: u16 = 8;
const START_DEADLINE: Duration = Duration::from_secs(60);
const FLOW: i64 = 500;

/// The block's commands, with `places` of this machine instead of everybody's.
fn commands(places: &[(&str, String)]) -> Vec<String> {
    let mut lines = readme::commands(BEGIN);
    for (everybodys, ours) in places {
        let said = lines.iter().any(|line| line.contains(everybodys));
        assert!(said, "{everybodys} is not said");
        lines = lines
            .iter()
            .map(|line| line.replace(everybodys, ours))
            .collect();
    }
    lines
}

/// A shell that finds our programs, and the admin API where it is here.
fn shell(directory: &Path, name: &str, line: &str, admin: &str) -> ProcessSpec {
    let programs = binary("cutline");
    let programs = programs.parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", env::var("PATH").unwrap());
    ProcessSpec::new(name, "sh", directory.join(format!("{name}.log")))
        .args(["-c", &format!("exec {line}")])
        .env("PATH", path)
        .env("CUTLINE_ADMIN", format!("http://{admin}"))
}

/// Bank A, as the application, and orders for it.
fn application(directory: &Path, sidecar: &str, kafka: &str) -> [Process; 2] {
    let options = BankOptions::default();
    let log = directory.join("bank-a.log");
    let bank = ProcessSpec::new("bank-a", binary("bank-a"), log)
        .args(["serve", "--bootstrap", sidecar])
        .args(["--partitions", &options.partitions.to_string(), "--state"])
        .arg(directory.join("bank-a"));
    let orders = load(kafka, &options, ORDERS_PER_SECOND, LOAD_TIME_MAX, directory);
    [bank, orders].map(Process::start)
}

#[tokio::test]
async fn the_commands_by_hand_start_everything_and_roll_it_back() {
    let kafka = Kafka::shared().await;
    for topic in topic_names("") {
        let partitions = BankOptions::default().partitions;
        kafka.topics().create(&topic, partitions).await;
    }
    let directory = Run::this().part("by-hand");
    let admin = format!("127.0.0.1:{}", free_port());
    let sidecar = format!("127.0.0.1:{}", free_ports(SIDECAR_PORTS)[0]);
    let lines = commands(&[
        ("127.0.0.1:7070", admin.clone()),
        ("127.0.0.1:9092", kafka.bootstrap()),
        ("127.0.0.1:19092", sidecar.clone()),
        ("/var/lib", directory.display().to_string()),
    ]);
    let [serve, stand, rest @ ..] = &lines[..] else {
        panic!("an admin API, a sidecar, and more: {lines:?}")
    };
    assert!(
        serve.starts_with("cutline-admin ") && stand.starts_with("cutline-sidecar "),
        "{lines:?}"
    );
    let started = [("admin", serve), ("sidecar", stand)];
    let _started =
        started.map(|(name, line)| Process::start(shell(&directory, name, line, &admin)));
    let _application = application(&directory, &sidecar, &kafka.bootstrap());
    wait_until(START_DEADLINE, "the application to be at work", || async {
        let asked = http::get(format!("http://{admin}/v1/sidecars"))
            .send()
            .await;
        let Ok(answer) = asked else { return false };
        at_work(&answer.json().await.unwrap_or(Value::Null)) == 1
    })
    .await;
    assert_eq!(
        rest.len(),
        3,
        "a checkpoint, a plan and a rollback: {rest:?}"
    );
    for (number, line) in rest.iter().enumerate() {
        kafka.topics().wait_appended(&topic_names(""), FLOW).await;
        let name = format!("command-{number}");
        let command = Process::start(shell(&directory, &name, line, &admin));
        command.ended_well().await;
    }
    let told = fs::read_to_string(directory.join("command-2.log")).unwrap();
    assert!(told.contains("COMPLETED"), "{told}");
}
