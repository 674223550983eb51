//! A real Redis server on a port and in a directory of its own, to be killed, frozen, emptied and started again.
//!
//! It promises to answer `PING` when `start` returns, and to keep its port and directory over a restart. What it holds is lost when
//! it is killed: it writes nothing to its disk unless asked to with `--save` or `--appendonly`. It knows no key and no value.

use std::{process::Stdio, time::Duration};

use crate::{
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// How long a server may take until it answers.
pub const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long a command may take. A frozen server answers none.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
const CLI_MISSING: &str = "redis-cli can be run; scripts/install-prerequisites redis installs it";

/// How to start a Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// The default user's password; `None`: anyone may do anything.
    pub password: Option<String>,
    /// Other flags, such as `--maxmemory`, each followed by its value.
    pub arguments: Vec<String>,
}

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    password: Option<String>,
    process: Process,
}

impl Redis {
    /// Starts one that is empty and waits until it answers.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start(options: &RedisOptions) -> Self {
        let port = free_port();
        let directory = Run::this().part("redis");
        let data = directory.join("data");
        std::fs::create_dir(&data).expect("the run's directory can be written");
        let mut spec = ProcessSpec::new("redis", "redis-server", directory.join("log"))
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(data);
        if let Some(password) = &options.password {
            spec = spec.args(["--requirepass", password]);
        }
        let mut redis = Self {
            port,
            password: options.password.clone(),
            process: Process::start(spec.args(&options.arguments)),
        };
        redis.wait_ready().await;
        redis
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, with its password, as `redis://[:password@]127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it was killed and not started again.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid().expect("a server that runs has one")
    }

    /// Its process: to freeze, thaw, or look at the log of.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it (SIGKILL): it is gone, and what it held with it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after it was killed, on the same port.
    pub async fn start_again(&mut self) {
        self.process.start_again();
        self.wait_ready().await;
    }

    /// Stops it without ending it (SIGSTOP): connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Removes every key of every database.
    ///
    /// # Panics
    /// When it does not do it.
    pub async fn flush(&self) {
        assert_eq!(self.command(&["FLUSHALL"]).await, "OK");
    }

    /// Runs one command against database 0 and gives the answer as `redis-cli` prints it to a file, without the last newline.
    ///
    /// # Panics
    /// When it is not answered within [`COMMAND_DEADLINE`].
    pub async fn command(&self, command: &[&str]) -> String {
        self.try_command(command).await.unwrap_or_else(|| {
            panic!("redis on port {} does not answer {command:?}", self.port);
        })
    }

    /// The same, `None` when it is not answered.
    pub async fn try_command(&self, command: &[&str]) -> Option<String> {
        ask(self.port, self.password.clone(), command).await
    }

    /// Sends one command over and over, each when the one before was answered, until what is returned is dropped.
    ///
    /// # Panics
    /// When `redis-cli` cannot be run.
    #[must_use]
    pub fn repeat(&self, command: &[&str]) -> tokio::process::Child {
        let mut cli = cli(self.port, self.password.as_deref());
        cli.args(["-r", "-1"]).args(command).stdout(Stdio::null());
        cli.spawn().expect(CLI_MISSING)
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it ends, or does not within [`START_DEADLINE`].
    pub async fn wait_ready(&mut self) {
        let deadline = START_DEADLINE;
        wait_until(deadline, "redis to answer", || {
            let ended = self.process.exit_status();
            assert!(
                ended.is_none(),
                "redis ended ({ended:?}):\n{}",
                self.process.log_tail(20)
            );
            let (port, password) = (self.port, self.password.clone());
            async move {
                ask(port, password, &["PING"])
                    .await
                    .is_some_and(|answer| answer == "PONG")
            }
        })
        .await;
    }
}

fn cli(port: u16, password: Option<&str>) -> tokio::process::Command {
    let mut cli = tokio::process::Command::new("redis-cli");
    cli.args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some(password) = password {
        cli.env("REDISCLI_AUTH", password);
    }
    cli
}

async fn ask(port: u16, password: Option<String>, command: &[&str]) -> Option<String> {
    let mut cli = cli(port, password.as_deref());
    cli.args(command);
    let output = tokio::time::timeout(COMMAND_DEADLINE, cli.output()).await;
    let output = output.ok()?.expect(CLI_MISSING);
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_redis_keeps_its_port_and_loses_its_keys_when_killed() {
        let options = RedisOptions {
            password: Some("not for everyone".into()),
            ..RedisOptions::default()
        };
        let mut redis = Redis::start(&options).await;
        assert_eq!(redis.command(&["SET", "a", "1"]).await, "OK");
        let port = redis.port();
        redis.kill();
        assert_eq!(redis.try_command(&["GET", "a"]).await, None);
        redis.start_again().await;
        assert_eq!(
            (redis.port(), &*redis.command(&["DBSIZE"]).await),
            (port, "0")
        );
    }
}
