//! Two services in a row behind sidecars: `a` passes `in` on to `mid`, `b` passes `mid` on to `out`; a feed fills `in`.
//!
//! Every record carries its number, so that one that is missing, comes twice or was rolled back and still seen shows.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use integration_tests::{
    Admin, AdminOptions, Kafka, Run, Sidecar, SidecarOptions, checkpoints,
    flow::{Feed, FeedOptions, Watch, WatchOptions},
    restores,
    topics::unique_name,
    wait_until,
};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde_json::{Value, json};

use super::{
    ledger::{Ledger, LedgerOptions},
    points,
};

pub const RESTORE_DEADLINE: Duration = Duration::from_secs(180);
pub const FLOW_DEADLINE: Duration = Duration::from_secs(90);
const RATE: u64 = 300;

pub struct Options {
    pub instances: usize,
    pub partitions: i32,
    pub kip848: bool,
    /// Whether everybody can be made to die at a crash point.
    pub crashing: bool,
    /// Other flags of the admin API.
    pub flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instances: 1,
            partitions: 2,
            kip848: false,
            crashing: false,
            flags: Vec::new(),
        }
    }
}

/// An instance of a service with its sidecar.
pub struct App {
    pub sidecar: Sidecar,
    pub ledger: Option<Ledger>,
    pub options: LedgerOptions,
}

impl App {
    pub fn state(&self) -> &PathBuf {
        &self.options.state
    }

    pub fn start(&mut self) {
        self.ledger = Some(Ledger::start(self.options.clone()));
    }

    /// Stops the application; its sidecar stays. What it had to complain about.
    pub fn stop(&mut self) -> Vec<String> {
        self.ledger.take().map(Ledger::stop).unwrap_or_default()
    }
}

pub struct World {
    pub kafka: &'static Kafka,
    pub admin: Admin,
    pub deployment: String,
    pub options: Options,
    pub a: Vec<App>,
    pub b: Vec<App>,
    pub feed: Option<Feed>,
}

impl World {
    pub async fn start(options: Options) -> Self {
        Self::start_on(Kafka::shared().await, options).await
    }

    /// The same on a Kafka of another kind.
    pub async fn start_on(kafka: &'static Kafka, options: Options) -> Self {
        let mut world = Self::idle_on(kafka, options).await;
        world.start_feed();
        world.wait_for_flow(100).await;
        world
    }

    /// Everything but the feed.
    pub async fn idle(options: Options) -> Self {
        Self::idle_on(Kafka::shared().await, options).await
    }

