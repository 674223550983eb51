//! The whole matrix, every client on every Kafka, and what docs/clients.md says of it.
//!
//! The full run (`CUTLINE_CLIENTS=full`) compares everything and writes the tables. Every run holds the tables to the drivers there
//! are: to their names, versions, group protocols and codecs.

use std::collections::BTreeMap;

use integration_tests::{Kafka, kafka};
use serde_json::{Value, json};

use crate::{
    driver::{Client, Driver},
    idle::lags,
    page::{Row, Table, VERSIONS},
    same::{compare, options},
    survive::{Outcome, Relay, Survived, survive},
    tools,
};

/// What is the same in quiet times.
const SAME: Table = Table {
    name: "clients",
    columns: &[
        "client",
        "version",
        "Kafka",
        "group protocols",
        "codecs",
        "lag after an idle checkpoint",
    ],
};
/// What is survived.
const RESTARTS: Table = Table {
    name: "restarts",
    columns: &[
        "client",
        "version",
        "Kafka",
        "transactions",
        "brokers restart: directly",
        "brokers restart: through a sidecar",
        "the sidecar restarts",
    ],
};

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

/// What of a client's group protocols a Kafka has.
pub fn groups(version: &str, about: &Value) -> Vec<String> {
    let groups = texts(about, "groups").into_iter();
    groups
        // KIP-848 is only a preview before 4.0.
        .filter(|group| group != "consumer" || !version.starts_with("3."))
        .collect()
}

fn texts(about: &Value, what: &str) -> Vec<String> {
    let texts = about[what].as_array().expect("a list").iter();
    texts
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

async fn abouts() -> BTreeMap<Client, Value> {
    let mut abouts = BTreeMap::new();
    for client in ALL {
        let mut driver = Driver::start(client, "127.0.0.1:1", "about");
        abouts.insert(client, driver.ask("about", json!({})).await);
    }
    abouts
}

fn key(version: &str, about: &Value) -> Row {
    let text = |what: &str| about[what].as_str().expect("a text").to_owned();
    vec![text("client"), text("version"), version.to_owned()]
}

fn same_row(version: &str, about: &Value) -> Row {
    let mut row = key(version, about);
    row.push(groups(version, about).join(", "));
    row.push(texts(about, "codecs").join(", "));
    row
}

fn restart_row(version: &str, about: &Value, transactional: bool) -> Row {
    let mut row = key(version, about);
    row.push(if transactional { "yes" } else { "no" }.to_owned());
    row
}

fn told(outcome: &Outcome) -> String {
    let repeated = match outcome.repeated {
        0 => "none twice".to_owned(),
        some => format!("{some} twice"),
    };
    if outcome.errors.is_empty() {
        repeated
    } else {
        format!("{repeated}; {}", outcome.errors.join(", "))
    }
}

fn beginnings(table: &Table, columns: usize) -> Vec<Row> {
    let rows = table.rows();
    for row in &rows {
        assert_eq!(row.len(), table.columns.len(), "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    rows.into_iter()
        .map(|row| row[..columns].to_vec())
        .collect()
}

#[tokio::test]
async fn the_tables_have_a_row_for_every_driver_and_kafka_and_no_other() {
    let abouts = abouts().await;
    let (mut same, mut restarts) = (Vec::new(), Vec::new());
    for version in VERSIONS {
        for client in ALL {
            same.push(same_row(version, &abouts[&client]));
        }
        for transactional in [false, true] {
            for client in ALL {
                restarts.push(restart_row(version, &abouts[&client], transactional));
            }
        }
    }
    let cure = "write it anew: CUTLINE_CLIENTS=full cargo test --release -p integration-tests --test clients whole_";
    assert_eq!(beginnings(&SAME, 5), same, "{cure}");
    assert_eq!(beginnings(&RESTARTS, 4), restarts, "{cure}");
}

async fn the_whole_of(version: &str) {
    if !is_full() {
        return;
    }
    let kafka = Kafka::start(options(version)).await;
    let mut rows = Vec::new();
    for client in ALL {
        eprintln!("{client:?} on Kafka {version}");
        let about = compare(&kafka, version, client).await;
        rows.push(same_row(version, &about));
    }
    tools::compare(&kafka, version).await;
    let lags: BTreeMap<_, _> = lags(&kafka, &ALL).await.into_iter().collect();
    for (client, row) in ALL.iter().zip(&mut rows) {
        let lag = &lags[client];
        assert!(
            lag.iter().all(|each| *each == lag[0]),
            "{client:?}: {lag:?}"
        );
        row.push(match lag[0] {
            0 => "0".to_owned(),
            some => format!("{some} per partition"),
        });
    }
    SAME.rewrite(version, rows);
}

async fn the_whole_of_restarts(version: &str) {
    if !is_full() {
        return;
    }
    let abouts = abouts().await;
    let mut rows = Vec::new();
    for transactional in [false, true] {
        let relays: Vec<Relay> = ALL
            .into_iter()
            .flat_map(|client| {
                [false, true].map(|through| Relay {
                    client,
                    transactional,
                    through,
                })
            })
            .collect();
        for pair in survive(version, &relays, true).await.chunks(2) {
            let [direct, through] = pair else {
                unreachable!("each client twice")
            };
            rows.push(compared(
                version,
                &abouts[&direct.relay.client],
                direct,
                through,
            ));
        }
    }
    RESTARTS.rewrite(version, rows);
}

fn compared(version: &str, about: &Value, direct: &Survived, through: &Survived) -> Row {
    let mut row = restart_row(version, about, direct.relay.transactional);
    row.push(told(&direct.brokers));
    row.push(told(&through.brokers));
    row.push(told(&through.sidecar));
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_matrix_on_the_kafka_of_today_is_the_same_as_directly() {
    the_whole_of(kafka::VERSION_DEFAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_matrix_on_the_oldest_kafka_is_the_same_as_directly() {
    the_whole_of(kafka::VERSION_OLDEST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_restarts_on_the_kafka_of_today_is_survived_as_directly() {
    the_whole_of_restarts(kafka::VERSION_DEFAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_restarts_on_the_oldest_kafka_is_survived_as_directly() {
    the_whole_of_restarts(kafka::VERSION_OLDEST).await;
}
