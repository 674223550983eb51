//! A real Apache Kafka of one or three brokers in KRaft mode, on ports of its own.
//!
//! It promises to be ready when `start` returns: every broker is in the metadata. It is killed when dropped and when the run ends.
//! Each broker can be stopped, killed, frozen and started again on the same port with the same data.

mod node;
mod prepared;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tokio::sync::OnceCell;

use self::{node::Node, prepared::Prepared};
use crate::{
    binaries::fetched, ports::free_port, process::Process, topics::Topics, wait::wait_until,
};

/// What tests run against unless they say otherwise.
pub const VERSION_DEFAULT: &str = "4.3.1";
/// The oldest line supported.
pub const VERSION_OLDEST: &str = "3.9.1";
/// How long brokers may take to be ready; they take two to four seconds alone and longer beside other tests.
pub const START_DEADLINE: Duration = Duration::from_secs(90);
/// How long one question for metadata may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// What kind of Kafka to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// How many brokers; each is a controller too.
    pub brokers: u16,
    /// Which version, as `scripts/fetch-kafka` takes it.
    pub version: String,
    /// Lines added to every server.properties; a later line wins.
    pub properties: Vec<(String, String)>,
    /// The largest heap of one broker, in MiB.
    pub heap_mib: u32,
    /// For each broker, what a second listener advertises in place of its own port: for clients that come another way. None without.
    pub other_way: Vec<u16>,
    /// Listeners beside the plain one.
    pub listeners: Vec<Listener>,
    /// What is said when its storage is formatted, such as `--add-scram`.
    pub format: Vec<String>,
    /// Full optimisation by the JVM: slower to start, faster after. For measurements.
    pub optimised: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            version: VERSION_DEFAULT.into(),
            properties: Vec::new(),
            heap_mib: 512,
            other_way: Vec::new(),
            listeners: Vec::new(),
            format: Vec::new(),
            optimised: false,
        }
    }
}

/// One more way to reach a broker.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// Kafka's word for how it is spoken to.
    pub protocol: &'static str,
    /// The address of this machine that it listens on, and tells clients.
    pub host: &'static str,
    /// Its own settings.
    pub properties: Vec<(String, String)>,
}

/// A running Kafka.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    port: u16,
    other_port: Option<u16>,
    listeners: Vec<(String, String)>,
    process: Mutex<Process>,
}

static SHARED: OnceCell<Kafka> = OnceCell::const_new();

impl Kafka {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it is not ready within [`START_DEADLINE`].
    pub async fn start(options: KafkaOptions) -> Self {
        let kafka = tokio::task::spawn_blocking(move || Self::launch(&options))
            .await
            .expect("Kafka can be launched");
        kafka.wait_ready().await;
        kafka
    }

    /// The Kafka of one broker that all tests of this process share: use topics and groups with names of your own.
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| Self::start(KafkaOptions::default()))
            .await
    }

    /// `host:port` of every broker, with commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The port of broker `index` (from 0; its node id is one more).
    #[must_use]
    pub fn port(&self, index: usize) -> u16 {
        self.brokers[index].port
    }

    /// The port of broker `index`'s second listener.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn other_port(&self, index: usize) -> u16 {
        self.brokers[index]
            .other_port
            .expect("the options ask for a second listener")
    }

    /// `host:port` of a listener of the first broker, by name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listener(&self, name: &str) -> String {
        let mut listeners = self.brokers[0].listeners.iter();
        let found = listeners.find(|(known, _)| known == name);
        let (_, address) = found.unwrap_or_else(|| panic!("no listener {name}"));
        address.clone()
    }

    /// The process id of broker `index`, while it runs.
    #[must_use]
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.brokers[index].process.lock().pid()
    }

    /// Its topics.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Topics::of(&self.bootstrap())
    }

    /// The process of broker `index`, to stop, kill, freeze or start again.
    pub fn broker(&mut self, index: usize) -> &mut Process {
        self.brokers[index].process.get_mut()
    }

    /// Does something to broker `index` of a Kafka that others use as well.
    pub fn with_broker<T>(&self, index: usize, act: impl FnOnce(&mut Process) -> T) -> T {
        act(&mut self.brokers[index].process.lock())
    }

    /// Waits until every broker that should run is in the metadata.
    ///
    /// # Panics
    /// When that is not so within [`START_DEADLINE`].
    pub async fn wait_ready(&self) {
        let bootstrap = self.bootstrap();
        let count = self.brokers.len();
        wait_until(START_DEADLINE, "Kafka to be ready", || {
            let bootstrap = bootstrap.clone();
            async move {
                tokio::task::spawn_blocking(move || brokers_alive(&bootstrap) == count)
                    .await
                    .unwrap_or(false)
            }
        })
        .await;
    }

    fn launch(options: &KafkaOptions) -> Self {
        let jars = jars(&options.version);
        let ports: Vec<(u16, u16)> = (0..options.brokers)
            .map(|_| (free_port(), free_port()))
            .collect();
        let prepared = Prepared::of(&options.version, &jars);
        let nodes: Vec<Node> = (0..ports.len())
            .map(|index| Node::prepare(options, &jars, &ports, index, prepared.classes()))
            .collect();
        for node in &nodes {
            node.format(&prepared);
        }
        let brokers = nodes
            .iter()
            .map(|node| Broker {
                port: node.port,
                other_port: node.other_port,
                listeners: node.listeners.clone(),
                process: Mutex::new(Process::start(node.serve())),
            })
            .collect();
        Self { brokers }
    }
}

fn brokers_alive(bootstrap: &str) -> usize {
    let client: Result<BaseConsumer, _> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .create();
    let Ok(client) = client else { return 0 };
    client
        .fetch_metadata(None, METADATA_TIMEOUT)
        .map_or(0, |metadata| metadata.brokers().len())
}

/// The directory of the jars of a version, fetched when they are not there.
///
/// # Panics
/// When they cannot be fetched.
#[must_use]
pub fn jars(version: &str) -> PathBuf {
    fetched("fetch-kafka", version, &format!("kafka-{version}"))
}

/// How the JVM runs a small program on the jars of a version, soon rather than fast: what stands before the program's name. Its own
/// classes are looked for in `own`, after Kafka's.
///
/// # Panics
/// When the jars cannot be fetched.
#[must_use]
pub fn java(version: &str, own: Option<&Path>) -> Vec<String> {
    let jars = jars(version);
    let mut class_path = format!("{}/*", jars.display());
    if let Some(own) = own {
        class_path += &format!(":{}", own.display());
    }
    let flags = ["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
    let flags = flags.into_iter().map(str::to_owned);
    let flags = flags.chain(Prepared::at(&jars).classes());
    flags.chain(["-cp".into(), class_path]).collect()
}
