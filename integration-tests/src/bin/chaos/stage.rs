//! Everything a chaos run stands on, all of it real: three brokers, S3, two Redis, PostgreSQL, two admin APIs, both banks with three
//! instances each, their sidecars, and a network between them that can fail. Only what stands before S3 and fails for it is made up.
//!
//! It knows what runs and how to reach it. What is done to it is decided elsewhere.

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Clock, Front, Kafka, KafkaOptions, Redis, RedisOptions,
    S3, Services, Sidecar, Toxiproxy, bank::Behind, ports::free_port, wait_for,
};

use crate::holds::Stopped;

const DEPLOYMENT: &str = "chaos";
const BROKERS: u16 = 3;
const INSTANCES: usize = 3;
const PARTITIONS: i32 = 4;
/// Of both banks; each makes about three records.
const ORDERS_PER_SECOND: u64 = 300;
/// Each load ends by itself after this long, whatever happens.
const LOAD_TIME_MAX: Duration = Duration::from_secs(900);
/// Room for all checkpoints of a long run.
const S3_DISK_MIB: u32 = 2_048;
/// Members of groups by KIP-848 have no say in their session: by default one that was killed keeps its partitions for 45 s, and for
/// 45 s more where the coordinator moves meanwhile. Here as for the classic groups of the banks.
const MEMBERS: [(&str, &str); 4] = [
    ("group.consumer.min.session.timeout.ms", "10000"),
    ("group.consumer.session.timeout.ms", "10000"),
    ("group.consumer.min.heartbeat.interval.ms", "1000"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
];
/// How long it may take until one of the admin APIs leads.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

/// How a run is set up, where that may differ.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many admin APIs there are.
    pub admins: usize,
    /// How the banks' groups assign.
    pub assignor: &'static str,
    /// Whether bank B is captured by its hook.
    pub hook: bool,
}

/// All that runs.
pub struct Stage {
    // Dropped in this order: whoever uses before what is used.
    pub bank: Bank,
    pub admins: Vec<Admin>,
    pub services: Services,
    /// What every request to S3 goes through.
    pub front: Front,
    /// The Redis of the admin APIs; the banks' state is in another.
    pub coordination: Redis,
    pub kafka: Kafka,
    /// What stands between sidecars and admin APIs, and all they reach.
    pub network: Toxiproxy,
    /// The names of its ways.
    pub ways: Vec<String>,
    /// Which sidecars were stopped, and for how long.
    pub stopped: Stopped,
    /// The clocks of admin APIs and sidecars, by what they are called.
    pub clocks: Vec<(String, Clock)>,
}

impl Stage {
    /// Starts everything; orders flow when it returns.
    pub async fn set(setting: &Setting) -> Self {
        let other_way: Vec<u16> = (0..BROKERS).map(|_| free_port()).collect();
        let options = KafkaOptions {
            brokers: BROKERS,
            heap_mib: 384,
            other_way: other_way.clone(),
            properties: MEMBERS
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            ..KafkaOptions::default()
        };
        let redis = RedisOptions::default();
        let (network, kafka, mut services, coordination) = tokio::join!(
            Toxiproxy::start(),
            Kafka::start(options),
            Services::start_with(S3::start_on_small_disk(S3_DISK_MIB)),
            Redis::start(&redis)
        );
        let mut ways = Ways::over(&network);
        for (at, listen) in other_way.iter().enumerate() {
            let name = format!("kafka-{}", at + 1);
            ways.make(name, *listen, kafka.other_port(at)).await;
        }
        let other_way: Vec<String> = other_way
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let other_way = other_way.join(",");
        let front = Front::start(services.s3()).await;
        let s3 = ways.to("s3", front.port()).await;
        let redis = ways.to("redis", coordination.port()).await;
        let mut options = services.under(AdminOptions::over(&other_way), DEPLOYMENT);
        let direct = services.s3().port().to_string();
        options.store = options
            .store
            .map(|store| store.replace(&direct, &s3.to_string()));
        for (name, value) in [
            ("CUTLINE_DEPLOYMENT", DEPLOYMENT.to_owned()),
            ("CUTLINE_REDIS", format!("redis://127.0.0.1:{redis}")),
        ] {
            options.environment.push((name.into(), value));
        }
        let mut admins: Vec<Admin> = (0..setting.admins)
            .map(|_| Admin::launch(&options))
            .collect();
        let mut urls = Vec::new();
        for (at, admin) in admins.iter().enumerate() {
            let port = ways.to(&format!("admin-{at}"), admin.port()).await;
            urls.push(format!("http://127.0.0.1:{port}"));
        }
        let ways = ways.names;
        let mut bank = Bank::start(
            &kafka.bootstrap(),
            BankOptions {
                partitions: PARTITIONS,
                databases: Some(services.databases(DEPLOYMENT).await),
                instances: INSTANCES,
                kafka_of_sidecars: Some(other_way),
                behind: Some(Behind {
                    admin: Some(urls.join(",")),
                    deployment: DEPLOYMENT.into(),
                    arguments: Vec::new(),
                    environment: services.environment(),
                }),
                hook: setting.hook,
                assignor: setting.assignor.into(),
                ..BankOptions::default()
            },
        )
        .await;
        let clocks = with_clocks(&mut admins, &mut bank).await;
        let mut stage = Self {
            bank,
            admins,
            services,
            front,
            coordination,
            kafka,
            network,
            ways,
            stopped: Stopped::default(),
            clocks,
        };
        stage.start_load();
        stage
    }

