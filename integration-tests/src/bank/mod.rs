//! The bank example at work: its topics, both services with or without sidecars, their load, and the auditor.
//!
//! Bank A runs from the workspace's own program, bank B from its Python environment. It promises nothing about money: that is counted.

mod count;
mod databases;
mod home;
mod load;
mod spoil;

use std::{path::PathBuf, time::Duration};

pub use count::{Count, count, count_without_orders};
pub use databases::Databases;
pub use home::{Home, HomeCopy};
pub use load::{load, topic_names};

use cutline_model::{GroupId, TopicPartition};

use crate::{
    binaries::{binary, project_root, python},
    groups::wait_assigned,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    sidecar::{Sidecar, SidecarOptions},
    topics::Topics,
};

/// The two banks.
pub const BANKS: [&str; 2] = ["a", "b"];
/// What both banks say of a commit that did not succeed.
const REFUSED: &str = ": commit: ";
/// Each bank reads its orders and its transfers.
const INPUT_TOPICS: usize = 2;

/// How the banks stand before Kafka.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The admin API's URL; without, the sidecars are plain transparent proxies.
    pub admin: Option<String>,
    /// The deployment.
    pub deployment: String,
    /// Flags added to every sidecar's.
    pub arguments: Vec<String>,
    /// Variables added to every sidecar's environment.
    pub environment: Vec<(String, String)>,
}

/// How to run the banks.
#[derive(Clone, Debug)]
pub struct BankOptions {
    /// What the names of topics and groups begin with: a bank of its own on a shared Kafka.
    pub prefix: String,
    /// Partitions of each of the four topics.
    pub partitions: i32,
    /// Where state is, when not in files: bank A's in PostgreSQL, bank B's in Redis.
    pub databases: Option<Databases>,
    /// Instances of each bank; they share their service's state.
    pub instances: usize,
    /// Where sidecars find Kafka, when not where everyone does.
    pub kafka_of_sidecars: Option<String>,
    /// Behind sidecars, or directly at Kafka.
    pub behind: Option<Behind>,
    /// Whether bank B is captured by its hook instead of by its commits.
    pub hook: bool,
    /// Whether the hook carries bank B's state too, instead of the directory being copied.
    pub hook_carries_state: bool,
    /// After how many seconds a pause by the hook ends by itself.
    pub lease_seconds: u32,
    /// How groups assign: `range`, `cooperative-sticky`, or `consumer` for KIP-848.
    pub assignor: String,
}

impl Default for BankOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            partitions: 4,
            databases: None,
            instances: 1,
            kafka_of_sidecars: None,
            behind: None,
            hook: false,
            hook_carries_state: false,
            lease_seconds: 10,
            assignor: "range".into(),
        }
    }
}

/// One instance of a bank, with its sidecar where it has one.
#[derive(Debug)]
pub struct Instance {
    /// Which bank, `a` or `b`.
    pub bank: &'static str,
    /// The application.
    pub app: Process,
    /// Its sidecar.
    pub sidecar: Option<Sidecar>,
    /// The URL of its hook, where it offers one.
    pub hook: Option<String>,
}

/// Both banks and their load.
#[derive(Debug)]
pub struct Bank {
    options: BankOptions,
    kafka: String,
    directory: PathBuf,
    home: Home,
    /// Every instance of both banks.
    pub instances: Vec<Instance>,
    load: Option<Process>,
}

impl Bank {
    /// Makes the topics and starts every instance.
    ///
    /// # Panics
    /// When a part does not come up.
    pub async fn start(kafka: &str, options: BankOptions) -> Self {
        let topics = Topics::of(kafka);
        for topic in topic_names(&options.prefix) {
            topics.create(&topic, options.partitions).await;
        }
        let directory = Run::this().part("bank");
        let home = match &options.databases {
            Some(databases) => Home::Databases(databases.clone()),
            None => Home::Files(directory.clone()),
        };
        let mut bank = Self {
            options,
            kafka: kafka.into(),
            directory,
            home,
            instances: Vec::new(),
            load: None,
        };
        bank.start_instances().await;
        bank
    }

    /// Starts every instance of both banks; the topics and the state stand as they are.
    ///
    /// # Panics
    /// When a part does not come up.
    pub async fn start_instances(&mut self) {
        for bank in BANKS {
            for number in 0..self.options.instances {
                let instance = self.start_instance(bank, number).await;
                self.instances.push(instance);
            }
        }
        self.wait_assigned().await;
    }

