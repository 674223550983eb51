//! A real Prometheus, and its promtool.
//!
//! It promises to answer when `start` returns. It scrapes what it is told every second, and knows nothing of what it finds.

use std::{
    fmt::Write,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    http,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// How long it may take to answer.
pub const START_DEADLINE: Duration = Duration::from_secs(30);
const SCRAPE_INTERVAL: &str = "1s";

/// Something to scrape: `/metrics` of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The label `job`.
    pub job: String,
    /// `host:port`.
    pub address: String,
    /// The token to show.
    pub token: Option<String>,
    /// More labels.
    pub labels: Vec<(String, String)>,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    client: reqwest::Client,
    process: Process,
}

impl Prometheus {
    /// Starts one that scrapes `targets`.
    ///
    /// # Panics
    /// When it does not answer within [`START_DEADLINE`].
    pub async fn start(targets: &[Target]) -> Self {
        let directory = Run::this().part("prometheus");
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, configuration(targets)).expect("the run's directory can be written");
        let port = free_port();
        let spec = ProcessSpec::new("prometheus", "prometheus", directory.join("log")).args([
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ]);
        let mut prometheus = Self {
            port,
            client: http::client(),
            process: Process::start(spec),
        };
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait_until(START_DEADLINE, "Prometheus to be ready", || {
            let ended = prometheus.process.exit_status();
            assert!(ended.is_none(), "{}", prometheus.process.log_tail(5));
            let asked = prometheus.client.get(&ready).send();
            async move { asked.await.is_ok_and(|answer| answer.status().is_success()) }
        })
        .await;
        prometheus
    }

    /// What an expression is now: its series, or why it is none.
    ///
    /// # Errors
    /// In Prometheus' words.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let url = reqwest::Url::parse_with_params(&url, [("query", expression)]);
        let asked = self.client.get(url.expect("a local address"));
        let answer = asked.send().await.expect("Prometheus answers");
        let answer: Value = answer.json().await.expect("it answers in JSON");
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.clone()),
            None => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
        }
    }
}

fn configuration(targets: &[Target]) -> String {
    let mut text = format!("global: {{scrape_interval: {SCRAPE_INTERVAL}}}\nscrape_configs:\n");
    for (at, target) in targets.iter().enumerate() {
        let mut labels = format!("job: {:?}", target.job);
        for (name, value) in &target.labels {
            write!(labels, ", {name}: {value:?}").expect("a string takes any text");
        }
        let job = format!(
            "  - job_name: target-{at}\n    static_configs: [{{targets: [{:?}], labels: {{{labels}}}}}]\n",
            target.address
        );
        text.push_str(&job);
        if let Some(token) = &target.token {
            let shown = format!("    authorization: {{credentials: {token:?}}}\n");
            text.push_str(&shown);
        }
    }
    text
}

/// Runs promtool on files that are written for it.
///
/// # Errors
/// What it complains of.
///
/// # Panics
/// When it cannot be run.
pub fn promtool(arguments: &[&str], files: &[(&str, String)]) -> Result<String, String> {
    let directory: PathBuf = Run::this().part("promtool");
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("the run's directory can be written");
    }
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .output()
        .expect("promtool is there: scripts/install-prerequisites prometheus");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(said),
    }
}
