//! A real Apache Kafka of one or three brokers in KRaft mode, on ports of its own.
//!
//! It promises to be ready when `start` returns: every broker is in the metadata. It is killed when dropped and when the run ends.
//! Each broker can be stopped, killed, frozen and started again on the same port with the same data.

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

use crate::{
    binaries::fetched,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    topics::Topics,
    wait::wait_until,
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
    listeners: Vec<(String, u16)>,
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

    /// `127.0.0.1:port` of a listener of the first broker, by name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listener(&self, name: &str) -> String {
        let mut listeners = self.brokers[0].listeners.iter();
        let found = listeners.find(|(known, _)| known == name);
        let (_, port) = found.unwrap_or_else(|| panic!("no listener {name}"));
        format!("127.0.0.1:{port}")
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
        let nodes: Vec<Node> = (0..ports.len())
            .map(|index| Node::prepare(options, &jars, &ports, index))
            .collect();
        let mut formats: Vec<Process> = nodes
            .iter()
            .map(|node| Process::start(node.format()))
            .collect();
        for format in &mut formats {
            format.wait();
            let ended = format.exit_status();
            assert!(
                ended.is_some_and(|status| status.success()),
                "storage was not formatted:\n{}",
                format.log_tail(20)
            );
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

/// One broker before it runs: its directory, its configuration, the two commands.
struct Node {
    name: String,
    directory: PathBuf,
    port: u16,
    other_port: Option<u16>,
    listeners: Vec<(String, u16)>,
    format: Vec<String>,
    class_path: String,
    heap_mib: u32,
    optimised: bool,
}

impl Node {
    fn prepare(options: &KafkaOptions, jars: &Path, ports: &[(u16, u16)], index: usize) -> Self {
        let name = format!("kafka-node{}", index + 1);
        let directory = Run::this().part(&name);
        let node = Self {
            name,
            port: ports[index].0,
            other_port: options.other_way.get(index).map(|_| free_port()),
            listeners: options
                .listeners
                .iter()
                .map(|listener| (listener.name.clone(), free_port()))
                .collect(),
            format: options.format.clone(),
            class_path: format!("{}/*", jars.display()),
            heap_mib: options.heap_mib,
            optimised: options.optimised,
            directory,
        };
        node.write(
            "server.properties",
            &server_properties(options, &node, ports, index),
        );
        node.write("log4j2.properties", LOG4J2);
        node.write("log4j.properties", LOG4J);
        node
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    }

    fn java(&self, name: &str) -> ProcessSpec {
        let here = self.directory.display();
        let spec = ProcessSpec::new(
            &self.name,
            "java",
            self.directory.join(format!("{name}.log")),
        )
        .arg(format!("-Xmx{}m", self.heap_mib))
        .arg("-XX:+UseSerialGC")
        .arg(format!(
            "-Dlog4j2.configurationFile={here}/log4j2.properties"
        ))
        .arg(format!(
            "-Dlog4j.configuration=file:{here}/log4j.properties"
        ));
        let spec = if self.optimised {
            spec
        } else {
            spec.arg("-XX:TieredStopAtLevel=1")
        };
        spec.args(["-cp", &self.class_path])
    }

    fn format(&self) -> ProcessSpec {
        let id = "Y3V0bGluZS10ZXN0LWthZg";
        self.java("format")
            .args(["kafka.tools.StorageTool", "format", "-t", id, "-c"])
            .arg(self.directory.join("server.properties"))
            .args(&self.format)
    }

    fn serve(&self) -> ProcessSpec {
        self.java("server")
            .arg("kafka.Kafka")
            .arg(self.directory.join("server.properties"))
    }
}

fn server_properties(
    options: &KafkaOptions,
    node: &Node,
    ports: &[(u16, u16)],
    index: usize,
) -> String {
    let (port, controller) = ports[index];
    let voters: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(at, (_, port))| format!("{}@127.0.0.1:{port}", at + 1))
        .collect();
    let replicas = ports.len().min(3);
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        format!("node.id={}", index + 1),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "inter.broker.listener.name=PLAINTEXT".to_owned(),
        format!("log.dirs={}/data", node.directory.display()),
        format!("default.replication.factor={replicas}"),
        "min.insync.replicas=1".to_owned(),
        // Fewer partitions of the internal topics than the 50 of production: tests start sooner.
        "offsets.topic.num.partitions=8".to_owned(),
        "transaction.state.log.num.partitions=8".to_owned(),
        "group.initial.rebalance.delay.ms=0".to_owned(),
        "auto.create.topics.enable=false".to_owned(),
        "controlled.shutdown.enable=true".to_owned(),
    ];
    for topic in [
        "offsets.topic",
        "transaction.state.log",
        "share.coordinator.state.topic",
    ] {
        lines.push(format!("{topic}.replication.factor={replicas}"));
    }
    if let (Some(other), Some(advertised)) = (node.other_port, options.other_way.get(index)) {
        lines.extend([
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},OTHER://127.0.0.1:{other},CONTROLLER://127.0.0.1:{controller}"),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port},OTHER://127.0.0.1:{advertised}"),
        ]);
    }
    if !options.listeners.is_empty() {
        lines.extend(listener_lines(options, node, port, controller));
    }
    lines.push("transaction.state.log.min.isr=1".to_owned());
    lines.push("share.coordinator.state.topic.min.isr=1".to_owned());
    lines.extend(
        options
            .properties
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    lines.join("\n") + "\n"
}

fn listener_lines(options: &KafkaOptions, node: &Node, port: u16, controller: u16) -> Vec<String> {
    let mut map = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    let mut open = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut lines = Vec::new();
    for (listener, (name, port)) in options.listeners.iter().zip(&node.listeners) {
        map += &format!(",{name}:{}", listener.protocol);
        open += &format!(",{name}://127.0.0.1:{port}");
        let prefix = format!("listener.name.{}", name.to_lowercase());
        let own = listener.properties.iter();
        lines.extend(own.map(|(key, value)| format!("{prefix}.{key}={value}")));
    }
    lines.push(format!("listener.security.protocol.map={map}"));
    lines.push(format!("advertised.listeners={open}"));
    lines.push(format!(
        "listeners={open},CONTROLLER://127.0.0.1:{controller}"
    ));
    lines
}

/// Kafka 4 logs by log4j 2.
const LOG4J2: &str = "\
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=stdout
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1} %m%n
";

/// Kafka 3.9 still by its predecessor.
const LOG4J: &str = "\
log4j.rootLogger=INFO, stdout
log4j.appender.stdout=org.apache.log4j.ConsoleAppender
log4j.appender.stdout.layout=org.apache.log4j.PatternLayout
log4j.appender.stdout.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %c{1} %m%n
";
