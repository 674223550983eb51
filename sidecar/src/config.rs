//! What a sidecar is told when it starts: flags, `CUTLINE_…` variables, a YAML file, in that order of precedence.
//!
//! Parsed once into types that cannot be wrong. How settings are found is `cutline-settings`' business, what a state or a
//! store means their own crates'.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cutline_model::{InstanceName, ServiceName, TopicName};
use cutline_security::Security;
use cutline_settings::{
    Key, Program, Settings, SettingsError, address, brokers, duration, kafka, name,
};

use crate::proxy::upstream::AppSasl;

/// A sidecar that is not told otherwise belongs to this deployment.
pub const DEPLOYMENT_DEFAULT: &str = "default";
/// An instance that is the only one of its service needs no name.
pub const INSTANCE_DEFAULT: &str = "0";
/// Nobody asks a plain proxy for its name.
pub const SERVICE_OF_A_PLAIN_PROXY: &str = "application";
/// How long fetches are forwarded without the control topic: longer than a broker's failover, shorter than anybody waits
/// for a restore.
pub const CONTROL_STALE_DEFAULT: Duration = Duration::from_secs(30);

/// `cutline-sidecar`.
pub const PROGRAM: Program = Program {
    name: "cutline-sidecar",
    version: env!("CARGO_PKG_VERSION"),
    about: "Stands between an application and Kafka: transparent, until a checkpoint or a restore is on",
    open_groups: &["kafka"],
    shared: kafka::SECURITY,
    keys: &[
        Key::one(
            "service",
            "NAME",
            "The service that the application is; needed with --admin",
        ),
        Key::one(
            "instance",
            "ID",
            "The application's name within its service [default: 0]",
        ),
        Key::one(
            "deployment",
            "NAME",
            "The installation that all this belongs to [default: default]",
        ),
        Key::one("kafka", "HOST:PORT,…", "Some brokers of the cluster"),
        Key::one(
            "listen",
            "HOST:PORT",
            "Where the application finds Kafka; brokers follow on the ports after it",
        ),
        Key::one(
            "app-sasl",
            "passthrough|sidecar",
            "Who the application is to brokers: who it says, or who the sidecar is [default: passthrough]",
        ),
        Key::one(
            "admin",
            "URL",
            "The admin API, http://HOST:PORT, or several with commas, of which one leads; without it the sidecar is a plain proxy",
        ),
        Key::one(
            "token-file",
            "PATH",
            "A file with the token to show the admin API, where it asks for one; read anew for every connection",
        ),
        Key::one(
            "capture",
            "commit|hook=URL",
            "How finished work is recognised [default: commit]",
        ),
        Key::many(
            "state",
            "SPEC",
            "The application's state, may be repeated; ?scope=service when instances share it [default: none]",
        ),
        Key::one(
            "store",
            "ADDRESS",
            "Where state goes, when not where the admin API says",
        ),
        Key::many(
            "rebuildable",
            "TOPIC",
            "A topic whose readers without a group can read it again from the start, may be repeated",
        ),
        Key::one(
            "metrics",
            "HOST:PORT",
            "Where /metrics, /healthz and /readyz are [default: nowhere]",
        ),
        Key::one(
            "control-stale-timeout",
            "DURATION",
            "How long fetches go on without the control topic [default: 30s]",
        ),
    ],
};

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
    /// How brokers are reached.
    pub security: Security,
    /// Who the application is to brokers.
    pub app_sasl: AppSasl,
    /// The admin APIs, of which one leads; without any the sidecar is a plain proxy.
    pub admins: Vec<String>,
    /// Where the token to show is.
    pub token_file: Option<PathBuf>,
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

impl Config {
    /// The configuration that `settings` make.
    ///
    /// # Errors
    /// When something is missing or means nothing.
    pub fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let admins = settings.parsed("admin", urls)?.unwrap_or_default();
        let service = match settings.parsed("service", name)? {
            Some(service) => service,
            None if admins.is_empty() => SERVICE_OF_A_PLAIN_PROXY.to_owned(),
            None => settings.required("service")?.to_owned(),
        };
        settings.required("kafka")?;
        settings.required("listen")?;
        let security = Security::of(&settings.group("kafka"));
        let security = security.map_err(|error| SettingsError::Unusable(error.to_string()))?;
        let named = |key: &str, default: &str| {
            let given = settings.parsed(key, name)?;
            Ok::<String, SettingsError>(given.unwrap_or_else(|| default.to_owned()))
        };
        Ok(Self {
            service: service.into(),
            instance: named("instance", INSTANCE_DEFAULT)?.into(),
            deployment: named("deployment", DEPLOYMENT_DEFAULT)?,
            kafka: settings.parsed("kafka", brokers)?.unwrap_or_default(),
            listen: listen(settings)?,
            app_sasl: app_sasl(settings, &security)?,
            security,
            admins,
            token_file: settings.get("token-file").map(Into::into),
            capture: settings
                .parsed("capture", capture)?
                .unwrap_or(CaptureSpec::Commit),
            states: settings.all("state").to_vec(),
            store: settings.get("store").map(str::to_owned),
            rebuildable: rebuildable(settings),
            metrics: settings.parsed("metrics", address)?,
            control_stale_timeout: settings
                .parsed("control-stale-timeout", duration)?
                .unwrap_or(CONTROL_STALE_DEFAULT),
        })
    }
}

