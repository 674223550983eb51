//! Brokers restart one after another, then the sidecars: every client goes on, nothing is lost, everything stays in order, and with
//! transactions nothing is done twice. A checkpoint of all of them is taken while they work.
//!
//! Each client relays numbered records from one topic into a topic of its own. In the full form each does it directly beside, on the
//! same brokers at the same time, and without transactions as well as with them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use integration_tests::{
    Admin, AdminOptions, Kafka, Sidecar, SidecarOptions, checkpoints,
    flow::{Feed, FeedOptions},
    topics::unique_name,
    wait_until,
};
use serde_json::{Value, json};

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
/// How often a relay is asked how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often a whole topic is read again.
const READ_INTERVAL: Duration = Duration::from_secs(1);

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

/// One relay: which client, with or without transactions, through a sidecar or directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The library.
    pub client: Client,
    /// Whether records and positions are committed in transactions.
    pub transactional: bool,
    /// Whether a sidecar stands between.
    pub through: bool,
}

/// What a relay saw of a disturbance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that it did once more.
    pub repeated: u64,
    /// The names of the errors that reached it.
    pub errors: Vec<String>,
}

/// What a relay saw.
#[derive(Clone, Debug)]
pub struct Survived {
    /// Who.
    pub relay: Relay,
    /// While the brokers restarted, one after another.
    pub brokers: Outcome,
    /// When its sidecar restarted; nothing happened to those without.
    pub sidecar: Outcome,
}

struct Relaying {
    relay: Relay,
    driver: Driver,
    out: String,
    /// Records that it had done once more when it was ended last.
    repeated: u64,
    asked: Value,
    sidecar: Option<Sidecar>,
}

impl Relaying {
    async fn begin(&mut self) {
        self.driver.ask("relay", self.asked.clone()).await;
    }

    async fn done(&mut self) -> u64 {
        let done = self.driver.ask("relayed", json!({})).await;
        done.as_u64().expect("a count")
    }

