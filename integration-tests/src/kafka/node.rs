//! One broker before it runs: its directory, its configuration, its formatted storage, the command that starts it.
//!
//! It knows Kafka's own names and nothing of who uses the broker.

use std::path::{Path, PathBuf};

use super::{KafkaOptions, Listener, prepared::Prepared};
use crate::{
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
};

/// One broker before it runs.
pub(super) struct Node {
    name: String,
    directory: PathBuf,
    pub(super) port: u16,
    pub(super) other_port: Option<u16>,
    /// Name and address of each further listener.
    pub(super) listeners: Vec<(String, String)>,
    id: usize,
    format: Vec<String>,
    class_path: String,
    /// What the JVM is told of an archive of classes.
    classes: Option<String>,
    heap_mib: u32,
    optimised: bool,
}

impl Node {
    pub(super) fn prepare(
        options: &KafkaOptions,
        jars: &Path,
        ports: &[(u16, u16)],
        index: usize,
        classes: Option<String>,
    ) -> Self {
        let name = format!("kafka-node{}", index + 1);
        let directory = Run::this().part(&name);
        let node = Self {
            name,
            port: ports[index].0,
            other_port: options.other_way.get(index).map(|_| free_port()),
            listeners: options
                .listeners
                .iter()
                .map(|Listener { name, host, .. }| {
                    (name.clone(), format!("{host}:{}", free_port()))
                })
                .collect(),
            id: index + 1,
            format: options.format.clone(),
            classes,
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

    /// Where its storage is.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Formats its storage: as it was prepared, or by Kafka's own tool where options say how.
    pub(super) fn format(&self, prepared: &Prepared) {
        if self.format.is_empty() {
            prepared.format(&self.data(), self.id);
        } else {
            self.format_by_tool();
        }
    }

    /// Has Kafka's own tool format its storage.
    ///
    /// # Panics
    /// When the tool does not succeed.
    pub(super) fn format_by_tool(&self) {
        let id = "Y3V0bGluZS10ZXN0LWthZg";
        let tool = self
            .java("format")
            .args(["kafka.tools.StorageTool", "format", "-t", id, "-c"])
            .arg(self.directory.join("server.properties"))
            .args(&self.format);
        let mut tool = Process::start(tool);
        tool.wait();
        let ended = tool.exit_status();
        assert!(
            ended.is_some_and(|status| status.success()),
            "storage was not formatted:\n{}",
            tool.log_tail(20)
        );
    }

    pub(super) fn serve(&self) -> ProcessSpec {
        self.java("server")
            .args(&self.classes)
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
        format!("log.dirs={}", node.data().display()),
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
    for (listener, (name, address)) in options.listeners.iter().zip(&node.listeners) {
        map += &format!(",{name}:{}", listener.protocol);
        open += &format!(",{name}://{address}");
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