fn listen(settings: &Settings) -> Result<SocketAddr, SettingsError> {
    match settings.parsed("listen", address)? {
        Some(address) => Ok(address),
        None => Err(settings.missing("listen")),
    }
}

fn app_sasl(settings: &Settings, security: &Security) -> Result<AppSasl, SettingsError> {
    let given = settings.parsed("app-sasl", str::parse)?.unwrap_or_default();
    if given == AppSasl::Sidecar && security.sasl().is_none() {
        let reason = format!(
            "app-sasl is sidecar, and the sidecar has no credentials: kafka.security.protocol is {}",
            security.protocol()
        );
        return Err(SettingsError::Unusable(reason));
    }
    Ok(given)
}

fn rebuildable(settings: &Settings) -> Vec<TopicName> {
    let topics = settings.all("rebuildable").iter();
    topics
        // No topic's name holds a comma.
        .flat_map(|topics| topics.split(','))
        .map(|topic| TopicName::from(topic.trim().to_owned()))
        .collect()
}

fn urls(value: &str) -> Result<Vec<String>, &'static str> {
    value.split(',').map(|url| http(url.trim())).collect()
}

fn http(value: &str) -> Result<String, &'static str> {
    match url::Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(value.to_owned()),
        _ => Err("http://HOST:PORT is expected, or several of them with commas"),
    }
}

fn capture(value: &str) -> Result<CaptureSpec, &'static str> {
    match value.split_once('=') {
        None if value == "commit" => Ok(CaptureSpec::Commit),
        Some(("hook", url)) if url::Url::parse(url).is_ok() => {
            Ok(CaptureSpec::Hook(url.to_owned()))
        }
        _ => Err("commit or hook=URL is expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [&str; 5] = [
        "cutline-sidecar",
        "--kafka",
        "a:1,b:2",
        "--listen",
        "127.0.0.1:7000",
    ];

    fn load(flags: &[&str]) -> Result<Config, SettingsError> {
        Config::of(&PROGRAM.load_from([&NEEDED, flags].concat())?)
    }

    #[test]
    fn a_plain_proxy_needs_no_name() {
        let config = load(&[]).unwrap();
        assert_eq!(config.kafka, ["a:1", "b:2"]);
        assert_eq!(config.instance.as_str(), INSTANCE_DEFAULT);
        assert_eq!(config.control_stale_timeout, CONTROL_STALE_DEFAULT);
    }

    #[test]
    fn what_is_said_counts() {
        let config = load(&[
            "--service",
            "bank",
            "--capture",
            "hook=http://127.0.0.1:1/",
            "--state",
            "postgres://db/bank?tables=a,b",
            "--state",
            "dir:/x",
            "--rebuildable",
            "rates, names",
            "--control-stale-timeout",
            "5ms",
        ])
        .unwrap();
        assert_eq!(config.service.as_str(), "bank");
        let hook = CaptureSpec::Hook("http://127.0.0.1:1/".to_owned());
        assert_eq!(config.capture, hook);
        assert_eq!(config.states, ["postgres://db/bank?tables=a,b", "dir:/x"]);
        assert_eq!(config.rebuildable.len(), 2);
        assert_eq!(config.control_stale_timeout, Duration::from_millis(5));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (flags, part) in [
            (&["--lisen", "x"][..], "--listen"),
            (&["--capture", "magic"], "hook=URL"),
            (&["--admin", "http://127.0.0.1:1"], "--service"),
            (&["--admin", "nowhere"], "http://HOST:PORT"),
            (&["--service", "a b"], "letters"),
            (&["--kafka-security-protocol", "tls"], "sasl_ssl"),
            (&["--kafka-sasl-username", "x"], "kafka.sasl.username"),
            (&["--app-sasl", "sidecar"], "kafka.security.protocol"),
            (&["--app-sasl", "none"], "passthrough or sidecar"),
        ] {
            let error = load(flags).unwrap_err().to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
        let error = PROGRAM
            .load_from(&NEEDED[..3])
            .and_then(|settings| Config::of(&settings));
        assert!(error.unwrap_err().to_string().contains("CUTLINE_LISTEN"));
    }
}
