//! Brokers restart one after another, then the sidecars: every client goes on and nothing is lost, and with transactions nothing
//! is done twice. A checkpoint of all of them is taken while they work.
//!
//! Each client relays numbered records from one topic into a topic of its own. In the full form each does it directly too, and
//! without transactions as well as with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use integration_tests::{
    Admin, AdminOptions, Kafka, Sidecar, SidecarOptions, checkpoints,
    flow::{Feed, FeedOptions},
    topics::unique_name,
    wait_until,
};
use serde_json::json;

use crate::{
    driver::{Client, Driver},
    log::{Numbers, numbers},
    records::PARTITIONS,
    same::options,
};

const RECORDS_PER_SECOND: u64 = 150;
/// Records that every relay must get through between two disturbances.
const STEP: u64 = 150;
/// How long a relay may take for that after one; a transaction that a broker took down with it times out in a minute.
const STEP_DEADLINE: Duration = Duration::from_secs(120);

/// A checkpoint's deadlines, for a machine that has more to do than the clients have: still within their request timeouts.
const PATIENT: [&str; 10] = [
    "--max-pause",
    "25s",
    "--checkpoint-alignment-timeout",
    "4s",
    "--drain-timeout",
    "12s",
    "--checkpoint-mark-timeout",
    "5s",
    "--checkpoint-retries",
    "5",
];

struct Relaying {
    client: Client,
    driver: Driver,
    out: String,
    transactional: bool,
    sidecar: Option<Sidecar>,
}

impl Relaying {
    fn name(&self) -> String {
        let way = if self.sidecar.is_some() {
            "through a sidecar"
        } else {
            "directly"
        };
        let how = if self.transactional {
            "with transactions"
        } else {
            "without transactions"
        };
        format!("{:?} {way} {how}", self.client)
    }

    async fn done(&mut self) -> u64 {
        let done = self.driver.ask("relayed", json!({})).await;
        done.as_u64().expect("a count")
    }
}

/// The group protocol that a client relays with: between them, all there are.
fn protocol(client: Client, version: &str) -> &'static str {
    let new = !version.starts_with("3.");
    match client {
        Client::Java | Client::Confluent if new => "consumer",
        Client::Java | Client::Confluent | Client::Franz => "cooperative",
        Client::JavaOldest | Client::KafkaPython => "range",
        Client::Aiokafka => "sticky",
    }
}

struct World {
    kafka: Kafka,
    version: String,
    admin: Admin,
    deployment: String,
    input: String,
    relays: Vec<Relaying>,
}