    /// One more instance of a bank comes, stays for `time`, and goes as it should: its group rebalances twice.
    ///
    /// # Panics
    /// When its sidecar does not come up.
    pub async fn come_and_go(&self, bank: &'static str, time: Duration) {
        let mut guest = self.start_instance(bank, self.options.instances).await;
        tokio::time::sleep(time).await;
        guest.app.terminate();
        if let Some(sidecar) = &mut guest.sidecar {
            sidecar.process().terminate();
        }
    }

    /// Starts again, as an orchestrator does, every instance that has ended; their names.
    pub fn revive(&mut self) -> Vec<String> {
        let instances = self.instances.iter_mut();
        let ended = instances.filter_map(|Instance { app, .. }| {
            (!app.is_running()).then(|| {
                app.start_again();
                app.name().to_owned()
            })
        });
        ended.collect()
    }

    /// How many commits of any instance have been refused, by what the banks log: their session was lost amid a batch, which somebody does again.
    #[must_use]
    pub fn commits_refused(&self) -> usize {
        let logs = std::fs::read_dir(&self.directory).into_iter().flatten();
        let logs = logs.flatten().map(|entry| entry.path());
        logs.filter(|path| path.extension().is_some_and(|end| end == "log"))
            .map(|path| {
                let text = std::fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                text.lines().filter(|line| line.contains(REFUSED)).count()
            })
            .sum()
    }

