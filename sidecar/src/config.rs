//! What a sidecar is told when it starts: flags, `CUTLINE_…` variables, a YAML file, in that order of precedence.
//!
//! Parsed once into types that cannot be wrong. A key that is not known is an error that names the nearest one; nothing
//! is silently ignored.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::Parser;
use cutline_model::{InstanceName, ServiceName, TopicName};
use thiserror::Error;

/// A sidecar that is not told otherwise belongs to this deployment.
pub const DEPLOYMENT_DEFAULT: &str = "default";
/// An instance that is the only one of its service needs no name.
pub const INSTANCE_DEFAULT: &str = "0";
/// How long fetches are forwarded without the control topic: longer than a broker's failover, shorter than anybody waits
/// for a restore.
pub const CONTROL_STALE_DEFAULT: Duration = Duration::from_secs(30);
// Names below this likeness are not offered as what was meant.
const LIKENESS_MIN: f64 = 0.6;

/// What may be on the command line and in the environment.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "cutline-sidecar",
    version,
    about = "Stands between an application and Kafka: transparent, until a checkpoint or a restore is on"
)]
pub struct Arguments {
    /// The service that the application is
    #[arg(long, env = "CUTLINE_SERVICE")]
    pub service: Option<String>,
    /// The application's name within its service [default: 0]
    #[arg(long, env = "CUTLINE_INSTANCE")]
    pub instance: Option<String>,
    /// The installation that all this belongs to [default: default]
    #[arg(long, env = "CUTLINE_DEPLOYMENT")]
    pub deployment: Option<String>,
    /// Some brokers of the cluster, HOST:PORT with commas
    #[arg(long, env = "CUTLINE_KAFKA")]
    pub kafka: Option<String>,
    /// Where the application finds Kafka, HOST:PORT; brokers follow on the ports after it
    #[arg(long, env = "CUTLINE_LISTEN")]
    pub listen: Option<String>,
    /// The admin API, http://HOST:PORT; without it the sidecar is a plain proxy
    #[arg(long, env = "CUTLINE_ADMIN")]
    pub admin: Option<String>,
    /// How finished work is recognised: commit, or hook=URL [default: commit]
    #[arg(long, env = "CUTLINE_CAPTURE")]
    pub capture: Option<String>,
    /// The application's state, may be repeated: http, dir:PATH, none; ?scope=service when instances share it
    #[arg(long, env = "CUTLINE_STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Where state goes, when not where the admin API says
    #[arg(long, env = "CUTLINE_STORE")]
    pub store: Option<String>,
    /// Topics whose readers without a group can read them again from the start, with commas
    #[arg(long, env = "CUTLINE_REBUILDABLE", value_delimiter = ',')]
    pub rebuildable: Vec<String>,
    /// Where /metrics, /healthz and /readyz are, HOST:PORT [default: nowhere]
    #[arg(long, env = "CUTLINE_METRICS")]
    pub metrics: Option<String>,
    /// How long fetches go on without the control topic, in milliseconds [default: 30000]
    #[arg(long, env = "CUTLINE_CONTROL_STALE_TIMEOUT_MS")]
    pub control_stale_timeout_ms: Option<u64>,
    /// A YAML file with any of these, by the same names
    #[arg(long, env = "CUTLINE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How the sidecar learns that what was delivered is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureSpec {
    /// By the groups' commits.
    Commit,
    /// By the application's hook at this URL.
    Hook(String),
}

