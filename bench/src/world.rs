//! What the measurements of checkpoints stand on: a Kafka and an admin API of their own, relays behind sidecars.
//!
//! It promises that a relay reads through its sidecar and that its state and capture are what it was asked for. It measures nothing.

use std::path::PathBuf;

use clap::ValueEnum;
use integration_tests::{
    Admin, AdminOptions, Kafka, KafkaOptions, Run, Services, Sidecar, SidecarOptions,
    flow::{Relay, RelayOptions},
    topics::unique_name,
};
use tokio::sync::watch;

use crate::hook;

/// How a relay's sidecar learns that work is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Capture {
    /// By its commits; its state is a directory
    Commit,
    /// By its hook, which carries its state too
    Hook,
}

impl Capture {
    /// What a service captured so is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Hook => "hook",
        }
    }
}

/// An installation: an admin API over a Kafka.
pub struct World {
    pub kafka: String,
    pub admin: Admin,
    deployment: String,
    services: Option<Services>,
}

/// A service: a relay behind a sidecar.
pub struct Service {
    pub relay: Relay,
    pub sidecar: Sidecar,
}

/// A Kafka fit to be measured on.
pub async fn kafka() -> Kafka {
    Kafka::start(KafkaOptions {
        heap_mib: 1_024,
        optimised: true,
        ..KafkaOptions::default()
    })
    .await
}

impl World {
    /// An admin API over the Kafka at `kafka`, with a deployment and a store of its own: on S3, PostgreSQL and Redis when it
    /// is to be `full`, else on files and memory.
    pub async fn start(kafka: &str, full: bool) -> Self {
        let deployment = unique_name("bench");
        let services = if full {
            Some(Services::start().await)
        } else {
            None
        };
        let mut over = AdminOptions {
            arguments: vec!["--deployment".into(), deployment.clone()],
            ..AdminOptions::over(kafka)
        };
        if let Some(services) = &services {
            over = services.under(over, &deployment);
        }
        Self {
            kafka: kafka.to_owned(),
            admin: Admin::start(&over).await,
            deployment,
            services,
        }
    }

    /// Starts service `name`, a relay as `options` say but behind a sidecar of its own, with state of `state_bytes`.
    pub async fn service(
        &self,
        name: &str,
        capture: Capture,
        state_bytes: usize,
        mut options: RelayOptions,
    ) -> Service {
        let (relay_known, relay) = watch::channel(None);
        let mut beside = SidecarOptions {
            service: name.into(),
            deployment: self.deployment.clone(),
            admin: Some(self.admin.url()),
            ..SidecarOptions::transparent(&self.kafka)
        };
        if let Some(services) = &self.services {
            beside.environment = services.environment();
        }
        match capture {
            Capture::Commit => match &self.services {
                Some(services) => {
                    let url = services.table("bench", state_bytes).await;
                    // Not as a flag: it holds a password.
                    beside.environment.push(("CUTLINE_STATE".into(), url));
                }
                None => {
                    let directory = state_directory(name, state_bytes);
                    beside.state = vec![format!("dir:{}", directory.display())];
                    options.state = Some(directory);
                }
            },
            Capture::Hook => {
                let url = hook::serve(relay, state_bytes).await;
                beside.capture = Some(format!("hook={url}"));
                beside.state = vec![url];
            }
        }
        let sidecar = Sidecar::start(&beside).await;
        options.bootstrap = sidecar.bootstrap();
        let relay = Relay::start(options);
        relay_known.send_replace(Some(relay.control()));
        Service { relay, sidecar }
    }
}

/// A directory with a file of `bytes`, beside which a relay writes its positions.
fn state_directory(name: &str, bytes: usize) -> PathBuf {
    let directory = Run::this().part(&format!("state-{name}")).join("data");
    std::fs::create_dir_all(&directory).expect("the run's directory can be written");
    let filling: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
    std::fs::write(directory.join("filling"), filling).expect("the run's directory can be written");
    directory
}
