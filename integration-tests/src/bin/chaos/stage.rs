//! Everything a chaos run stands on, all of it real: three brokers, S3, two Redis, PostgreSQL, two admin APIs, both banks with three
//! instances each, and their sidecars.
//!
//! It knows what runs and how to reach it. What is done to it is decided elsewhere.

use std::time::Duration;

use integration_tests::{
    Admin, AdminOptions, Bank, BankOptions, Kafka, KafkaOptions, Redis, RedisOptions, Services,
    Sidecar, bank::Behind, wait_for,
};

const DEPLOYMENT: &str = "chaos";
const BROKERS: u16 = 3;
const INSTANCES: usize = 3;
const PARTITIONS: i32 = 4;
/// Of both banks; each makes about three records.
const ORDERS_PER_SECOND: u64 = 300;
/// Each load ends by itself after this long, whatever happens.
const LOAD_TIME_MAX: Duration = Duration::from_secs(900);
/// How long it may take until one of the admin APIs leads.
const LEADER_LIMIT: Duration = Duration::from_secs(60);

/// All that runs.
pub struct Stage {
    // Dropped in this order: whoever uses before what is used.
    pub bank: Bank,
    pub admins: Vec<Admin>,
    pub services: Services,
    /// The Redis of the admin APIs; the banks' state is in another.
    pub coordination: Redis,
    pub kafka: Kafka,
}

impl Stage {
    /// Starts everything; orders flow when it returns.
    pub async fn set(admins: usize) -> Self {
        let options = KafkaOptions {
            brokers: BROKERS,
            heap_mib: 384,
            ..KafkaOptions::default()
        };
        let redis = RedisOptions::default();
        let (kafka, services, coordination) = tokio::join!(
            Kafka::start(options),
            Services::start(),
            Redis::start(&redis)
        );
        let mut options = services.under(AdminOptions::over(&kafka.bootstrap()), DEPLOYMENT);
        options
            .environment
            .push(("CUTLINE_DEPLOYMENT".into(), DEPLOYMENT.into()));
        options
            .environment
            .push(("CUTLINE_REDIS".into(), coordination.url()));
        let admins: Vec<Admin> = (0..admins).map(|_| Admin::launch(&options)).collect();
        let urls: Vec<String> = admins.iter().map(Admin::url).collect();
        let bank = Bank::start(
            &kafka.bootstrap(),
            BankOptions {
                partitions: PARTITIONS,
                databases: Some(services.databases(DEPLOYMENT).await),
                instances: INSTANCES,
                behind: Some(Behind {
                    admin: Some(urls.join(",")),
                    deployment: DEPLOYMENT.into(),
                    arguments: Vec::new(),
                    environment: services.environment(),
                }),
                ..BankOptions::default()
            },
        )
        .await;
        let mut stage = Self {
            bank,
            admins,
            services,
            coordination,
            kafka,
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
