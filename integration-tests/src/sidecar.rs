//! A real sidecar beside one application.
//!
//! It promises to take connections when `start` returns. It keeps its port over a restart, as an application expects.

use std::time::Duration;

use crate::{
    binaries::binary,
    ports::{free_port, free_ports},
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// How long a sidecar may take until it serves. Before that it registers in the control topic, which waits for the broker.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// Ports kept for one sidecar: its first for bootstrap, and as many for brokers beside it.
const PORTS: u16 = 8;

/// How to start a sidecar; flags as 3 in the command's own help.
#[derive(Clone, Debug)]
pub struct SidecarOptions {
    /// The service its application belongs to.
    pub service: String,
    /// Which instance of the service.
    pub instance: String,
    /// The deployment.
    pub deployment: String,
    /// The brokers.
    pub kafka: String,
    /// The admin API's URL; without, it is a plain transparent proxy.
    pub admin: Option<String>,
    /// `commit`, or `hook=URL`.
    pub capture: Option<String>,
    /// State providers.
    pub state: Vec<String>,
    /// Other flags.
    pub arguments: Vec<String>,
    /// Variables for its environment.
    pub environment: Vec<(String, String)>,
}

impl SidecarOptions {
    /// A plain transparent proxy to `kafka`.
    #[must_use]
    pub fn transparent(kafka: &str) -> Self {
        Self {
            service: "app".into(),
            instance: "0".into(),
            deployment: "test".into(),
            kafka: kafka.into(),
            admin: None,
            capture: None,
            state: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    port: u16,
    metrics: u16,
    process: Process,
}

impl Sidecar {
    /// Starts one and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not within [`START_DEADLINE`].
    pub async fn start(options: &SidecarOptions) -> Self {
        let mut sidecar = Self::launch(options);
        sidecar.wait_ready().await;
        sidecar
    }

    /// Starts one and does not wait.
    #[must_use]
    pub fn launch(options: &SidecarOptions) -> Self {
        let (port, metrics) = (free_ports(PORTS)[0], free_port());
        let name = format!("sidecar-{}-{}", options.service, options.instance);
        let log = Run::this().part(&name).join("log");
        let mut spec = ProcessSpec::new(&name, binary("cutline-sidecar"), log)
            .args([
                "--service",
                &options.service,
                "--instance",
                &options.instance,
            ])
            .args([
                "--deployment",
                &options.deployment,
                "--kafka",
                &options.kafka,
            ])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--metrics", &format!("127.0.0.1:{metrics}")]);
        for (flag, value) in [("--admin", &options.admin), ("--capture", &options.capture)] {
            if let Some(value) = value {
                spec = spec.args([flag, value]);
            }
        }
        for state in &options.state {
            spec = spec.args(["--state", state]);
        }
        spec = spec.args(&options.arguments);
        spec.environment.extend(options.environment.iter().cloned());
        Self {
            port,
            metrics,
            process: Process::start(spec),
        }
    }

    /// What its application takes for Kafka.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its `/metrics`, `/healthz` and `/readyz` are.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.metrics)
    }

    /// Its process: to kill, freeze, or look at the log of.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it (killed with `kill -9` when `hard`) and starts it again on the same port: a new incarnation.
    pub async fn restart(&mut self, hard: bool) {
        if hard {
            self.process.kill();
        } else {
            self.process.terminate();
        }
        self.process.start_again();
        self.wait_ready().await;
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it ends, or does not within [`START_DEADLINE`].
    pub async fn wait_ready(&mut self) {
        let address = self.bootstrap();
        wait_until(START_DEADLINE, "the sidecar to take connections", || {
            let ended = self.process.exit_status();
            assert!(
                ended.is_none(),
                "{} ended ({ended:?}):\n{}",
                self.process.name(),
                self.process.log_tail(20)
            );
            let address = address.clone();
            async move { tokio::net::TcpStream::connect(address).await.is_ok() }
        })
        .await;
    }
}
