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
use cutline_telemetry::Endpoint;
use cutline_tls::{ClientSpec, IdentitySpec, Pem, ServerCheck};
use url::Url;

use crate::proxy::{CONNECTIONS_MAX, upstream::AppSasl};

/// A sidecar that is not told otherwise belongs to this deployment.
pub const DEPLOYMENT_DEFAULT: &str = "default";
/// An instance that is the only one of its service needs no name.
pub const INSTANCE_DEFAULT: &str = "0";
/// Nobody asks a plain proxy for its name.
pub const SERVICE_OF_A_PLAIN_PROXY: &str = "application";
/// How long fetches are forwarded without the control topic: longer than a broker's failover, shorter than anybody waits
/// for a restore.
pub const CONTROL_STALE_DEFAULT: Duration = Duration::from_secs(30);

/// More connections than this are a mistyped number: each takes two file descriptors here.
pub const CONNECTIONS_CEILING: usize = 100_000;

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
            "listen-unauthenticated",
            "yes|no",
            "Listen on another address than loopback, where whoever reaches it is the application [default: no]",
        ),
        Key::one(
            "app-sasl",
            "passthrough|sidecar",
            "Who the application is to brokers: who it says, or who the sidecar is [default: passthrough]",
        ),
        Key::one(
            "admin",
            "URL",
            "The admin API, http://HOST:PORT or https://HOST:PORT, or several with commas, of which one leads; without it the sidecar is a plain proxy",
        ),
        Key::one(
            "tls.ca",
            "PATH",
            "The authorities that are believed about an admin API with https://; read again when it changes [default: the system's]",
        ),
        Key::one(
            "tls.certificate",
            "PATH",
            "The certificate to show the admin API, where it asks for one; read again when it changes",
        ),
        Key::one("tls.key", "PATH", "The private key of tls.certificate"),
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
            "metrics-unauthenticated",
            "yes|no",
            "Offer them on another address than loopback, to whoever reaches it [default: no]",
        ),
        Key::one(
            "otlp-endpoint",
            "URL",
            "Where traces are sent, by OTLP over HTTP: http://HOST:4318 [default: $OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere]",
        ),
        Key::one(
            "control-stale-timeout",
            "DURATION",
            "How long fetches go on without the control topic [default: 30s]",
        ),
        Key::one(
            "max-connections",
            "COUNT",
            "How many connections the application may have; more are refused [default: 10000]",
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
    pub admins: Vec<Url>,
    /// How those with `https://` are dialled.
    pub admin_tls: ClientSpec,
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
    /// Where traces are sent.
    pub otlp_endpoint: Option<Endpoint>,
    /// How long fetches go on without the control topic.
    pub control_stale_timeout: Duration,
    /// How many connections the application may have.
    pub connections_max: usize,
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
            admin_tls: admin_tls(settings, &admins)?,
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
            metrics: unauthenticated(settings, "metrics", "reads names of topics and groups")?,
            otlp_endpoint: settings
                .parsed("otlp-endpoint", str::parse)?
                .or_else(Endpoint::from_environment),
            control_stale_timeout: settings
                .parsed("control-stale-timeout", duration)?
                .unwrap_or(CONTROL_STALE_DEFAULT),
            connections_max: settings
                .parsed("max-connections", connections)?
                .unwrap_or(CONNECTIONS_MAX),
        })
    }
}

fn listen(settings: &Settings) -> Result<SocketAddr, SettingsError> {
    let at = unauthenticated(
        settings,
        "listen",
        "is the application, as far as Kafka knows",
    )?;
    at.ok_or_else(|| settings.missing("listen"))
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

/// The address under `key`, where nobody is asked who they are: on loopback, unless the settings say in words that strangers are
/// meant. `danger` is what those could do.
fn unauthenticated(
    settings: &Settings,
    key: &str,
    danger: &str,
) -> Result<Option<SocketAddr>, SettingsError> {
    let switch = format!("{key}-unauthenticated");
    let open = settings.parsed(&switch, yes)?;
    let Some(at) = settings.parsed(key, address)? else {
        return Ok(None);
    };
    if at.ip().to_canonical().is_loopback() || open.unwrap_or_default() {
        return Ok(Some(at));
    }
    Err(SettingsError::Value {
        key: key.to_owned(),
        value: at.to_string(),
        reason: format!(
            "it is not loopback, and whoever reaches it {danger}: give --{switch} yes where the network keeps strangers out"
        ),
    })
}

fn yes(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no is expected"),
    }
}