impl World {
    async fn start(version: &str) -> Self {
        let kafka = Kafka::start(options(version)).await;
        let input = kafka.topics().create_unique("numbers", PARTITIONS).await;
        let deployment = unique_name("survive");
        let admin = Admin::start(&AdminOptions {
            arguments: [&["--deployment", &deployment], &PATIENT[..]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ..AdminOptions::over(&kafka.bootstrap())
        })
        .await;
        Self {
            kafka,
            version: version.into(),
            admin,
            deployment,
            input,
            relays: Vec::new(),
        }
    }

    async fn relay(&mut self, client: Client, transactional: bool, through: bool) {
        let service = unique_name(client.slug());
        let sidecar = if through {
            let options = SidecarOptions {
                service: service.clone(),
                deployment: self.deployment.clone(),
                admin: Some(self.admin.url()),
                state: vec!["none".into()],
                ..SidecarOptions::transparent(&self.kafka.bootstrap())
            };
            Some(Sidecar::start(&options).await)
        } else {
            None
        };
        let direct = self.kafka.bootstrap();
        let bootstrap = sidecar.as_ref().map_or(direct, Sidecar::bootstrap);
        let mut driver = Driver::start(client, &bootstrap, "relay");
        let out = self
            .kafka
            .topics()
            .create_unique(&service, PARTITIONS)
            .await;
        let mut asked = json!({ "topic": self.input, "to": out, "group": service, "protocol": protocol(client, &self.version) });
        if transactional {
            asked["transactional_id"] = json!(service);
        }
        driver.ask("relay", asked).await;
        self.relays.push(Relaying {
            client,
            driver,
            out,
            transactional,
            sidecar,
        });
    }

    async fn progress(&mut self, after: &str) {
        let began = std::time::Instant::now();
        for relay in &mut self.relays {
            let (name, goal) = (relay.name(), relay.done().await + STEP);
            while relay.done().await < goal {
                assert!(
                    began.elapsed() < STEP_DEADLINE,
                    "{name} does not go on {after}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        eprintln!("all went on {after}: {:?}", began.elapsed());
    }

    async fn checkpoint(&self) {
        let sidecars = self.relays.iter().filter(|relay| relay.sidecar.is_some());
        checkpoints::wait_connected(&self.admin, sidecars.count()).await;
        let attempts = checkpoints::take(&self.admin, "aligned").await;
        let (completed, reasons) = checkpoints::outcomes(&attempts);
        assert_eq!(completed, 1, "{reasons:#?}");
        eprintln!("a checkpoint of all completed, after {reasons:?}");
    }

    async fn roll_brokers(&mut self) {
        for index in 0..3 {
            self.kafka.broker(index).terminate();
            self.kafka.broker(index).start_again();
            self.kafka.wait_ready().await;
            self.progress(&format!("after broker {} restarted", index + 1))
                .await;
        }
    }

    async fn restart_sidecars(&mut self) {
        for (at, relay) in self.relays.iter_mut().enumerate() {
            if let Some(sidecar) = &mut relay.sidecar {
                sidecar.restart(at % 2 == 0).await;
            }
        }
        self.progress("after its sidecar restarted").await;
    }

    async fn verify(&mut self, fed: &[u64]) {
        for relay in &mut self.relays {
            let (name, kafka, out) = (relay.name(), self.kafka.bootstrap(), relay.out.clone());
            wait_until(STEP_DEADLINE, &format!("{name}: every record"), || {
                let (kafka, out) = (kafka.clone(), out.clone());
                async move { holds_all(&numbers(&kafka, &out).await, fed) }
            })
            .await;
            let came = numbers(&kafka, &out).await;
            for (partition, fed) in (0..).zip(fed) {
                let mut seen = BTreeSet::new();
                let first: Vec<u64> = came[&partition]
                    .iter()
                    .copied()
                    .filter(|number| seen.insert(*number))
                    .collect();
                assert!(
                    first.iter().copied().eq(0..*fed),
                    "{name}: partition {partition} is out of order"
                );
            }
            let count: usize = came.values().map(Vec::len).sum();
            let repeated = count as u64 - fed.iter().sum::<u64>();
            let told = relay.driver.ask("relay_end", json!({})).await;
            eprintln!("{name}: {repeated} repeated, errors {}", told["errors"]);
            assert!(
                !relay.transactional || repeated == 0,
                "{name}: {repeated} done twice"
            );
        }
    }
}

fn holds_all(came: &Numbers, fed: &[u64]) -> bool {
    (0..).zip(fed).all(|(partition, fed)| {
        let distinct: BTreeSet<u64> = came
            .get(&partition)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        distinct.len() as u64 == *fed
    })
}

/// Who relays: with transactions?, through a sidecar?
pub async fn survive(version: &str, who: &[(Client, bool, bool)]) {
    let mut world = World::start(version).await;
    for (client, transactional, through) in who {
        world.relay(*client, *transactional, *through).await;
    }
    let feed = Feed::start(FeedOptions {
        bootstrap: world.kafka.bootstrap(),
        topic: world.input.clone(),
        partitions: PARTITIONS,
        records_per_second: Some(RECORDS_PER_SECOND),
        value_bytes: 100,
        records_max: None,
    });
    world.progress("at first").await;
    world.checkpoint().await;
    world.progress("after the checkpoint").await;
    world.roll_brokers().await;
    world.restart_sidecars().await;
    let fed = feed.stop();
    world.verify(&fed).await;
    let sums: BTreeMap<&str, u64> = BTreeMap::from([("fed", fed.iter().sum())]);
    eprintln!("{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_brokers_and_sidecars_are_survived() {
    let who = [
        (Client::Java, true, true),
        (Client::Confluent, false, true),
        (Client::Franz, false, true),
        (Client::Aiokafka, false, true),
        (Client::KafkaPython, false, true),
    ];
    survive(integration_tests::kafka::VERSION_DEFAULT, &who).await;
}
