//! A real admin API with a directory as its store unless told otherwise, and the command line that speaks to it.
//!
//! It promises to answer `/readyz` when `start` returns. It keeps its port and store over a restart. It knows JSON, not its meaning.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use serde_json::Value;

use crate::{
    binaries::binary,
    http,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// How long an admin API may take until it is ready.
pub const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long one that may be frozen is asked whether it leads.
const LEADING_TIMEOUT: Duration = Duration::from_secs(2);

/// How to start an admin API.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// The brokers.
    pub kafka: String,
    /// The store as `--store` takes it; an empty directory of its own when none is given.
    pub store: Option<String>,
    /// Other flags, such as `--deployment`.
    pub arguments: Vec<String>,
    /// Variables for its environment.
    pub environment: Vec<(String, String)>,
}

impl AdminOptions {
    /// The defaults, over `kafka`.
    #[must_use]
    pub fn over(kafka: &str) -> Self {
        Self {
            kafka: kafka.into(),
            store: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running admin API.
#[derive(Debug)]
pub struct Admin {
    port: u16,
    scheme: &'static str,
    store: PathBuf,
    process: Process,
    client: reqwest::Client,
}

impl Admin {
    /// Starts one, with an empty store unless one was given, and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within [`START_DEADLINE`].
    pub async fn start(options: &AdminOptions) -> Self {
        let mut admin = Self::launch(options);
        admin.wait_ready().await;
        admin
    }

    /// Starts one and does not wait: one that stands by is never ready, and one that speaks TLS is asked by the command line only.
    #[must_use]
    pub fn launch(options: &AdminOptions) -> Self {
        let port = free_port();
        let directory = Run::this().part("admin");
        // Checkpoints are large: they go when the run ends, while the log may stay.
        let store = directory.join("data");
        let address = options
            .store
            .clone()
            .unwrap_or_else(|| format!("file:{}", store.display()));
        let mut spec = ProcessSpec::new("admin", binary("cutline-admin"), directory.join("log"))
            .args([
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--kafka",
                &options.kafka,
            ])
            .args(["--store", &address])
            .args(&options.arguments);
        spec.environment.extend(options.environment.iter().cloned());
        let speaks_tls = (options.arguments.iter()).any(|flag| flag == "--tls-certificate");
        Self {
            port,
            scheme: if speaks_tls { "https" } else { "http" },
            store,
            process: Process::start(spec),
            client: http::client(),
        }
    }

    /// Whether it leads and answers.
    pub async fn is_leading(&self) -> bool {
        let question = self.client.get(format!("{}/readyz", self.url()));
        let answer = question.timeout(LEADING_TIMEOUT).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The directory of its store, where it was given no other.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Its process: to kill, freeze, or look at the log of.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it (killed with `kill -9` when `hard`) and starts it again on the same port and store.
    pub async fn restart(&mut self, hard: bool) {
        if hard {
            self.process.kill();
        } else {
            self.process.terminate();
        }
        self.process.start_again();
        self.wait_ready().await;
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not within [`START_DEADLINE`].
    pub async fn wait_ready(&mut self) {
        let url = format!("{}/readyz", self.url());
        wait_until(START_DEADLINE, "the admin API to be ready", || {
            let ended = self.process.exit_status();
            assert!(
                ended.is_none(),
                "the admin API ended ({ended:?}):\n{}",
                self.process.log_tail(20)
            );
            let question = self.client.get(&url).send();
            async move {
                question
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
            }
        })
        .await;
    }

    /// `GET path`: the status and the JSON, null where there is none.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.client.get(format!("{}{path}", self.url()))).await
    }

    /// `POST path` with a JSON body: the status and the JSON, null where there is none.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.client.post(format!("{}{path}", self.url())).json(body)).await
    }

    /// `PUT path` with a JSON body: the status and the JSON, null where there is none.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.client.put(format!("{}{path}", self.url())).json(body)).await
    }

    /// Runs the command line against it.
    ///
    /// # Panics
    /// When the program cannot be run.
    pub async fn cutline(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(binary("cutline"));
        command
            .args(arguments)
            .env("CUTLINE_ADMIN", self.url())
            .kill_on_drop(true);
        command.output().await.expect("the command line can be run")
    }
}

async fn read(question: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = question.send().await.expect("the admin API answers");
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("an answer has an end");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
