//! Kafka's own command-line tools, directly and through a sidecar: what they print and how they exit is the same.

use std::process::Output;

use integration_tests::{Kafka, Sidecar, SidecarOptions, kafka, topics::unique_name};
use serde_json::json;
use tokio::process::Command;

use crate::{
    driver::{Client, Driver},
    log::ends,
    records::{PARTITIONS, of_codec},
    same::three,
};

const PERFORMANCE_RECORDS: i64 = 600;

/// Runs a tool against `bootstrap`, which takes the place of `@`.
async fn run(version: &str, tool: &str, arguments: &[&str], bootstrap: &str) -> Output {
    let mut command = Command::new("java");
    command
        // Where a logger would write to stdout, it keeps silent.
        .args([
            "-Dlog4j2.level=OFF",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
        ])
        .args(kafka::java(version, None))
        .arg(format!("org.apache.kafka.tools.{tool}"))
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace('@', bootstrap)),
        )
        .kill_on_drop(true);
    command.output().await.expect("java can be run")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Tools {
    version: String,
    ways: [String; 2],
    _sidecar: Sidecar,
}

impl Tools {
    async fn start(kafka: &Kafka, version: &str) -> Self {
        let sidecar = Sidecar::start(&SidecarOptions::transparent(&kafka.bootstrap())).await;
        Self {
            version: version.into(),
            ways: [kafka.bootstrap(), sidecar.bootstrap()],
            _sidecar: sidecar,
        }
    }

    /// Runs a tool both ways; what both print.
    async fn same(&self, tool: &str, arguments: &[&str]) -> String {
        let (direct, through) = self.both(tool, arguments).await;
        assert_eq!(through, direct, "{tool} {arguments:?}");
        through
    }

    async fn both(&self, tool: &str, arguments: &[&str]) -> (String, String) {
        let (direct, through) = tokio::join!(
            run(&self.version, tool, arguments, &self.ways[0]),
            run(&self.version, tool, arguments, &self.ways[1])
        );
        for output in [&direct, &through] {
            assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        }
        (printed(&direct), printed(&through))
    }
}

/// Compares all tools of a version against a Kafka.
pub async fn compare(kafka: &Kafka, version: &str) {
    let tools = Tools::start(kafka, version).await;
    let topic = unique_name("tools");
    let old = [("retention.ms", "-1")];
    kafka.topics().create_with(&topic, PARTITIONS, &old).await;
    let mut writer = Driver::start(Client::Confluent, &kafka.bootstrap(), "writer");
    let (group, id) = (unique_name("group"), unique_name("transactional"));
    writer
        .ask(
            "transact",
            json!({ "topic": topic, "records": of_codec("none"), "transactional_id": id }),
        )
        .await;
    let joined = json!({ "topic": topic, "group": group, "protocol": "range", "enough": 18 });
    writer.ask("group", joined).await;

    let at = ["--bootstrap-server", "@"];
    let described = tools
        .same(
            "TopicCommand",
            &[&at[..], &["--describe", "--topic", &topic]].concat(),
        )
        .await;
    assert_eq!(
        described.matches("Leader:").count(),
        PARTITIONS as usize,
        "{described}"
    );
    let described = tools
        .same(
            "consumer.group.ConsumerGroupCommand",
            &[&at[..], &["--describe", "--group", &group]].concat(),
        )
        .await;
    assert_eq!(
        described.matches(&topic).count(),
        PARTITIONS as usize,
        "{described}"
    );
    let describe = ["describe", "--transactional-id", &id];
    let (direct, through) = tools
        .both("TransactionsCommand", &[&at[..], &describe].concat())
        .await;
    assert_eq!(without_duration(&through), without_duration(&direct));
    assert!(through.contains("CompleteAbort"), "{through}");
    let producers = ["describe-producers", "--topic", &topic, "--partition", "0"];
    tools
        .same("TransactionsCommand", &[&at[..], &producers].concat())
        .await;
    console(&tools, &topic).await;
    performance(&tools, kafka).await;
}

/// The table of a transactional id without the column that counts on.
fn without_duration(table: &str) -> Vec<Vec<&str>> {
    let rows = table.lines().map(|row| row.split('\t').collect());
    rows.map(|mut cells: Vec<&str>| {
        cells.remove(7);
        cells
    })
    .collect()
}

async fn console(tools: &Tools, topic: &str) {
    let mut arguments = vec![
        "--bootstrap-server",
        "@",
        "--topic",
        topic,
        "--partition",
        "1",
    ];
    // 4.3 renamed what 3.9 knows.
    let (formatter, isolation) = if tools.version.starts_with("3.") {
        ("--property", "--consumer-property")
    } else {
        ("--formatter-property", "--command-property")
    };
    let shown: Vec<String> = ["key", "headers", "timestamp", "offset", "partition"]
        .iter()
        .map(|what| format!("print.{what}=true"))
        .collect();
    for what in &shown {
        arguments.extend([formatter, what]);
    }
    arguments.extend([isolation, "isolation.level=read_committed"]);
    arguments.extend(["--from-beginning", "--max-messages", "6"]);
    let consumed = tools.same("consumer.ConsoleConsumer", &arguments).await;
    assert_eq!(consumed.matches("CreateTime:").count(), 6, "{consumed}");
}

async fn performance(tools: &Tools, kafka: &Kafka) {
    let topic = kafka
        .topics()
        .create_unique("performance", PARTITIONS)
        .await;
    let count = PERFORMANCE_RECORDS.to_string();
    let settings = if tools.version.starts_with("3.") {
        "--producer-props"
    } else {
        "--command-property"
    };
    let produce = [
        "--topic",
        &topic,
        "--num-records",
        &count,
        "--record-size",
        "500",
        "--throughput",
        "-1",
        settings,
        "bootstrap.servers=@",
    ];
    let (direct, through) = tools.both("ProducerPerformance", &produce).await;
    for printed in [direct, through] {
        assert!(printed.contains("600 records sent"), "{printed}");
    }
    let held: i64 = ends(kafka, &topic, PARTITIONS).await.iter().sum();
    assert_eq!(held, 2 * PERFORMANCE_RECORDS);
    let count = held.to_string();
    let messages = if tools.version.starts_with("3.") {
        "--messages"
    } else {
        "--num-records"
    };
    let consume = [
        "--bootstrap-server",
        "@",
        "--topic",
        &topic,
        messages,
        &count,
        "--timeout",
        "30000",
    ];
    let (direct, through) = tools.both("ConsumerPerformance", &consume).await;
    for printed in [direct, through] {
        assert!(printed.contains(&format!(", {count}, ")), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_own_tools_print_the_same_as_directly() {
    compare(three().await, kafka::VERSION_DEFAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn share_groups_are_refused_in_words() {
    let kafka = three().await;
    let sidecar = Sidecar::start(&SidecarOptions::transparent(&kafka.bootstrap())).await;
    let topic = kafka.topics().create_unique("share", 1).await;
    let mut driver = Driver::start(Client::Java, &sidecar.bootstrap(), "share");
    let refused = driver.ask("share", json!({ "topic": topic })).await;
    let refused = refused.as_str().expect("words");
    assert!(refused.contains("UnsupportedVersion"), "{refused}");
}
