//! One of the hook examples at work on a topic, behind a sidecar, with an admin API and a feed of its own.
//!
//! Promises that what was fed is known by key. What a right count is, it leaves to the tests.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use integration_tests::{
    Admin, AdminOptions, Kafka, Process, ProcessSpec, Run, Sidecar, SidecarOptions,
    binaries::{binary, prepared, project_root, python},
    checkpoints, http, kafka,
    ports::free_port,
    topics::unique_name,
    wait_until,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::Value;

pub const DEADLINE: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 3;
const KEYS: u64 = 7;
/// Between two records of the feed.
const FEED_INTERVAL: Duration = Duration::from_millis(2);

pub type Counts = BTreeMap<String, u64>;

#[derive(Clone, Copy, Debug)]
pub enum Language {
    Python,
    Java,
    Go,
    Rust,
}

impl Language {
    /// How its program is started.
    fn program(self, log: PathBuf) -> ProcessSpec {
        let source = project_root().join("examples/hooks");
        match self {
            Self::Python => ProcessSpec::new("tally.py", python(), log)
                .arg("-B")
                .arg(source.join("python/tally.py")),
            Self::Java => ProcessSpec::new("Tally.java", "java", log)
                .args(["-Xmx128m", "-XX:+UseSerialGC", "-cp"])
                .args([class_path(), "Tally".to_owned()]),
            Self::Go => ProcessSpec::new("tally in Go", compiled()[1].join("tally"), log),
            Self::Rust => ProcessSpec::new("tally in Rust", binary("tally"), log),
        }
    }
}

/// Where the programs in Java and in Go are.
fn compiled() -> &'static [PathBuf; 2] {
    static COMPILED: OnceLock<[PathBuf; 2]> = OnceLock::new();
    COMPILED.get_or_init(|| prepared("prepare-hooks"))
}

fn class_path() -> String {
    let jars = kafka::jars(kafka::VERSION_DEFAULT);
    format!("{}:{}/*", compiled()[0].display(), jars.display())
}

/// Everything, for one program.
pub struct Tally {
    pub admin: Admin,
    topic: String,
    hook: u16,
    // Ends before what it stands behind.
    _program: Process,
    _sidecar: Sidecar,
    client: reqwest::Client,
}

impl Tally {
    pub async fn start(language: Language, lease_seconds: u32) -> Self {
        let kafka = Kafka::shared().await;
        let deployment = unique_name("tally");
        let topic = format!("{deployment}.words");
        kafka.topics().create(&topic, PARTITIONS).await;
        let mut over = AdminOptions::over(&kafka.bootstrap());
        over.arguments = vec!["--deployment".into(), deployment.clone()];
        let admin = Admin::start(&over).await;
        let hook = free_port();
        let sidecar = Sidecar::start(&SidecarOptions {
            service: "tally".into(),
            deployment,
            admin: Some(admin.url()),
            capture: Some(format!("hook=http://127.0.0.1:{hook}")),
            state: vec!["http".into()],
            ..SidecarOptions::transparent(&kafka.bootstrap())
        })
        .await;
        let program = language
            .program(Run::this().part("tally").join("log"))
            .env("BOOTSTRAP", sidecar.bootstrap())
            .env("TOPIC", &topic)
            .env("GROUP", &topic)
            .env("HOOK_PORT", hook.to_string())
            .env("LEASE_SECONDS", lease_seconds.to_string());
        let tally = Self {
            admin,
            topic,
            hook,
            _program: Process::start(program),
            _sidecar: sidecar,
            client: http::client(),
        };
        checkpoints::wait_connected(&tally.admin, 1).await;
        tally
    }

    pub async fn post(&self, verb: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/cutline/{verb}", self.hook);
        let answer = self.client.post(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{verb}");
        answer.json().await.unwrap()
    }

    /// What it has counted; `None` when it does not answer.
    pub async fn counts(&self) -> Option<Counts> {
        let url = format!("http://127.0.0.1:{}/", self.hook);
        let text = self.client.get(url).send().await.ok()?.text().await.ok()?;
        let lines = text.lines().map(|line| {
            let (key, count) = line.rsplit_once(' ').unwrap();
            (key.to_owned(), count.parse().unwrap())
        });
        Some(lines.collect())
    }

    pub async fn total(&self) -> u64 {
        self.counts().await.unwrap_or_default().values().sum()
    }

    /// Waits until it has counted more than it has now.
    pub async fn works_on(&self) {
        let before = self.total().await;
        wait_until(DEADLINE, "the example to go on", || async {
            self.total().await > before
        })
        .await;
    }

    pub async fn feed(&self) -> Feed {
        Feed::start(Kafka::shared().await.bootstrap(), self.topic.clone())
    }
}

/// Records with keys, straight to Kafka, until it is stopped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counts>>,
}

impl Feed {
    fn start(kafka: String, topic: String) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", kafka)
                .set("enable.idempotence", "true")
                .create()
                .unwrap();
            let mut sent = Counts::new();
            for number in (0..).take_while(|_| !stopped.load(Ordering::Relaxed)) {
                let key = format!("word-{}", number % KEYS);
                let record = BaseRecord::<str, [u8]>::to(&topic).key(&key).payload(b"");
                producer.send(record).map_err(|(error, _)| error).unwrap();
                *sent.entry(key).or_default() += 1;
                producer.poll(Duration::ZERO);
                std::thread::sleep(FEED_INTERVAL);
            }
            producer.flush(DEADLINE).unwrap();
            sent
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it: what was sent, by key, all of it acknowledged.
    pub fn stop(mut self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
