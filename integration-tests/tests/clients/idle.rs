//! What a checkpoint of an idle system does to a group's lag: the same as a transactional producer does.
//!
//! A marker takes an offset, as the commit marker of any transaction does. Whether a group's lag shows it depends on the client: some
//! move their position over control records and commit that, some commit one more than the last record.

use integration_tests::{
    Admin, AdminOptions, Kafka, Sidecar, SidecarOptions, checkpoints, topics::unique_name,
};
use serde_json::{Value, json};

use crate::{
    driver::{Client, Driver},
    log::ends,
    records::{PARTITIONS, of_codec},
    same::three,
};

struct Idler {
    client: Client,
    group: String,
    driver: Driver,
    _sidecar: Option<Sidecar>,
}

impl Idler {
    async fn begin(&mut self, topic: &str, enough: usize) {
        let asked = json!({ "topic": topic, "group": self.group, "enough": enough });
        self.driver.ask("idle", asked).await;
    }

    async fn end(&mut self, topic: &str) -> Value {
        let asked = json!({ "topic": topic, "group": self.group, "partitions": PARTITIONS });
        self.driver.ask("idle_end", asked).await
    }
}

/// The lag of every partition: the log's end less what is committed.
async fn lag(kafka: &Kafka, topic: &str, committed: &Value) -> Vec<i64> {
    let committed: Vec<i64> = serde_json::from_value(committed.clone()).expect("offsets");
    let ends = ends(kafka, topic, PARTITIONS).await;
    ends.iter()
        .zip(committed)
        .map(|(end, at)| end - at)
        .collect()
}

/// The lag of each client: after a transaction of another producer, and after a checkpoint.
pub async fn lags(kafka: &Kafka, clients: &[Client]) -> Vec<(Client, Vec<i64>)> {
    let records = of_codec("none");
    let old = [("retention.ms", "-1")];
    let (plain, transactional) = (unique_name("plain"), unique_name("transactional"));
    let mut writer = Driver::start(Client::Confluent, &kafka.bootstrap(), "writer");
    for topic in [&plain, &transactional] {
        kafka.topics().create_with(topic, PARTITIONS, &old).await;
    }
    writer
        .ask("produce", json!({ "topic": plain, "records": records }))
        .await;
    let committed = json!({
        "topic": transactional, "records": records, "transactional_id": transactional, "abort": false
    });
    writer.ask("transact", committed).await;
    let deployment = unique_name("idle");
    let admin = Admin::start(&AdminOptions {
        arguments: vec!["--deployment".into(), deployment.clone()],
        ..AdminOptions::over(&kafka.bootstrap())
    })
    .await;
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for client in clients {
        let group = unique_name(client.slug());
        let options = SidecarOptions {
            service: group.clone(),
            deployment: deployment.clone(),
            admin: Some(admin.url()),
            state: vec!["none".into()],
            ..SidecarOptions::transparent(&kafka.bootstrap())
        };
        let sidecar = Sidecar::start(&options).await;
        let driver = Driver::start(*client, &sidecar.bootstrap(), "idle");
        through.push(Idler {
            client: *client,
            group,
            driver,
            _sidecar: Some(sidecar),
        });
        let driver = Driver::start(*client, &kafka.bootstrap(), "idle");
        direct.push(Idler {
            client: *client,
            group: unique_name("direct"),
            driver,
            _sidecar: None,
        });
    }
    for (direct, through) in direct.iter_mut().zip(&mut through) {
        tokio::join!(
            direct.begin(&transactional, records.len()),
            through.begin(&plain, records.len())
        );
    }
    checkpoints::wait_connected(&admin, clients.len()).await;
    let attempts = checkpoints::take(&admin, "aligned").await;
    let (completed, reasons) = checkpoints::outcomes(&attempts);
    assert_eq!(completed, 1, "{reasons:#?}");
    let mut lags = Vec::new();
    for (direct, through) in direct.iter_mut().zip(&mut through) {
        let (usual, ours) = tokio::join!(direct.end(&transactional), through.end(&plain));
        let usual = lag(kafka, &transactional, &usual).await;
        let ours = lag(kafka, &plain, &ours).await;
        eprintln!(
            "{:?}: lag {usual:?} after a transaction, {ours:?} after a checkpoint",
            through.client
        );
        lags.push((through.client, usual, ours));
    }
    lags.into_iter()
        .map(|(client, usual, ours)| {
            assert_eq!(ours, usual, "{client:?}");
            (client, ours)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_checkpoint_leaves_the_lag_that_a_transaction_leaves() {
    let clients = [
        Client::Java,
        Client::Confluent,
        Client::Franz,
        Client::Aiokafka,
        Client::KafkaPython,
    ];
    lags(three().await, &clients).await;
}