    /// Stops it; what it saw since it began.
    async fn end(&mut self, kafka: &str, input: &str) -> Outcome {
        let told = self.driver.ask("relay_end", json!({})).await;
        let errors = serde_json::from_value(told["errors"].clone()).expect("names");
        let came = repeated(&numbers(kafka, &self.out).await).len();
        let fed = repeated(&numbers(kafka, input).await).len();
        let repeated = came.saturating_sub(fed) as u64;
        let outcome = Outcome {
            repeated: repeated.saturating_sub(self.repeated),
            errors,
        };
        self.repeated = repeated;
        eprintln!("{:?}: {outcome:?}", self.relay);
        outcome
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
        let arguments = [&["--deployment", &deployment], &PATIENT[..]].concat();
        let admin = Admin::start(&AdminOptions {
            arguments: arguments.into_iter().map(str::to_owned).collect(),
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

    async fn relay(&mut self, relay: Relay) {
        let service = unique_name(relay.client.slug());
        let kafka = self.kafka.bootstrap();
        let sidecar = if relay.through {
            let options = SidecarOptions {
                service: service.clone(),
                deployment: self.deployment.clone(),
                admin: Some(self.admin.url()),
                state: vec!["none".into()],
                ..SidecarOptions::transparent(&kafka)
            };
            Some(Sidecar::start(&options).await)
        } else {
            None
        };
        let bootstrap = sidecar.as_ref().map_or(kafka, Sidecar::bootstrap);
        let topics = self.kafka.topics();
        let out = topics.create_unique(&service, PARTITIONS).await;
        let mut asked = json!({
            "topic": self.input, "to": out, "group": service, "protocol": protocol(relay.client, &self.version)
        });
        if relay.transactional {
            asked["transactional_id"] = json!(service);
        }
        let mut relaying = Relaying {
            relay,
            driver: Driver::start(relay.client, &bootstrap, "relay"),
            out,
            repeated: 0,
            asked,
            sidecar,
        };
        relaying.begin().await;
        self.relays.push(relaying);
    }

    async fn progress(&mut self, after: &str) {
        let began = Instant::now();
        let mut goals = Vec::new();
        for relay in &mut self.relays {
            goals.push(relay.done().await + STEP);
        }
        for (relay, goal) in self.relays.iter_mut().zip(goals) {
            while relay.done().await < goal {
                assert!(
                    began.elapsed() < STEP_DEADLINE,
                    "{:?} does not go on {after}",
                    relay.relay
                );
                tokio::time::sleep(LOOK_INTERVAL).await;
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

    /// Ends every relay; what each saw since it began.
    async fn outcomes(&mut self) -> Vec<Outcome> {
        let kafka = self.kafka.bootstrap();
        let mut outcomes = Vec::new();
        for relay in &mut self.relays {
            outcomes.push(relay.end(&kafka, &self.input).await);
        }
        outcomes
    }

    /// Waits until every relay has done everything that was fed, and looks at the order. With transactions a relay does exactly
    /// what the input has, and that is not always each number once: librdkafka, which feeds it, may append a record twice when
    /// a leader changes, its idempotence notwithstanding (confluentinc/librdkafka#4953).
    async fn verify(&mut self, fed: &[u64]) {
        let input = numbers(&self.kafka.bootstrap(), &self.input).await;
        for relay in &self.relays {
            let (who, kafka, out) = (relay.relay, &self.kafka.bootstrap(), &relay.out);
            let what = format!("every record by {who:?}");
            wait_until(STEP_DEADLINE, &what, || async {
                let whole = holds_all(&numbers(kafka, out).await, &input);
                if !whole {
                    tokio::time::sleep(READ_INTERVAL).await;
                }
                whole
            })
            .await;
            let came = numbers(kafka, out).await;
            for (partition, fed) in (0..).zip(fed) {
                let mut seen = BTreeSet::new();
                let numbers = came[&partition].iter().copied();
                let first = numbers.filter(|number| seen.insert(*number));
                assert!(
                    first.eq(0..*fed),
                    "{who:?}: partition {partition} is out of order"
                );
            }
            assert!(
                !who.transactional || came == input,
                "{who:?}: done more than once {:?}, fed more than once {:?}",
                repeated(&came),
                repeated(&input)
            );
        }
    }
}

/// The numbers that came more than once, by partition.
fn repeated(came: &Numbers) -> Vec<(i32, u64)> {
    let mut repeated = Vec::new();
    for (partition, numbers) in came {
        let mut seen = BTreeSet::new();
        let again = numbers.iter().filter(|number| !seen.insert(**number));
        repeated.extend(again.map(|number| (*partition, *number)));
    }
    repeated
}

fn holds_all(came: &Numbers, input: &Numbers) -> bool {
    input.iter().all(|(partition, input)| {
        let came = came.get(partition).map_or(&[][..], Vec::as_slice);
        let distinct: BTreeSet<u64> = came.iter().copied().collect();
        came.len() >= input.len() && input.iter().all(|number| distinct.contains(number))
    })
}

/// Has `relays` work through the restarts, all at once; what each saw. Where not asked for `apart`, everything that was seen counts as seen
/// of the last restart: relays that leave their groups in between take their time.
pub async fn survive(version: &str, relays: &[Relay], apart: bool) -> Vec<Survived> {
    let mut world = World::start(version).await;
    for relay in relays {
        world.relay(*relay).await;
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
    world.roll_brokers().await;
    let mut brokers = vec![Outcome::default(); relays.len()];
    if apart {
        brokers = world.outcomes().await;
        for relay in &mut world.relays {
            relay.begin().await;
        }
        world.progress("once more").await;
    }
    world.restart_sidecars().await;
    let fed = feed.stop();
    world.verify(&fed).await;
    let sidecar = world.outcomes().await;
    eprintln!("{} records fed", fed.iter().sum::<u64>());
    let seen = brokers.into_iter().zip(sidecar);
    (relays.iter().zip(seen))
        .map(|(relay, (brokers, sidecar))| Survived {
            relay: *relay,
            brokers,
            sidecar,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_brokers_and_sidecars_are_survived() {
    let relay = |client, transactional| Relay {
        client,
        transactional,
        through: true,
    };
    let relays = [
        relay(Client::Java, true),
        relay(Client::Confluent, false),
        relay(Client::Franz, true),
        relay(Client::Aiokafka, false),
        relay(Client::KafkaPython, false),
    ];
    survive(integration_tests::kafka::VERSION_DEFAULT, &relays, false).await;
}
