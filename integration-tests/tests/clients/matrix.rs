//! The table of clients in docs/clients.md: written by the full run, and held to the drivers there are by every run.

use std::{collections::BTreeMap, path::PathBuf};

use integration_tests::{Kafka, binaries::project_root, kafka};
use serde_json::{Value, json};

use crate::{
    driver::{Client, Driver},
    idle::lags,
    same::{compare, options},
    survive::survive,
    tools,
};

const BEGIN: &str = "<!-- the table is written by the full run: CUTLINE_CLIENTS=full -->\n";
const END: &str = "<!-- end of the table -->\n";
/// What has been compared for a client whose row stands in the table.
const COMPARED: &str =
    "cluster, records of every codec, groups, transactions, errors, restarts, lag";

/// All there are drivers for.
const ALL: [Client; 6] = [
    Client::Java,
    Client::JavaOldest,
    Client::Confluent,
    Client::Franz,
    Client::Aiokafka,
    Client::KafkaPython,
];

/// Whether everything is asked for.
fn is_full() -> bool {
    std::env::var("CUTLINE_CLIENTS").is_ok_and(|form| form == "full")
}

fn page() -> PathBuf {
    project_root().join("docs/clients.md")
}

/// Which clients are tried on a Kafka; those of today on the oldest, and the oldest on that of today.
fn cells() -> Vec<(&'static str, Client)> {
    [kafka::VERSION_DEFAULT, kafka::VERSION_OLDEST]
        .into_iter()
        .flat_map(|version| ALL.map(|client| (version, client)))
        .collect()
}

/// What of a client's group protocols a Kafka has.
pub fn groups(version: &str, about: &Value) -> Vec<String> {
    let groups = about["groups"].as_array().expect("a list");
    let groups = groups.iter().map(|group| group.as_str().expect("a text"));
    groups
        // KIP-848 is only a preview before 4.0.
        .filter(|group| *group != "consumer" || !version.starts_with("3."))
        .map(str::to_owned)
        .collect()
}

fn row(version: &str, about: &Value, lag: Option<&[i64]>) -> String {
    let codecs = about["codecs"].as_array().expect("a list");
    let codecs: Vec<_> = codecs.iter().filter_map(Value::as_str).collect();
    let lag = lag.map_or("—".to_owned(), |lag| lag[0].to_string());
    format!(
        "| {} | {} | {version} | {} | {} | {lag} | {COMPARED} |",
        about["client"].as_str().expect("a name"),
        about["version"].as_str().expect("a version"),
        groups(version, about).join(", "),
        codecs.join(", "),
    )
}

// The lag is measured, not known beforehand.
fn without_lag(row: &str) -> String {
    let mut cells: Vec<&str> = row.split('|').collect();
    if cells.len() > 6 {
        cells.remove(6);
    }
    cells.join("|")
}

async fn about(client: Client) -> Value {
    let mut driver = Driver::start(client, "127.0.0.1:1", "about");
    driver.ask("about", json!({})).await
}

#[tokio::test]
async fn the_table_has_a_row_for_every_driver_and_no_other() {
    let text = std::fs::read_to_string(page()).expect("docs/clients.md can be read");
    let (_, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (table, _) = rest.split_once(END).expect("the table's end");
    let rows: Vec<String> = table.lines().skip(2).map(without_lag).collect();
    let mut expected = Vec::new();
    for (version, client) in cells() {
        expected.push(without_lag(&row(version, &about(client).await, None)));
    }
    assert_eq!(
        rows, expected,
        "run `CUTLINE_CLIENTS=full cargo test -p integration-tests --test clients the_whole` to write it anew"
    );
}

/// Everything, on both versions; minutes.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_matrix_is_the_same_as_directly() {
    if !is_full() {
        return;
    }
    let mut rows = vec![
        "| client | version | Kafka | group protocols | codecs | lag after an idle checkpoint | compared with a direct connection |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for version in [kafka::VERSION_DEFAULT, kafka::VERSION_OLDEST] {
        let kafka = Kafka::start(options(version)).await;
        let mut abouts = BTreeMap::new();
        for client in ALL {
            eprintln!("{client:?} on Kafka {version}");
            abouts.insert(client, compare(&kafka, version, client).await);
        }
        let lags: BTreeMap<_, _> = lags(&kafka, &ALL).await.into_iter().collect();
        tools::compare(&kafka, version).await;
        drop(kafka);
        for through in [true, false] {
            for transactional in [true, false] {
                let who = ALL.map(|client| (client, transactional, through));
                survive(version, &who).await;
            }
        }
        for client in ALL {
            rows.push(row(
                version,
                &abouts[&client],
                lags.get(&client).map(Vec::as_slice),
            ));
        }
    }
    let text = std::fs::read_to_string(page()).expect("docs/clients.md can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let text = format!("{before}{BEGIN}{}\n{END}{after}", rows.join("\n"));
    std::fs::write(page(), text).expect("docs/clients.md can be written");
}
