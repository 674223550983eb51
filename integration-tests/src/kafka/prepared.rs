//! What all brokers of a version share, made once by a real one: its classes as the JVM has them after reading, and its storage,
//! formatted.
//!
//! With both a broker is there with half the computing, and tests start very many. It lies beside the jars it was made of, and is
//! complete by construction: it is made under another name and renamed at the end. It refuses to know what a broker is asked to do;
//! storage that is formatted with options of its own is not from here.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{KafkaOptions, START_DEADLINE, brokers_alive, node::Node};
use crate::{ports::free_port, process::Process, run::Run, wait::LOOK_INTERVAL};

const DIRECTORY: &str = "prepared";
/// What it is called while it is made, by whoever has locked [`LOCK`].
const MAKING: &str = "prepared.new";
const LOCK: &str = "prepared.lock";
const CLASSES: &str = "classes.jsa";
const STORAGE: &str = "storage";
/// The one file of formatted storage that says whose it is.
const IDENTITY: &str = "meta.properties";

/// What was made of a version.
pub(super) struct Prepared {
    directory: PathBuf,
}

impl Prepared {
    /// What was made of the jars of a version, whether or not it is there.
    pub(super) fn at(jars: &Path) -> Self {
        let directory = jars.join(DIRECTORY);
        Self { directory }
    }

    /// The same; made now when it is not there.
    ///
    /// # Panics
    /// When it cannot be made: the first broker does not start, or the disk is full.
    pub(super) fn of(version: &str, jars: &Path) -> Self {
        let Self { directory } = Self::at(jars);
        if !directory.exists() {
            // One makes it, whoever comes meanwhile waits.
            let lock = File::create(jars.join(LOCK)).expect("the jars' directory is writable");
            lock.lock().expect("a file can be locked");
            if !directory.exists() {
                make(version, jars, &directory);
            }
        }
        Self { directory }
    }

    /// How a JVM is told of the classes; nothing where they are not written down.
    pub(super) fn classes(&self) -> Option<String> {
        let archive = self.directory.join(CLASSES);
        archive
            .exists()
            .then(|| format!("-XX:SharedArchiveFile={}", archive.display()))
    }

    /// Makes `data` the formatted storage of node `id`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub(super) fn format(&self, data: &Path, id: usize) {
        copy(&self.directory.join(STORAGE), data);
        let path = data.join(IDENTITY);
        let of_another = fs::read_to_string(&path).expect("formatted storage has an identity");
        let own: Vec<String> = of_another.lines().map(|line| owned_by(line, id)).collect();
        fs::write(path, own.join("\n") + "\n").expect("the run's directory can be written");
    }
}

/// A line of an identity, for node `id`; its directory is one of its own.
fn owned_by(line: &str, id: usize) -> String {
    match line.split_once('=') {
        Some(("node.id", _)) => format!("node.id={id}"),
        Some(("directory.id", _)) => {
            let unique: [u8; 16] = rand::random();
            format!("directory.id={}", BASE64_URL_SAFE_NO_PAD.encode(unique))
        }
        _ => line.to_owned(),
    }
}

fn make(version: &str, jars: &Path, directory: &Path) {
    let work = jars.join(MAKING);
    // Left by one that was killed.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir(&work).expect("the jars' directory is writable");
    let options = KafkaOptions {
        version: version.to_owned(),
        ..KafkaOptions::default()
    };
    let written = format!("-XX:ArchiveClassesAtExit={}", work.join(CLASSES).display());
    let ports = [(free_port(), free_port())];
    let node = Node::prepare(&options, jars, &ports, 0, Some(written));
    node.format_by_tool();
    copy(&node.data(), &work.join(STORAGE));
    let mut broker = Process::start(node.serve());
    let bootstrap = format!("127.0.0.1:{}", node.port);
    until(&mut broker, "serves", |_| brokers_alive(&bootstrap) == 1);
    // The classes are written down when it ends by itself, which takes longer than ending does elsewhere.
    broker.signal("TERM");
    until(&mut broker, "has ended", |broker| !broker.is_running());
    fs::rename(&work, directory).expect("a directory can be renamed where it lies");
}

fn until(broker: &mut Process, what: &str, mut holds: impl FnMut(&mut Process) -> bool) {
    let start = Instant::now();
    while !holds(broker) {
        assert!(
            start.elapsed() < START_DEADLINE,
            "waited {START_DEADLINE:?} in vain until the first broker {what}; its log is in {}:\n{}",
            Run::this().directory().display(),
            broker.log_tail(20)
        );
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Copies the files of a directory that has no further one within.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory can be made");
    for file in fs::read_dir(from).expect("formatted storage is a directory") {
        let file = file.expect("a directory can be read");
        fs::copy(file.path(), to.join(file.file_name())).expect("a file can be copied");
    }
}
