//! A program that drives one client library: commands go in as lines of JSON, answers come back as such.
//!
//! Promises that it ends with the test: it stops when its input does. Where asked, the ports it is connected to are noted, so that
//! a client which found its way past the sidecar is seen. It refuses to know what commands mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use integration_tests::{
    Run,
    binaries::{prepared, project_root},
    kafka,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

/// How long one command may take; a driver's own patience is shorter.
const ANSWER_DEADLINE: Duration = Duration::from_secs(150);
/// How often a driver's connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The client libraries there are drivers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Apache Kafka's own, of today.
    Java,
    /// Apache Kafka's own, of the oldest line supported.
    JavaOldest,
    /// librdkafka, in Python.
    Confluent,
    /// In Go.
    Franz,
    /// In Python, with asyncio.
    Aiokafka,
    /// In Python.
    KafkaPython,
}

impl Client {
    /// For names of files and topics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::JavaOldest => "java-oldest",
            Self::Confluent => "confluent",
            Self::Franz => "franz",
            Self::Aiokafka => "aiokafka",
            Self::KafkaPython => "kafka-python",
        }
    }

    fn command(self, prepared: &Prepared) -> (PathBuf, Vec<String>) {
        let python = |script: &str| {
            let sources = project_root().join("integration-tests/clients/python");
            let script = sources.join(script).display().to_string();
            (prepared.python.clone(), vec!["-B".into(), script])
        };
        match self {
            Self::Java => ("java".into(), prepared.java(kafka::VERSION_DEFAULT)),
            Self::JavaOldest => ("java".into(), prepared.java(kafka::VERSION_OLDEST)),
            Self::Confluent => python("confluent_driver.py"),
            Self::Franz => (prepared.franz.clone(), Vec::new()),
            Self::Aiokafka => python("aiokafka_driver.py"),
            Self::KafkaPython => python("kafka_python_driver.py"),
        }
    }
}

struct Prepared {
    java: PathBuf,
    franz: PathBuf,
    python: PathBuf,
}

impl Prepared {
    fn get() -> &'static Self {
        static PREPARED: OnceLock<Prepared> = OnceLock::new();
        PREPARED.get_or_init(|| {
            let [java, franz, python] = prepared("prepare-clients");
            Self {
                java,
                franz,
                python,
            }
        })
    }

    fn java(&self, version: &str) -> Vec<String> {
        let mut arguments = kafka::java(version, Some(&self.java));
        arguments.push("Driver".into());
        arguments
    }
}

/// A driver at work.
pub struct Driver {
    name: String,
    log: PathBuf,
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    peers: Option<Peers>,
}

impl Driver {
    /// Starts one of `client` against the brokers at `bootstrap`.
    pub fn start(client: Client, bootstrap: &str, way: &str) -> Self {
        let name = format!("client-{}-{way}", client.slug());
        let log = Run::this().part(&name).join("log");
        let errors = std::fs::File::create(&log).expect("the run's directory can be written");
        let (program, arguments) = client.command(Prepared::get());
        let mut child = Command::new(program)
            .args(arguments)
            .arg(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("a prepared driver can be started");
        let commands = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self {
            name,
            log,
            child,
            commands,
            answers,
            peers: None,
        }
    }

    /// Notes from now on which ports it is connected to; looking costs.
    pub fn watched(mut self) -> Self {
        let pid = self.child.id().expect("it has not been waited for");
        self.peers = Some(Peers::watch(pid));
        self
    }

    /// Has a command done.
    ///
    /// # Panics
    /// When it is not, or not in time.
    pub async fn ask(&mut self, what: &str, arguments: Value) -> Value {
        match self.try_ask(what, arguments).await {
            Ok(answer) => answer,
            Err(error) => panic!("{}: {what}: {error}; see {}", self.name, self.log.display()),
        }
    }

    /// Has a command done, which may fail.
    pub async fn try_ask(&mut self, what: &str, mut arguments: Value) -> Result<Value, String> {
        arguments["do"] = json!(what);
        let line = format!("{arguments}\n");
        let written = self.commands.write_all(line.as_bytes()).await;
        written.map_err(|error| format!("it has ended: {error}"))?;
        let answer = timeout(ANSWER_DEADLINE, self.answers.next_line()).await;
        let answer = answer.map_err(|_| format!("no answer in {ANSWER_DEADLINE:?}"))?;
        let answer = answer.map_err(|error| error.to_string())?;
        let answer = answer.ok_or("it has ended")?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| format!("{error} in {answer}"))?;
        match answer.get("failed") {
            Some(failed) => Err(failed.to_string()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Ends it: the ports it was connected to while watched.
    pub async fn end(mut self) -> BTreeSet<u16> {
        drop(self.commands);
        let _ended = timeout(Duration::from_secs(10), self.child.wait()).await;
        self.peers.map_or_else(BTreeSet::new, |peers| peers.seen())
    }
}

/// The ports that a process is connected to, looked at again and again.
pub struct Peers {
    seen: Arc<Mutex<BTreeSet<u16>>>,
    watching: JoinHandle<()>,
}

impl Peers {
    /// Watches `pid` until dropped.
    pub fn watch(pid: u32) -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = seen.clone();
        let watching = tokio::spawn(async move {
            loop {
                noted.lock().extend(peers(pid));
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Self { seen, watching }
    }

    /// What was seen.
    pub fn seen(&self) -> BTreeSet<u16> {
        self.seen.lock().clone()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn peers(pid: u32) -> Vec<u16> {
    let mut by_inode = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = fields
                .get(2)
                .and_then(|remote| remote.rsplit(':').next())
                .and_then(|port| u16::from_str_radix(port, 16).ok());
            if let (Some(port), Some(inode)) = (port, fields.get(9)) {
                by_inode.insert((*inode).to_owned(), port);
            }
        }
    }
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let sockets = descriptors.into_iter().flatten().flatten();
    sockets
        .filter_map(|entry| socket_inode(&entry.path()))
        .filter_map(|inode| by_inode.get(&inode).copied())
        .filter(|port| *port != 0)
        .collect()
}

fn socket_inode(descriptor: &Path) -> Option<String> {
    let target = std::fs::read_link(descriptor).ok()?;
    let inode = target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?;
    Some(inode.to_owned())
}