    /// Lets orders flow.
    pub fn start_load(&mut self) {
        self.bank.start_load(ORDERS_PER_SECOND, LOAD_TIME_MAX);
    }

    /// The sidecar of instance `at`.
    pub fn sidecar(&mut self, at: usize) -> &mut Sidecar {
        let sidecar = self.bank.instances[at].sidecar.as_mut();
        sidecar.expect("every instance is behind one")
    }

    /// Where every sidecar tells its metrics.
    #[must_use]
    pub fn metrics_urls(&self) -> Vec<String> {
        let sidecars = self.bank.instances.iter().flat_map(|one| &one.sidecar);
        sidecars.map(Sidecar::metrics_url).collect()
    }

    /// Which admin API leads.
    ///
    /// # Panics
    /// When none does in time.
    pub async fn leader(&self) -> usize {
        wait_for(LEADER_LIMIT, "an admin API to lead", || async {
            for (at, admin) in self.admins.iter().enumerate() {
                if admin.is_leading().await {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    /// Ends an admin API and starts it again after a while.
    pub async fn restart_admin(&mut self, at: usize, hard: bool, away: Duration) -> String {
        let process = self.admins[at].process();
        if hard {
            process.kill();
        } else {
            process.terminate();
        }
        tokio::time::sleep(away).await;
        process.start_again();
        format!("admin {at} for {} ms", away.as_millis())
    }
}

/// Gives every admin API and every sidecar a clock of its own, for which they are started again.
async fn with_clocks(admins: &mut [Admin], bank: &mut Bank) -> Vec<(String, Clock)> {
    let mut clocks = Vec::new();
    for (at, admin) in admins.iter_mut().enumerate() {
        let process = admin.process();
        clocks.push((format!("admin {at}"), Clock::of(process)));
        process.terminate();
        process.start_again();
    }
    for sidecar in bank.instances.iter_mut().flat_map(|one| &mut one.sidecar) {
        let process = sidecar.process();
        clocks.push((process.name().to_owned(), Clock::of(process)));
        sidecar.restart(false).await;
    }
    clocks
}

/// Ways through a toxiproxy, as they are made.
struct Ways<'a> {
    network: &'a Toxiproxy,
    names: Vec<String>,
}

impl<'a> Ways<'a> {
    fn over(network: &'a Toxiproxy) -> Self {
        Self {
            network,
            names: Vec::new(),
        }
    }

    /// A way to port `upstream`: its port.
    async fn to(&mut self, name: &str, upstream: u16) -> u16 {
        let listen = free_port();
        self.make(name.to_owned(), listen, upstream).await;
        listen
    }

    async fn make(&mut self, name: String, listen: u16, upstream: u16) {
        self.network.way(&name, listen, upstream).await;
        self.names.push(name);
    }
}
