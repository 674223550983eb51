//! What is found while this admin API is still starting: what it waits for, and whether the brokers' addresses lead anywhere.

use std::{io, time::Duration};

use cutline_client::{DiagnosisView, Finding};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::finding::{fail, ok};
use crate::ready::Shell;

const ADDRESS: &str = "kafka.bootstrap";
/// How long a broker may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where the parts are looked for.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The deployment.
    pub deployment: String,
    /// Kafka's bootstrap servers.
    pub kafka: Vec<String>,
    /// The store's address, without secrets.
    pub store: String,
}

/// What the start waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Which part.
    pub part: Part,
    /// Why it cannot be used; `None`: it is being reached.
    pub error: Option<String>,
}

/// What a start needs, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Brokers.
    Kafka,
    /// The control topic.
    ControlTopic,
    /// The store.
    Store,
}

impl Part {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::ControlTopic => "the control topic",
            Self::Store => "the store",
        }
    }
}

/// Looks at what can be looked at.
pub async fn look(shell: &Shell) -> DiagnosisView {
    let around = shell.surroundings();
    let mut findings: Vec<Finding> = Vec::new();
    if let Some(obstacle) = shell.obstacle() {
        findings.push(judge(&obstacle, &around));
    }
    let tried = around.kafka.iter().map(|address| async move {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let connected = match connecting.await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        judge_address(address, &connected)
    });
    findings.extend(join_all(tried).await);
    DiagnosisView {
        at: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        deployment: around.deployment,
        leading: false,
        findings,
    }
}

fn judge(obstacle: &Obstacle, around: &Surroundings) -> Finding {
    let deployment = &around.deployment;
    let (id, subject, cure) = match obstacle.part {
        Part::Kafka => (
            "kafka.brokers",
            around.kafka.join(", "),
            "correct --kafka, or see what is said of each address below".to_owned(),
        ),
        Part::ControlTopic => (
            "control.topic",
            format!("__cutline.{deployment}"),
            format!("allow the admin API's user Create, Describe, Read and Write on Topic __cutline.{deployment} and Read on Group __cutline.{deployment} (prefixed), and see that the brokers' advertised addresses are reached from here"),
        ),
        Part::Store => (
            "store.create",
            around.store.clone(),
            "correct --store; a directory must be there and writable by the admin API's user, a bucket must exist and its credentials allow what docs/storage-format.md lists".to_owned(),
        ),
    };
    let error = obstacle.error.as_deref().unwrap_or("no answer yet");
    let part = obstacle.part.words();
    let what = format!("the admin API cannot start without {part}: {error}");
    fail(id, subject, what, cure)
}

fn judge_address(address: &str, connected: &io::Result<()>) -> Finding {
    let Err(error) = connected else {
        return ok(ADDRESS, address, "takes connections");
    };
    let cure = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nobody listens there: start the broker, or correct the port in --kafka"
        }
        io::ErrorKind::TimedOut => {
            "nothing comes back: see the host, firewalls and network policies between the admin API and the broker"
        }
        _ => "correct the name in --kafka, or the name service of the admin API's machine",
    };
    fail(
        ADDRESS,
        address,
        format!("cannot be reached: {error}"),
        cure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_waits_for_is_named_with_its_setting() {
        let around = Surroundings {
            deployment: "prod".to_owned(),
            kafka: vec!["k:1".to_owned()],
            store: "s3://b/".to_owned(),
        };
        for (part, subject, cure) in [
            (Part::Kafka, "k:1", "--kafka"),
            (Part::ControlTopic, "__cutline.prod", "__cutline.prod"),
            (Part::Store, "s3://b/", "--store"),
        ] {
            let error = Some("no".to_owned());
            let found = judge(&Obstacle { part, error }, &around);
            assert_eq!(found.subject, subject);
            assert!(found.cure.unwrap().contains(cure));
        }
    }

    #[test]
    fn a_refused_connection_is_told_from_a_silent_one() {
        let cure = |kind: io::ErrorKind| judge_address("k:1", &Err(kind.into())).cure.unwrap();
        assert!(cure(io::ErrorKind::ConnectionRefused).contains("nobody listens"));
        assert!(cure(io::ErrorKind::TimedOut).contains("firewalls"));
        assert!(cure(io::ErrorKind::NotFound).contains("name"));
    }
}
