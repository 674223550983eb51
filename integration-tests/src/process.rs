//! A child process that can be ended in every way a test wants, and started again as it was.
//!
//! It runs in a process group of its own, its output goes to a log file, and it is gone when this value is dropped or the run ends.
//! It refuses to know what the program does; being ready is for its owner to judge.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use crate::run::Run;

/// How long a process may take to end after being asked to, before it is killed.
pub const TERMINATE_DEADLINE: Duration = Duration::from_secs(10);
/// How often an ending process is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What to run: kept, so that a process can be started again exactly as it was.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// What it is called in messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What is added to this process's environment.
    pub environment: Vec<(String, String)>,
    /// Where stdout and stderr go, appended.
    pub log: PathBuf,
}

impl ProcessSpec {
    /// A program without arguments that logs to `log`.
    #[must_use]
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            log: log.into(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// A child process, running or ended.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Option<Child>,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When the program or its log cannot be opened.
    #[must_use]
    pub fn start(spec: ProcessSpec) -> Self {
        let mut process = Self { spec, child: None };
        process.start_again();
        process
    }

    /// Starts it again as it was, after it ended.
    ///
    /// # Panics
    /// When it still runs, or cannot be started.
    pub fn start_again(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.spec.name);
        self.reap();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.spec.log);
        let log = log.unwrap_or_else(|error| {
            panic!("log {} cannot be opened: {error}", self.spec.log.display())
        });
        let copy = log.try_clone().expect("an open file can be had twice");
        let child = Command::new(&self.spec.program)
            .args(&self.spec.arguments)
            .envs(
                self.spec
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} ({}) cannot be started: {error}",
                    self.spec.name,
                    self.spec.program.display()
                )
            });
        Run::this().watch(child.id());
        self.child = Some(child);
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What is run; a change takes effect at the next start.
    pub fn spec_mut(&mut self) -> &mut ProcessSpec {
        &mut self.spec
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Its process id, while it has one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none() && self.child.is_some()
    }

    /// How it ended, when it ended by itself.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) {
        if let Some(child) = &mut self.child {
            // The status stays with the child, for `exit_status`.
            let _ = child.wait();
        }
    }

    /// Waits, beside whatever else goes on, until it ends by itself or after a signal.
    ///
    /// # Panics
    /// When it ends badly; the message has its last words.
    pub async fn ended_well(mut self) -> Self {
        let ending = tokio::task::spawn_blocking(move || {
            self.wait();
            self
        });
        let mut ended = ending.await.expect("a wait for a process does not panic");
        let status = ended.exit_status();
        assert!(
            status.is_some_and(|status| status.success()),
            "{} ended badly ({status:?}):\n{}",
            ended.name(),
            ended.log_tail(30)
        );
        ended
    }

    /// Asks it to end (SIGTERM), waits, and kills it at [`TERMINATE_DEADLINE`]. Tells whether it ended when asked.
    pub fn terminate(&mut self) -> bool {
        self.signal("TERM");
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > TERMINATE_DEADLINE {
                self.kill();
                return false;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.reap();
        true
    }

    /// Kills it and all of its group at once (SIGKILL), and waits for the end.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.reap();
    }

    /// Freezes it (SIGSTOP): it keeps its connections, and does nothing any more when this returns.
    pub fn freeze(&self) {
        self.signal("STOP");
        // Each thread stops when it is scheduled next, on a busy machine a moment later; until then others of it still answer.
        let start = Instant::now();
        while self.pid().is_some_and(runs_still) && start.elapsed() < TERMINATE_DEADLINE {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The last lines of its log, for messages.
    #[must_use]
    pub fn log_tail(&self, lines_max: usize) -> String {
        let text = std::fs::read(&self.spec.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(lines_max)..].join("\n")
    }

    /// Sends a signal, by name, to its whole group.
    pub fn signal(&self, signal: &str) {
        let Some(pid) = self.pid() else { return };
        // The shell's own kill: it is everywhere, and a signal to a process that is gone is no error here.
        let _ = Command::new("sh")
            .args([
                "-c",
                "kill -s \"$1\" -- \"-$2\"",
                "signal",
                signal,
                &pid.to_string(),
            ])
            .stderr(Stdio::null())
            .status();
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its exit status was of use to nobody who did not ask before.
            let _ = child.wait();
            Run::this().forget(child.id());
        }
    }
}

/// What a program that ended had to say, or its complaint.
///
/// # Errors
/// When it did not succeed: all it said, its complaint last.
pub fn text_of(output: &Output) -> Result<String, String> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said + &String::from_utf8_lossy(&output.stderr))
    }
}

/// Whether a thread of process `pid` is neither stopped nor gone.
fn runs_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let mut states = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        // It stands after the name, which may hold anything.
        stat.rsplit(')').next()?.trim_start().chars().next()
    });
    states.any(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let log = Run::this().part("sleeper").join("log");
        Process::start(
            ProcessSpec::new("sleeper", "sh", log).args(["-c", "echo started; sleep 60 & wait"]),
        )
    }

    fn lives(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = sleeper();
        let pid = process.pid().unwrap();
        assert!(lives(pid));
        drop(process);
        assert!(!lives(pid));
    }

    #[test]
    fn a_frozen_process_does_nothing_until_it_is_thawed() {
        let process = sleeper();
        let pid = process.pid().unwrap();
        assert!(runs_still(pid));
        process.freeze();
        assert!(!runs_still(pid));
        process.thaw();
        while !runs_still(pid) {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    #[test]
    fn a_killed_process_starts_again_as_it_was() {
        let mut process = sleeper();
        let first = process.pid().unwrap();
        process.kill();
        assert!(!process.is_running());
        process.start_again();
        assert!(process.is_running());
        assert_ne!(process.pid().unwrap(), first);
        assert!(process.terminate(), "a shell ends when asked");
    }
}
