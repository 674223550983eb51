//! Steady state: what checkpoints leave untouched while they are taken every second.
//!
//! Records flow from a feed through two services behind sidecars. One consumer without a sidecar and one behind a sidecar read all of
//! the topics while that happens: both see exactly the business records, each once and in order, and the second sees what the first
//! sees, byte by byte. `CUTLINE_STEADY_SECONDS` makes it last longer, and want the whole rate; `CUTLINE_STEADY_FULL=1` puts the
//! store in S3 and the states in PostgreSQL and Redis.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, KafkaOptions, Run, Services, Sidecar, SidecarOptions, checkpoints,
    flow::{Feed, FeedOptions, Relay, RelayOptions, Track, Watch, WatchOptions},
    topics::unique_name,
    wait_until,
};

const SECONDS_DEFAULT: u64 = 15;
const RECORDS_PER_SECOND: u64 = 20_000;
/// What the feed must reach when the test is the measured one: a busy machine proves nothing about it.
const RECORDS_PER_SECOND_MIN: f64 = 18_000.0;
const VALUE_BYTES: usize = 150;
const PARTITIONS: i32 = 4;
const SERVICES: [&str; 2] = ["first", "second"];
const STATE_BYTES: usize = 1 << 20;
const INTERVAL: Duration = Duration::from_secs(1);
const ARRIVE_DEADLINE: Duration = Duration::from_secs(90);
const MODE: &str = "aligned";

/// A feed into `topics[0]`, a service from each topic to the next, and a reader of all of them behind a sidecar of its own.
struct World {
    kafka: Kafka,
    admin: Admin,
    _services: Option<Services>,
    topics: Vec<String>,
    relays: Vec<Relay>,
    sidecars: Vec<Sidecar>,
    reader: Watch,
    direct: Watch,
}

impl World {
    async fn start() -> Self {
        let kafka = Kafka::start(KafkaOptions {
            heap_mib: 768,
            optimised: true,
            ..KafkaOptions::default()
        })
        .await;
        let mut topics = Vec::new();
        for _ in 0..3 {
            topics.push(kafka.topics().create_unique("steady", PARTITIONS).await);
        }
        let deployment = unique_name("steady");
        let mut over = AdminOptions {
            arguments: vec!["--deployment".into(), deployment.clone()],
            ..AdminOptions::over(&kafka.bootstrap())
        };
        let (services, states) = states(&deployment).await;
        if let Some(services) = &services {
            over = services.under(over, &deployment);
        }
        let admin = Admin::start(&over).await;
        let sidecar = |service: &str, state: String| {
            // Not as a flag: it may hold a password.
            let mut environment = vec![("CUTLINE_STATE".into(), state)];
            environment.extend(services.iter().flat_map(Services::environment));
            SidecarOptions {
                service: service.into(),
                deployment: deployment.clone(),
                admin: Some(admin.url()),
                environment,
                ..SidecarOptions::transparent(&kafka.bootstrap())
            }
        };
        let (mut sidecars, mut relays) = (Vec::new(), Vec::new());
        for (at, (service, state)) in SERVICES.into_iter().zip(states).enumerate() {
            let beside = Sidecar::start(&sidecar(service, state)).await;
            relays.push(Relay::start(RelayOptions {
                state: Some(state_directory(service)),
                ..RelayOptions::between(
                    &beside.bootstrap(),
                    &format!("{deployment}-{service}"),
                    &topics[at],
                    Some(&topics[at + 1]),
                )
            }));
            sidecars.push(beside);
        }
        let beside = Sidecar::start(&sidecar("reader", "none".into())).await;
        let reader = Watch::start(WatchOptions {
            bootstrap: beside.bootstrap(),
            topics: topics.clone(),
            partitions: PARTITIONS,
            group: Some(format!("{deployment}-reader")),
            read_committed: true,
        });
        sidecars.push(beside);
        let direct = Watch::start(WatchOptions {
            bootstrap: kafka.bootstrap(),
            topics: topics.clone(),
            partitions: PARTITIONS,
            group: None,
            // What was aborted would show: nothing may be there that is not the business's.
            read_committed: false,
        });
        Self {
            kafka,
            admin,
            _services: services,
            topics,
            relays,
            sidecars,
            reader,
            direct,
        }
    }

