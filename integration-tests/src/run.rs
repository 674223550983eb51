//! One run of a test process: the directory of everything it writes, and the end of everything it started.
//!
//! A guardian, a few lines of shell at the other end of a pipe, sees the pipe close when this process ends in whatever way (a return, a
//! panic, a kill -9), ends what is left of its children and removes the directory; after a panic the logs stay, and the panic says where.
//! It refuses to know what the children are.

use std::{
    collections::BTreeSet,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use parking_lot::Mutex;

static RUN: OnceLock<Run> = OnceLock::new();

/// Kills by process group, so that a child's own children go with it. Data is large and goes in any case; logs are small and tell.
const GUARDIAN: &str = r#"
pids=; mounts=; keep=0
while read -r verb pid; do
    case "$verb" in
        watch) pids="$pids $pid" ;;
        forget) left=; for each in $pids; do [ "$each" = "$pid" ] || left="$left $each"; done; pids=$left ;;
        mounted) mounts="$mounts $pid" ;;
        keep) keep=1 ;;
        release) exit 0 ;;
    esac
done
for pid in $pids; do kill -s KILL -- "-$pid" 2>/dev/null; done
for mount in $mounts; do umount -l "$mount" 2>/dev/null; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    if [ "$keep" = 1 ]; then rm -rf -- "$1"/*/data 2>/dev/null; else rm -rf -- "$1" 2>/dev/null; fi && exit 0
    sleep 0.1
done
"#;

/// The run of this process; there is one.
#[derive(Debug)]
pub struct Run {
    directory: PathBuf,
    guardian: Mutex<Child>,
    watched: Mutex<BTreeSet<u32>>,
}

impl Run {
    /// The run of this process, begun at the first call.
    ///
    /// # Panics
    /// When its directory or its guardian cannot be made.
    pub fn this() -> &'static Self {
        RUN.get_or_init(Self::begin)
    }

    /// A directory of its own for one part, made now.
    ///
    /// What lies in its `data` is dropped when the run ends, the rest is kept after a failure.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        for number in 1_u32.. {
            let directory = self.directory.join(format!("{name}-{number}"));
            match std::fs::create_dir(&directory) {
                Ok(()) => return directory,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{} cannot be made: {error}", directory.display()),
            }
        }
        unreachable!("four billion parts of one name")
    }

    /// The directory everything of this run lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Has the logs kept when the process ends.
    pub fn keep_logs(&self) {
        self.tell("keep", 0);
    }

    /// Lets everything go on when the process ends: nothing is killed, nothing removed.
    pub fn leave_running(&self) {
        self.tell("release", 0);
    }

    /// Writes a script that ends by pid all that runs now and removes the directory; for what is left running.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write_end_script(&self) -> PathBuf {
        let groups: Vec<String> = self
            .watched
            .lock()
            .iter()
            .map(|pid| format!("-{pid}"))
            .collect();
        let script = self.directory.join("end");
        let text = format!(
            "kill -s KILL -- {}\nsleep 1\nrm -rf -- '{}'\n",
            groups.join(" "),
            self.directory.display()
        );
        std::fs::write(&script, text).expect("the run's directory can be written");
        script
    }

    /// Has the process group `pid` killed when this process ends.
    pub(crate) fn watch(&self, pid: u32) {
        self.watched.lock().insert(pid);
        self.tell("watch", pid);
    }

    /// Forgets a process group that is gone, since its number may come again.
    pub(crate) fn forget(&self, pid: u32) {
        self.watched.lock().remove(&pid);
        self.tell("forget", pid);
    }

    /// Has what is mounted at `path` taken away when this process ends.
    pub(crate) fn mounted(&self, path: &Path) {
        self.tell("mounted", path.display());
    }

    fn tell(&self, verb: &str, what: impl std::fmt::Display) {
        // A guardian that is gone has nothing left to do; a test is not failed for it.
        if let Some(pipe) = &mut self.guardian.lock().stdin {
            let _ = writeln!(pipe, "{verb} {what}");
        }
    }

    fn begin() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("cutline-run-")
            .tempdir()
            .expect("a directory for the run can be made")
            .keep();
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // In a group of its own it outlives a ctrl-C that ends this process.
            .process_group(0)
            .spawn()
            .expect("sh can be started");
        keep_logs_after_a_panic(&directory);
        Self {
            directory,
            guardian: Mutex::new(guardian),
            watched: Mutex::default(),
        }
    }
}

fn keep_logs_after_a_panic(directory: &Path) {
    let before = std::panic::take_hook();
    let directory = directory.to_owned();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        if let Some(run) = RUN.get() {
            run.keep_logs();
        }
        eprintln!("logs of this run are kept in {}", directory.display());
    }));
}
