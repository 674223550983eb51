//! A checkpoint of clients that read what is committed, while much of what they are given is not for them to see.
//!
//! Transactions commit and abort on the topic they read; the last records in it are aborted ones. Such clients commit one past the last
//! record they saw, or one past the aborted ones: either is finished. A checkpoint completes among such records and, when all stands
//! still, at the first attempt.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use integration_tests::{
    Admin, AdminOptions, Kafka, Sidecar, SidecarOptions, checkpoints, topics::unique_name, wait_for,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    driver::{Client, Driver},
    records::{PARTITIONS, of_codec},
    same::three,
};

/// Records given between two looks.
const ROUND: usize = 36;
/// How long a relay may take for what it was given.
const DEADLINE: Duration = Duration::from_secs(60);

struct Relay {
    client: Client,
    driver: Driver,
    _sidecar: Sidecar,
}

impl Relay {
    async fn start(
        kafka: &Kafka,
        admin: &Admin,
        deployment: &str,
        topic: &str,
        client: Client,
    ) -> Self {
        let service = unique_name(client.slug());
        let sidecar = Sidecar::start(&SidecarOptions {
            service: service.clone(),
            deployment: deployment.to_owned(),
            admin: Some(admin.url()),
            state: vec!["none".into()],
            ..SidecarOptions::transparent(&kafka.bootstrap())
        })
        .await;
        let mut driver = Driver::start(client, &sidecar.bootstrap(), "drain");
        let out = kafka.topics().create_unique(&service, PARTITIONS).await;
        let asked = json!({
            "topic": topic, "to": out, "group": service, "protocol": "range", "transactional_id": service
        });
        driver.ask("relay", asked).await;
        Self {
            client,
            driver,
            _sidecar: sidecar,
        }
    }

    /// Waits until it has done so many records.
    async fn wait_done(&mut self, goal: u64) {
        let what = format!("{:?} to have relayed {goal} records", self.client);
        let driver = tokio::sync::Mutex::new(&mut self.driver);
        let done = wait_for(DEADLINE, &what, || async {
            let done = driver.lock().await.ask("relayed", json!({})).await;
            done.as_u64().filter(|done| *done >= goal)
        })
        .await;
        assert_eq!(done, goal, "{:?} sees what is committed only", self.client);
    }
}

/// Commits half a round and aborts the other half, again and again until told to stop; how many records it committed.
fn transact(kafka: &Kafka, topic: &str, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    let mut writer = Driver::start(Client::Confluent, &kafka.bootstrap(), "writer");
    let asked = json!({
        "topic": topic, "records": of_codec("none"), "transactional_id": unique_name("writer")
    });
    tokio::spawn(async move {
        let mut committed = 0;
        while !stop.load(Ordering::Relaxed) {
            writer.ask("transact", asked.clone()).await;
            committed += ROUND as u64 / 2;
        }
        committed
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_completes_among_aborted_records() {
    let kafka = three().await;
    let (topic, deployment) = (unique_name("aborted"), unique_name("drain"));
    // The records are old: nothing may be thrown away for it.
    let settings = [("retention.ms", "-1")];
    kafka
        .topics()
        .create_with(&topic, PARTITIONS, &settings)
        .await;
    let admin = Admin::start(&AdminOptions {
        arguments: vec!["--deployment".into(), deployment.clone()],
        ..AdminOptions::over(&kafka.bootstrap())
    })
    .await;
    let mut relays = Vec::new();
    for client in [Client::Franz, Client::Java, Client::Confluent] {
        relays.push(Relay::start(kafka, &admin, &deployment, &topic, client).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = transact(kafka, &topic, stop.clone());
    checkpoints::wait_connected(&admin, relays.len()).await;
    for mode in ["aligned", "unaligned"] {
        let (completed, reasons) = checkpoints::outcomes(&checkpoints::take(&admin, mode).await);
        eprintln!("{mode}, among transactions: {reasons:?}");
        assert_eq!(completed, 1, "{mode}: {reasons:#?}");
    }
    stop.store(true, Ordering::Relaxed);
    let committed = writing.await.expect("the writer goes on");
    for relay in &mut relays {
        relay.wait_done(committed).await;
    }
    for mode in ["unaligned", "aligned"] {
        let (_, reasons) = checkpoints::outcomes(&checkpoints::take(&admin, mode).await);
        assert_eq!(reasons, BTreeMap::new(), "{mode}, when all stands still");
    }
}