    /// What each bank's group reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<(GroupId, Vec<TopicPartition>)> {
        let of = |bank: &&str| {
            let topics = ["orders", "transfers"];
            let topics = topics.map(|kind| format!("{}{kind}-{bank}", self.options.prefix));
            let partitions = topics.into_iter().flat_map(|topic| {
                let partition = move |partition| TopicPartition {
                    topic: topic.clone().into(),
                    partition,
                };
                (0..self.options.partitions).map(partition)
            });
            (GroupId::from(self.group(bank)), partitions.collect())
        };
        BANKS.iter().map(of).collect()
    }

    /// Waits until every instance has its partitions.
    ///
    /// # Panics
    /// When they have not in time.
    pub async fn wait_assigned(&self) {
        let each = usize::try_from(self.options.partitions).unwrap_or(0);
        for bank in BANKS {
            let group = self.group(bank);
            wait_assigned(
                &self.kafka,
                &group,
                self.options.instances,
                INPUT_TOPICS * each,
            )
            .await;
        }
    }

    /// Ends every instance, after the batch it is at.
    pub fn stop_instances(&mut self) {
        self.instances
            .iter()
            .for_each(|instance| instance.app.signal("TERM"));
        self.instances.iter_mut().for_each(|instance| {
            instance.app.terminate();
        });
        self.instances.clear();
    }

    /// Where the state of both banks is.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The names of the four topics.
    #[must_use]
    pub fn topics(&self) -> [String; 4] {
        topic_names(&self.options.prefix)
    }

    /// The name of a bank's group.
    #[must_use]
    pub fn group(&self, bank: &str) -> String {
        format!("{}bank-{bank}", self.options.prefix)
    }

    /// Starts the load: `orders_per_second` into both banks together, for `limit` at most. An order makes about three records in all.
    pub fn start_load(&mut self, orders_per_second: u64, limit: Duration) {
        let (kafka, options) = (&self.kafka, &self.options);
        let spec = load(kafka, options, orders_per_second, limit, &self.directory);
        self.load = Some(Process::start(spec));
    }

    /// Ends the load; it writes down what it sent.
    ///
    /// # Panics
    /// When it had ended badly, or does not end; when a bank ended by itself.
    pub async fn stop_load(&mut self) {
        self.assert_running();
        if let Some(load) = self.load.take() {
            load.signal("TERM");
            load.ended_well().await;
        }
    }

    /// What a bank leaves undone that ended by itself must not be counted as lost.
    fn assert_running(&mut self) {
        for Instance { app, .. } in &mut self.instances {
            let ended = app.exit_status();
            assert!(
                ended.is_none(),
                "{} ended by itself ({ended:?}):\n{}",
                app.name(),
                app.log_tail(10)
            );
        }
    }

    /// Whether the load still runs.
    pub fn load_runs(&mut self) -> bool {
        self.load.as_mut().is_some_and(Process::is_running)
    }

    /// How many offsets the four topics have taken: records, and a few markers.
    #[must_use]
    pub fn appended(&self) -> i64 {
        Topics::of(&self.kafka).appended(&self.topics())
    }

    /// Waits until the topics have taken `records` more.
    pub async fn flow(&self, records: i64) {
        Topics::of(&self.kafka)
            .wait_appended(&self.topics(), records)
            .await;
    }

    /// Waits until the banks have sent each other `transfers` more, whatever orders came.
    pub async fn flow_between(&self, transfers: i64) {
        let [_, to_a, _, to_b] = self.topics();
        Topics::of(&self.kafka)
            .wait_appended(&[to_a, to_b], transfers)
            .await;
    }

    /// Counts, after waiting up to `settle` until nothing moves; zero counts at once, in the middle of everything.
    ///
    /// # Panics
    /// When the auditor cannot read the state.
    pub async fn count(&self, settle: Duration) -> Count {
        let load = self.directory.join("load");
        let states = BANKS.map(|bank| self.home.place(bank));
        let mut arguments = vec!["--settle-seconds".to_owned(), settle.as_secs().to_string()];
        if !load.join("load.json").is_file() {
            arguments.push("--no-orders".into());
        }
        count(
            states.into_iter().chain(
                load.join("load.json")
                    .is_file()
                    .then(|| load.display().to_string()),
            ),
            self.options.partitions,
            &arguments,
        )
        .await
    }

    /// Counts once nothing moves any more, without the orders: for a world whose load was rolled back too.
    ///
    /// # Panics
    /// When the auditor cannot read the state.
    pub async fn count_without_orders(&self, settle: Duration) -> Count {
        let states = BANKS.map(|bank| self.home.place(bank));
        count_without_orders(states, self.options.partitions, settle).await
    }

    async fn start_instance(&self, bank: &'static str, number: usize) -> Instance {
        let hook = (self.options.hook && bank == "b").then(free_port);
        let url = hook.map(|port| format!("http://127.0.0.1:{port}"));
        let sidecar = match &self.options.behind {
            Some(behind) => Some(
                Sidecar::start(&self.sidecar_options(behind, bank, number, url.as_deref())).await,
            ),
            None => None,
        };
        let direct = || self.kafka.clone();
        let bootstrap = sidecar.as_ref().map_or_else(direct, Sidecar::bootstrap);
        let app = Process::start(self.app(bank, number, &bootstrap, hook));
        Instance {
            bank,
            app,
            sidecar,
            hook: url,
        }
    }

    fn sidecar_options(
        &self,
        behind: &Behind,
        bank: &str,
        number: usize,
        hook: Option<&str>,
    ) -> SidecarOptions {
        let carried = hook.filter(|_| self.options.hook_carries_state);
        let state = carried.map_or_else(
            || self.home.spec(bank),
            |url| format!("{url}?scope=service"),
        );
        let mut environment = behind.environment.clone();
        // Not as a flag: it may hold a password.
        environment.push(("CUTLINE_STATE".into(), state));
        SidecarOptions {
            service: format!("bank-{bank}"),
            instance: number.to_string(),
            deployment: behind.deployment.clone(),
            admin: behind.admin.clone(),
            capture: hook.map(|url| format!("hook={url}")),
            environment,
            arguments: behind.arguments.clone(),
            ..SidecarOptions::transparent(
                self.options
                    .kafka_of_sidecars
                    .as_deref()
                    .unwrap_or(&self.kafka),
            )
        }
    }

    fn app(&self, bank: &str, number: usize, bootstrap: &str, hook: Option<u16>) -> ProcessSpec {
        let log = self.directory.join(format!("bank-{bank}-{number}.log"));
        let name = format!("bank-{bank}-{number}");
        let spec = if bank == "a" {
            ProcessSpec::new(&name, binary("bank-a"), log).arg("serve")
        } else {
            let script = project_root().join("examples/bank/python/bank_b.py");
            let hook = hook.unwrap_or(0).to_string();
            let lease = self.options.lease_seconds.to_string();
            let flags = ["--hook", &hook, "--lease-seconds", &lease];
            ProcessSpec::new(&name, python(), log)
                .arg(script)
                .args(flags)
        };
        spec.args([
            "--bootstrap",
            bootstrap,
            "--prefix",
            &self.options.prefix,
            "--assignor",
            &self.options.assignor,
        ])
        .args(["--partitions", &self.options.partitions.to_string()])
        .env("BANK_STATE", self.home.place(bank))
        .env("PYTHONDONTWRITEBYTECODE", "1")
    }
}