    /// The same on a Kafka of another kind.
    pub async fn idle_on(kafka: &'static Kafka, options: Options) -> Self {
        let deployment = unique_name("restore");
        let mut over = AdminOptions::over(&kafka.bootstrap());
        over.arguments = vec!["--deployment".into(), deployment.clone()];
        over.arguments.extend(options.flags.iter().cloned());
        if options.crashing {
            over.environment = points::environment("admin");
            // One attempt is what is looked at.
            let single = ["--checkpoint-retries", "0"];
            over.arguments.extend(single.map(str::to_owned));
        }
        let admin = Admin::start(&over).await;
        let mut world = Self {
            kafka,
            admin,
            deployment,
            options,
            a: Vec::new(),
            b: Vec::new(),
            feed: None,
        };
        for topic in ["in", "mid", "out"] {
            let name = world.topic(topic);
            kafka.topics().create(&name, world.options.partitions).await;
        }
        for instance in 0..world.options.instances {
            let a = world.app("a", instance, "in", Some("mid")).await;
            world.a.push(a);
            let b = world.app("b", instance, "mid", Some("out")).await;
            world.b.push(b);
        }
        for app in world.a.iter_mut().chain(&mut world.b) {
            app.start();
        }
        checkpoints::wait_connected(&world.admin, 2 * world.options.instances).await;
        world
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.deployment)
    }

    pub fn group(&self, service: &str) -> String {
        format!("{}.{service}", self.deployment)
    }

    pub fn sidecar_options(&self, service: &str, instance: &str) -> SidecarOptions {
        SidecarOptions {
            service: service.into(),
            instance: instance.into(),
            deployment: self.deployment.clone(),
            admin: Some(self.admin.url()),
            ..SidecarOptions::transparent(&self.kafka.bootstrap())
        }
    }

    /// An instance of `service` that is not started yet, behind a sidecar that is.
    pub async fn app(&self, service: &str, instance: usize, from: &str, to: Option<&str>) -> App {
        let state = Run::this().part(&format!("state-{service}-{instance}"));
        let mut options = self.sidecar_options(service, &instance.to_string());
        options.state = vec![format!("dir:{}", state.display())];
        if self.options.crashing {
            options.environment = points::environment(service);
        }
        let sidecar = Sidecar::start(&options).await;
        let several = self.options.instances > 1;
        let options = LedgerOptions {
            bootstrap: sidecar.bootstrap(),
            group: self.group(service),
            instance: several.then(|| format!("{service}-{instance}")),
            kip848: self.options.kip848,
            from: self.topic(from),
            to: to.map(|to| self.topic(to)),
            state,
        };
        App {
            sidecar,
            ledger: None,
            options,
        }
    }

    pub fn start_feed(&mut self) {
        self.feed = Some(Feed::start(FeedOptions {
            bootstrap: self.kafka.bootstrap(),
            topic: self.topic("in"),
            partitions: self.options.partitions,
            records_per_second: Some(RATE),
            value_bytes: 100,
            records_max: None,
        }));
    }

    /// Waits until `b` has taken so many records more.
    pub async fn wait_for_flow(&self, records: u64) {
        let taken = || {
            self.b
                .iter()
                .filter_map(|app| app.ledger.as_ref())
                .map(Ledger::records)
                .sum::<u64>()
        };
        let goal = taken() + records;
        wait_until(FLOW_DEADLINE, "records to flow", || async {
            taken() >= goal
        })
        .await;
    }

    /// Takes a checkpoint.
    pub async fn checkpoint(&self, mode: &str) -> u64 {
        checkpoints::completed(&self.admin, mode, FLOW_DEADLINE).await
    }

    /// Begins a restore; its id.
    pub async fn begin(&self, request: &Value) -> String {
        let (status, view) = self.admin.post("/v1/restores", request).await;
        assert_eq!(status, 202, "{view}");
        view["id"].as_str().unwrap().to_owned()
    }

    /// The restore once it is over.
    pub async fn ended(&self, id: &str) -> Value {
        restores::ended(&self.admin, id, RESTORE_DEADLINE).await
    }

    pub async fn restore(&self, request: &Value) -> Value {
        let id = self.begin(request).await;
        let began = Instant::now();
        let view = self.ended(&id).await;
        assert_eq!(view["status"], "COMPLETED", "{view}");
        eprintln!("restore {id} took {:?}", began.elapsed());
        view
    }

    /// The plan of a restore.
    pub async fn plan(&self, mut request: Value) -> Value {
        request["dry_run"] = json!(true);
        let (status, plan) = self.admin.post("/v1/restores", &request).await;
        assert_eq!(status, 200, "{plan}");
        plan
    }

    /// The codes of what stands against a restore.
    pub async fn codes(&self, request: Value) -> Vec<String> {
        let plan = self.plan(request).await;
        let problems = plan["problems"].as_array().unwrap().iter();
        problems
            .map(|problem| problem["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends the feed and lets everything flow through; then what a reader without a group sees of `mid` and `out` must be
    /// every record once and in order, and nobody may have had anything to complain about.
    pub async fn settle_and_check(&mut self, reader: &str) {
        let sent = self.feed.take().map(Feed::stop).unwrap_or_default();
        self.settle_and_check_against(reader, (0..).zip(sent).collect())
            .await;
    }

    /// The same when the feed has ended before, having sent so many to each partition.
    pub async fn settle_and_check_against(&mut self, reader: &str, end: BTreeMap<i32, u64>) {
        let total: u64 = end.values().sum();
        wait_until(FLOW_DEADLINE, "everything to flow through", || async {
            [&self.a, &self.b].iter().all(|apps| self.due(apps) == end)
        })
        .await;
        let problems: Vec<String> = self
            .a
            .iter_mut()
            .chain(&mut self.b)
            .flat_map(App::stop)
            .filter(|problem| !problem.starts_with("commit"))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
        let options = self.sidecar_options(reader, "0");
        let sidecar = Sidecar::start(&options).await;
        let watch = Watch::start(WatchOptions {
            bootstrap: sidecar.bootstrap(),
            topics: vec![self.topic("mid"), self.topic("out")],
            partitions: self.options.partitions,
            group: None,
            read_committed: true,
        });
        let out = self.topic("out");
        wait_until(FLOW_DEADLINE, "the reader to see everything", || async {
            watch.records(&out) >= total && watch.records(&self.topic("mid")) >= total
        })
        .await;
        let (tracks, _) = watch.stop();
        for (place, track) in tracks {
            assert!(
                track.problems.is_empty(),
                "{place:?}: {:#?}",
                track.problems
            );
        }
    }

    /// What a group has committed, by topic and partition.
    pub fn committed(&self, group: &str) -> BTreeMap<(String, i64), i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut asked = TopicPartitionList::new();
        for topic in ["in", "mid", "out"] {
            for partition in 0..self.options.partitions {
                asked.add_partition(&self.topic(topic), partition);
            }
        }
        let committed = consumer.committed_offsets(asked, FLOW_DEADLINE).unwrap();
        let found = committed.elements().into_iter().filter_map(|at| {
            let place = (at.topic().to_owned(), i64::from(at.partition()));
            at.offset()
                .to_raw()
                .filter(|offset| *offset >= 0)
                .map(|offset| (place, offset))
        });
        found.collect()
    }

    /// What is due next, over all instances of a service.
    pub fn due(&self, apps: &[App]) -> BTreeMap<i32, u64> {
        let mut due = BTreeMap::new();
        for app in apps {
            for (partition, next) in super::ledger::read_state(app.state()) {
                let known = due.entry(partition).or_insert(next);
                *known = next.max(*known);
            }
        }
        due
    }
}