    fn feed(&self) -> Feed {
        Feed::start(FeedOptions {
            bootstrap: self.kafka.bootstrap(),
            topic: self.topics[0].clone(),
            partitions: PARTITIONS,
            records_per_second: Some(RECORDS_PER_SECOND),
            value_bytes: VALUE_BYTES,
            records_max: None,
        })
    }

    async fn wait_arrived(&self, fed: u64) {
        for watch in [&self.direct, &self.reader] {
            for topic in &self.topics {
                wait_until(
                    ARRIVE_DEADLINE,
                    &format!("{fed} records in {topic}"),
                    || async move { watch.records(topic) >= fed },
                )
                .await;
            }
        }
    }

    /// Ends everything: what the reader without a sidecar saw, and the one behind a sidecar.
    fn stop(self) -> [BTreeMap<(String, i32), Track>; 2] {
        for relay in self.relays {
            let told = relay.stop();
            assert_eq!(told.failures, Vec::<String>::new());
        }
        let watches = [self.direct, self.reader].map(|watch| {
            let (tracks, errors) = watch.stop();
            assert_eq!(errors, Vec::<String>::new());
            tracks
        });
        drop(self.sidecars);
        watches
    }
}

/// What each service's state is, and what it stands on.
async fn states(deployment: &str) -> (Option<Services>, [String; 2]) {
    if std::env::var_os("CUTLINE_STEADY_FULL").is_none() {
        let directory = |service| format!("dir:{}", state_directory(service).display());
        return (None, SERVICES.map(directory));
    }
    let services = Services::start().await;
    let table = services.table("steady", STATE_BYTES).await;
    let keys = services.keys(&format!("{deployment}:"), STATE_BYTES).await;
    (Some(services), [table, keys])
}

fn state_directory(service: &str) -> PathBuf {
    let directory = Run::this().part(&format!("state-{service}")).join("data");
    std::fs::create_dir_all(&directory).expect("the run's directory can be written");
    directory
}

fn seconds() -> u64 {
    std::env::var("CUTLINE_STEADY_SECONDS").map_or(SECONDS_DEFAULT, |text| {
        text.parse().expect("CUTLINE_STEADY_SECONDS is a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_every_second_change_nothing_that_a_consumer_sees() {
    let world = World::start().await;
    let feed = world.feed();
    checkpoints::wait_connected(&world.admin, world.sidecars.len()).await;
    let (before, during) = (feed.sent(), Duration::from_secs(seconds()));
    let attempts = checkpoints::every(&world.admin, INTERVAL, MODE, during).await;
    let rate = (feed.sent() - before) as f64 / during.as_secs_f64();
    let fed = feed.stop();
    let total: u64 = fed.iter().sum();
    world.wait_arrived(total).await;
    let topics = world.topics.clone();
    let [direct, behind] = world.stop();

    for topic in &topics {
        for (partition, expected) in (0..).zip(&fed) {
            let track = &direct[&(topic.clone(), partition)];
            assert_eq!(track.problems, Vec::<String>::new(), "{topic}-{partition}");
            assert_eq!(track.records, *expected, "{topic}-{partition}");
        }
    }
    assert_eq!(behind, direct, "bytes, offsets and order are the same");
    let (completed, reasons) = checkpoints::outcomes(&attempts);
    eprintln!(
        "{total} records, {rate:.0} a second; {completed} of {} checkpoints completed; the others: {reasons:#?}",
        attempts.len()
    );
    if std::env::var_os("CUTLINE_STEADY_SECONDS").is_some() {
        assert!(
            rate >= RECORDS_PER_SECOND_MIN,
            "only {rate:.0} records a second"
        );
    }
    assert!(
        completed * 2 > attempts.len(),
        "{completed} of {} completed: {reasons:#?}",
        attempts.len()
    );
}