/// A sidecar's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service.
    pub service: ServiceName,
    /// Its instance.
    pub instance: InstanceName,
    /// The installation.
    pub deployment: String,
    /// Some brokers.
    pub kafka: Vec<String>,
    /// Where the application finds Kafka.
    pub listen: SocketAddr,
    /// The admin API; without it the sidecar is a plain proxy.
    pub admin: Option<String>,
    /// How finished work is recognised.
    pub capture: CaptureSpec,
    /// The application's state.
    pub states: Vec<String>,
    /// Where state goes, when not where the admin API says.
    pub store: Option<String>,
    /// Topics that readers without a group can read again.
    pub rebuildable: Vec<TopicName>,
    /// Where metrics are offered.
    pub metrics: Option<SocketAddr>,
    /// How long fetches go on without the control topic.
    pub control_stale_timeout: Duration,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A key of the file is not known.
    #[error("unknown key {key:?} in the configuration{}", nearest.as_ref().map(|near| format!(": did you mean {near:?}?")).unwrap_or_default())]
    UnknownKey {
        /// As written.
        key: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// Something that must be there is not.
    #[error("{0} is needed")]
    Missing(&'static str),
    /// A value that means nothing.
    #[error("{key} {value:?}: {reason}")]
    Value {
        /// Which.
        key: &'static str,
        /// As written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

const KEYS: [&str; 12] = [
    "service",
    "instance",
    "deployment",
    "kafka",
    "listen",
    "admin",
    "capture",
    "state",
    "store",
    "rebuildable",
    "metrics",
    "control-stale-timeout-ms",
];

impl Config {
    /// The configuration of `arguments` and the file they name.
    pub fn load(mut arguments: Arguments) -> Result<Self, ConfigError> {
        if let Some(path) = arguments.config.take() {
            let file = |reason: String| ConfigError::File {
                path: path.display().to_string(),
                reason,
            };
            let text = std::fs::read_to_string(&path).map_err(|error| file(error.to_string()))?;
            let values = serde_yaml_ng::from_str(&text).map_err(|error| file(error.to_string()))?;
            arguments.fill_in(values)?;
        }
        Self::check(arguments)
    }

    fn check(arguments: Arguments) -> Result<Self, ConfigError> {
        let admin = arguments.admin.filter(|admin| !admin.is_empty());
        let service = match (arguments.service, &admin) {
            (Some(service), _) => service,
            // Nobody asks a plain proxy for its name.
            (None, None) => "application".to_owned(),
            (None, Some(_)) => return Err(ConfigError::Missing("--service")),
        };
        let kafka = arguments.kafka.ok_or(ConfigError::Missing("--kafka"))?;
        let listen = arguments.listen.ok_or(ConfigError::Missing("--listen"))?;
        let stale = arguments
            .control_stale_timeout_ms
            .map(Duration::from_millis);
        Ok(Self {
            service: name("service", service)?.into(),
            instance: name(
                "instance",
                arguments.instance.unwrap_or(INSTANCE_DEFAULT.to_owned()),
            )?
            .into(),
            deployment: name(
                "deployment",
                arguments
                    .deployment
                    .unwrap_or(DEPLOYMENT_DEFAULT.to_owned()),
            )?,
            kafka: brokers(&kafka)?,
            listen: address("listen", &listen)?,
            admin: admin.map(url).transpose()?,
            capture: capture(arguments.capture.as_deref().unwrap_or("commit"))?,
            states: arguments.state,
            store: arguments.store,
            rebuildable: arguments
                .rebuildable
                .into_iter()
                .map(TopicName::from)
                .collect(),
            metrics: arguments
                .metrics
                .map(|at| address("metrics", &at))
                .transpose()?,
            control_stale_timeout: stale.unwrap_or(CONTROL_STALE_DEFAULT),
        })
    }
}

impl Arguments {
    // What flags and environment do not say.
    fn fill_in(
        &mut self,
        values: Option<BTreeMap<String, serde_yaml_ng::Value>>,
    ) -> Result<(), ConfigError> {
        for (key, value) in values.unwrap_or_default() {
            let key = key.replace('_', "-");
            let Some(known) = KEYS.iter().find(|known| **known == key) else {
                let nearest = nearest(&key);
                return Err(ConfigError::UnknownKey { key, nearest });
            };
            let values = texts(known, value)?;
            let joined = values.join(",");
            match *known {
                "service" => self.service = self.service.take().or(Some(joined)),
                "instance" => self.instance = self.instance.take().or(Some(joined)),
                "deployment" => self.deployment = self.deployment.take().or(Some(joined)),
                "kafka" => self.kafka = self.kafka.take().or(Some(joined)),
                "listen" => self.listen = self.listen.take().or(Some(joined)),
                "admin" => self.admin = self.admin.take().or(Some(joined)),
                "capture" => self.capture = self.capture.take().or(Some(joined)),
                "store" => self.store = self.store.take().or(Some(joined)),
                "metrics" => self.metrics = self.metrics.take().or(Some(joined)),
                "state" if self.state.is_empty() => self.state = values,
                "rebuildable" if self.rebuildable.is_empty() => self.rebuildable = values,
                "control-stale-timeout-ms" if self.control_stale_timeout_ms.is_none() => {
                    let millis = joined.parse().map_err(|_| ConfigError::Value {
                        key: "control-stale-timeout-ms",
                        value: joined.clone(),
                        reason: "not a number of milliseconds".to_owned(),
                    });
                    self.control_stale_timeout_ms = Some(millis?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn nearest(key: &str) -> Option<&'static str> {
    let likeness = |known: &str| strsim::jaro_winkler(key, known);
    let best = KEYS
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

fn texts(key: &'static str, value: serde_yaml_ng::Value) -> Result<Vec<String>, ConfigError> {
    use serde_yaml_ng::Value;
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Sequence(values) => {
            let nested: Result<Vec<_>, _> =
                values.into_iter().map(|value| texts(key, value)).collect();
            Ok(nested?.concat())
        }
        other => Err(ConfigError::Value {
            key,
            value: format!("{other:?}"),
            reason: "a text or a list of texts is expected".to_owned(),
        }),
    }
}

// Names become parts of topic names, transactional ids and object keys.
fn name(key: &'static str, value: String) -> Result<String, ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if value.is_empty() || value.len() > 100 || !value.bytes().all(fits) {
        return Err(ConfigError::Value {
            key,
            value,
            reason: "1 to 100 letters, digits, '-', '_' and '.'".to_owned(),
        });
    }
    Ok(value)
}

fn brokers(list: &str) -> Result<Vec<String>, ConfigError> {
    let brokers: Vec<String> = list
        .split(',')
        .map(str::trim)
        .filter(|broker| !broker.is_empty())
        .map(str::to_owned)
        .collect();
    let wrong = brokers.iter().find(|broker| {
        let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        !matches!(port, Some(Ok(_)))
    });
    if brokers.is_empty() || wrong.is_some() {
        return Err(ConfigError::Value {
            key: "kafka",
            value: wrong.cloned().unwrap_or_default(),
            reason: "HOST:PORT is expected".to_owned(),
        });
    }
    Ok(brokers)
}

fn address(key: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |reason: String| ConfigError::Value {
        key,
        value: value.to_owned(),
        reason,
    };
    let mut addresses = value
        .to_socket_addrs()
        .map_err(|error| wrong(error.to_string()))?;
    addresses
        .next()
        .ok_or_else(|| wrong("HOST:PORT is expected".to_owned()))
}

fn url(value: String) -> Result<String, ConfigError> {
    match url::Url::parse(&value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(value),
        _ => Err(ConfigError::Value {
            key: "admin",
            value,
            reason: "http://HOST:PORT is expected".to_owned(),
        }),
    }
}

fn capture(value: &str) -> Result<CaptureSpec, ConfigError> {
    match value.split_once('=') {
        None if value == "commit" => Ok(CaptureSpec::Commit),
        Some(("hook", url)) if url::Url::parse(url).is_ok() => {
            Ok(CaptureSpec::Hook(url.to_owned()))
        }
        _ => Err(ConfigError::Value {
            key: "capture",
            value: value.to_owned(),
            reason: "commit or hook=URL is expected".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let mut arguments = Arguments::parse_from([&["cutline-sidecar"], flags].concat());
        arguments.fill_in(serde_yaml_ng::from_str(yaml).unwrap())?;
        Config::check(arguments)
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = load("lisen: 127.0.0.1:1", &[]).unwrap_err().to_string();
        assert!(error.contains("\"listen\""), "{error}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let yaml =
            "kafka: [a:1, b:2]\nlisten: 127.0.0.1:7000\nservice: file\ncontrol-stale-timeout-ms: 5";
        let config = load(
            yaml,
            &["--service", "flag", "--capture", "hook=http://127.0.0.1:1/"],
        )
        .unwrap();
        assert_eq!(config.service.as_str(), "flag");
        assert_eq!(config.kafka, ["a:1", "b:2"]);
        assert_eq!(config.control_stale_timeout, Duration::from_millis(5));
        assert_eq!(
            config.capture,
            CaptureSpec::Hook("http://127.0.0.1:1/".to_owned())
        );
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let wrong = [
            "kafka: a\nlisten: 127.0.0.1:1",
            "kafka: a:1",
            "kafka: a:1\nlisten: 127.0.0.1:1\ncapture: magic",
            "kafka: a:1\nlisten: 127.0.0.1:1\nadmin: http://127.0.0.1:1",
            "kafka: a:1\nlisten: 127.0.0.1:1\nservice: 'a b'",
        ];
        for yaml in wrong {
            assert!(load(yaml, &[]).is_err(), "{yaml}");
        }
    }
}