fn admin_tls(settings: &Settings, admins: &[Url]) -> Result<ClientSpec, SettingsError> {
    let pem = |key: &str| settings.get(key).map(Pem::file);
    let identity = match (pem("tls.certificate"), pem("tls.key")) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(IdentitySpec { certificate, key }),
        (Some(_), None) => return Err(settings.missing("tls.key")),
        (None, Some(_)) => return Err(settings.missing("tls.certificate")),
    };
    let spec = ClientSpec {
        roots: pem("tls.ca"),
        identity,
        check: ServerCheck::Full,
    };
    let plain = admins.iter().find(|admin| admin.scheme() != "https");
    match plain.filter(|_| spec != ClientSpec::default()) {
        Some(plain) => Err(SettingsError::Value {
            key: "admin".to_owned(),
            value: plain.to_string(),
            reason: "certificates were named, which http does not use: give https://HOST:PORT"
                .to_owned(),
        }),
        None => Ok(spec),
    }
}

fn urls(value: &str) -> Result<Vec<Url>, &'static str> {
    value.split(',').map(|url| http(url.trim())).collect()
}

fn http(value: &str) -> Result<Url, &'static str> {
    match Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("http://HOST:PORT is expected, or several of them with commas"),
    }
}

fn connections(value: &str) -> Result<usize, &'static str> {
    match value.parse() {
        Ok(count) if (1..=CONNECTIONS_CEILING).contains(&count) => Ok(count),
        _ => Err("a number from 1 to 100000 is expected"),
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
            "--admin",
            "https://a:1, https://b:1",
            "--tls-ca",
            "/ca",
            "--metrics",
            "0.0.0.0:1",
            "--metrics-unauthenticated",
            "yes",
            "--max-connections",
            "7",
        ])
        .unwrap();
        assert_eq!(config.service.as_str(), "bank");
        assert_eq!(config.admins.len(), 2);
        assert_eq!(config.admin_tls.roots, Some(Pem::file("/ca")));
        assert!(config.metrics.is_some());
        let hook = CaptureSpec::Hook("http://127.0.0.1:1/".to_owned());
        assert_eq!(config.capture, hook);
        assert_eq!(config.states, ["postgres://db/bank?tables=a,b", "dir:/x"]);
        assert_eq!(config.rebuildable.len(), 2);
        assert_eq!(config.control_stale_timeout, Duration::from_millis(5));
        assert_eq!(config.connections_max, 7);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (flags, part) in [
            (&["--lisen", "x"][..], "--listen"),
            (&["--capture", "magic"], "hook=URL"),
            (&["--admin", "http://127.0.0.1:1"], "--service"),
            (&["--admin", "nowhere"], "http://HOST:PORT"),
            (&["--service", "a b"], "letters"),
            (&["--tls-key", "/k"], "--tls-certificate"),
            (&["--metrics", "0.0.0.0:1"], "--metrics-unauthenticated yes"),
            (&["--metrics", "[::]:1"], "not loopback"),
            (
                &[
                    "--tls-ca",
                    "/ca",
                    "--service",
                    "a",
                    "--admin",
                    "https://a:1,http://b:1",
                ],
                "give https://",
            ),
            (&["--max-connections", "0"], "from 1"),
            (&["--kafka-security-protocol", "tls"], "sasl_ssl"),
            (&["--kafka-sasl-username", "x"], "kafka.sasl.username"),
            (&["--app-sasl", "sidecar"], "kafka.security.protocol"),
            (&["--app-sasl", "none"], "passthrough or sidecar"),
        ] {
            let error = load(flags).unwrap_err().to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
        let mut open = NEEDED;
        open[4] = "10.0.0.1:7000";
        let listen = |more: &[&str]| {
            let flags = [&open[..], more].concat();
            let settings = PROGRAM.load_from(flags);
            settings.and_then(|settings| Config::of(&settings))
        };
        let error = listen(&[]).unwrap_err().to_string();
        assert!(error.contains("--listen-unauthenticated yes"), "{error}");
        listen(&["--listen-unauthenticated", "yes"]).unwrap();
        let error = PROGRAM
            .load_from(&NEEDED[..3])
            .and_then(|settings| Config::of(&settings));
        assert!(error.unwrap_err().to_string().contains("CUTLINE_LISTEN"));
    }
}
