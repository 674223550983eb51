//! The settings of `cutline-admin` by name, and the configuration they make.

mod keys;

use std::time::Duration;

use cutline_model::{Epoch, Limits};
use cutline_security::Security;
use cutline_settings::{Settings, SettingsError, brokers, duration, name};
use cutline_store::{StoreError, StoreSpec};
use cutline_telemetry::Endpoint;
use cutline_tls::{ClientCertificates, IdentitySpec, Pem, ServerSpec};

use crate::{
    config::{CheckpointConfig, Config, Retention, check_limits},
    coordination::Blackout,
    inject::InjectConfig,
};

pub use keys::PROGRAM;

/// The deployment when none is named.
const DEPLOYMENT_DEFAULT: &str = "default";

impl Config {
    /// The configuration that `settings` make.
    ///
    /// # Errors
    /// When something is missing, means nothing, or does not fit together.
    pub fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let store = settings.required("store")?;
        let store: StoreSpec = store
            .parse()
            .map_err(|error: StoreError| wrong("store", store, &error.to_string()))?;
        let listen = settings.required("listen")?.to_owned();
        settings.required("kafka")?;
        let deployment = parsed(settings, "deployment", name)?;
        let mut config = Self::new(
            &listen,
            &deployment.unwrap_or_else(|| DEPLOYMENT_DEFAULT.to_owned()),
            "",
            store,
        );
        config.tokens = settings.get("tokens").map(Into::into);
        config.tls = tls(settings)?;
        config.inject = inject(settings)?;
        config.signing_keys = settings.get("signing-keys").map(Into::into);
        config.accept_unsigned_until = unsigned_until(settings)?;
        config.unauthenticated = parsed(settings, "unauthenticated", yes)?.unwrap_or_default();
        config.kafka = parsed(settings, "kafka", brokers)?.unwrap_or_default();
        config.security = Security::of(&settings.group("kafka"))
            .map_err(|error| SettingsError::Unusable(error.to_string()))?;
        // The value is not repeated: it may hold a password.
        config.redis = settings
            .get("redis")
            .map(str::parse)
            .transpose()
            .map_err(|reason: &str| wrong("redis", "…", reason))?;
        config.otlp_endpoint =
            parsed(settings, "otlp-endpoint", str::parse)?.or_else(Endpoint::from_environment);
        config.sidecar_lost_timeout = span(
            settings,
            "sidecar-lost-timeout",
            config.sidecar_lost_timeout,
        )?;
        config.control_stale_timeout = span(
            settings,
            "control-stale-timeout",
            config.control_stale_timeout,
        )?;
        config.checkpoint = checkpoint(settings)?;
        config.limits = limits(settings)?;
        config.retention = retention(settings)?;
        Ok(config)
    }
}

fn inject(settings: &Settings) -> Result<Option<InjectConfig>, SettingsError> {
    let Some(listen) = settings.get("inject.listen") else {
        return Ok(None);
    };
    // The API server of Kubernetes asks nobody without.
    settings.required("tls.certificate")?;
    Ok(Some(InjectConfig {
        listen: listen.to_owned(),
        template: settings.required("inject.template")?.into(),
    }))
}

fn tls(settings: &Settings) -> Result<Option<ServerSpec>, SettingsError> {
    let pem = |key: &str| settings.get(key).map(Pem::file);
    let clients = pem("tls.client-ca");
    let Some(certificate) = pem("tls.certificate") else {
        return match settings.get("tls.key").is_some() || clients.is_some() {
            true => Err(settings.missing("tls.certificate")),
            false => Ok(None),
        };
    };
    let key = pem("tls.key").ok_or_else(|| settings.missing("tls.key"))?;
    // Not required at the handshake, which comes before anything says that it is a probe: the gate of each route requires it.
    let clients = clients.map_or(ClientCertificates::NotAsked, ClientCertificates::Optional);
    Ok(Some(ServerSpec {
        identity: IdentitySpec { certificate, key },
        clients,
    }))
}

fn unsigned_until(settings: &Settings) -> Result<Epoch, SettingsError> {
    const KEY: &str = "accept-unsigned-until";
    let until: u64 = number(settings, KEY, 0)?;
    if until > 0 && settings.get("signing-keys").is_none() {
        let reason = "without signing-keys nothing needs a signature";
        return Err(wrong(KEY, &until.to_string(), reason));
    }
    Ok(Epoch(until))
}

fn checkpoint(settings: &Settings) -> Result<CheckpointConfig, SettingsError> {
    let default = CheckpointConfig::default();
    Ok(CheckpointConfig {
        interval: parsed(settings, "checkpoint.interval", duration)?.filter(|span| !span.is_zero()),
        min_pause: span(settings, "checkpoint.min-pause", default.min_pause)?,
        timeout: span(settings, "checkpoint.timeout", default.timeout)?,
        prepare_timeout: span(
            settings,
            "checkpoint.prepare-timeout",
            default.prepare_timeout,
        )?,
        mode: parsed(settings, "checkpoint.mode", str::parse)?.unwrap_or(default.mode),
        retries: number(settings, "checkpoint.retries", default.retries)?,
        backoff_max: span(settings, "checkpoint.backoff-max", default.backoff_max)?,
        jitter: span(settings, "checkpoint.jitter", default.jitter)?,
        blackouts: parsed(settings, "checkpoint.blackout", blackouts)?.unwrap_or_default(),
        tolerable_failures: number(
            settings,
            "checkpoint.tolerable-failures",
            default.tolerable_failures,
        )?,
        channels: parsed(settings, "checkpoint.channels", str::parse)?.unwrap_or_default(),
        objective: parsed(settings, "checkpoint.objective", duration)?,
    })
}

fn yes(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no is expected"),
    }
}

fn blackouts(text: &str) -> Result<Vec<Blackout>, &'static str> {
    text.split(',').map(str::parse).collect()
}

fn limits(settings: &Settings) -> Result<Limits, SettingsError> {
    let default = Limits::default();
    let millis = |key: &str, default: u64| {
        let span = span(settings, key, Duration::from_millis(default))?;
        Ok::<u64, SettingsError>(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    };
    let limits = Limits {
        max_pause_ms: millis("max-pause", default.max_pause_ms)?,
        alignment_ms: millis("checkpoint.alignment-timeout", default.alignment_ms)?,
        drain_ms: millis("drain-timeout", default.drain_ms)?,
        record_ms: millis("checkpoint.record-timeout", default.record_ms)?,
        mark_ms: millis("checkpoint.mark-timeout", default.mark_ms)?,
    };
    let value = format!("{}ms", limits.max_pause_ms);
    check_limits(&limits).map_err(|error| wrong("max-pause", &value, &error.to_string()))?;
    Ok(limits)
}

fn retention(settings: &Settings) -> Result<Retention, SettingsError> {
    let default = Retention::default();
    let keep_last = number(settings, "retention.keep-last", default.keep_last)?;
    if keep_last == 0 {
        return Err(wrong("retention.keep-last", "0", "at least 1 is kept"));
    }
    let key = "retention.check-interval";
    let check_interval = span(settings, key, default.check_interval)?;
    if check_interval.is_zero() {
        return Err(wrong(key, "0", "more than nothing is expected"));
    }
    Ok(Retention {
        keep_last,
        max_age: parsed(settings, "retention.max-age", duration)?,
        warn_before: span(settings, "retention.warn-before", default.warn_before)?,
        check_interval,
    })
}

fn parsed<T, E: ToString>(
    settings: &Settings,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, SettingsError> {
    settings.parsed(key, parse)
}

fn span(settings: &Settings, key: &str, default: Duration) -> Result<Duration, SettingsError> {
    Ok(parsed(settings, key, duration)?.unwrap_or(default))
}

fn number<N: std::str::FromStr>(
    settings: &Settings,
    key: &str,
    default: N,
) -> Result<N, SettingsError> {
    let parse = |text: &str| text.parse().map_err(|_| "a whole number is expected");
    Ok(parsed(settings, key, parse)?.unwrap_or(default))
}

fn wrong(key: &str, value: &str, reason: &str) -> SettingsError {
    SettingsError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cutline_model::Mode;

    use super::*;

    const NEEDED: [&str; 7] = [
        "cutline-admin",
        "--listen",
        "127.0.0.1:0",
        "--kafka",
        "127.0.0.1:9092",
        "--store",
        "file:/tmp/x",
    ];

    fn config(more: &[&str]) -> Result<Config, SettingsError> {
        let all = [&NEEDED, more].concat();
        Config::of(&PROGRAM.load_from(all)?)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = config(&[]).unwrap();
        assert_eq!(config.deployment, "default");
        assert_eq!(config.checkpoint, CheckpointConfig::default());
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn what_is_said_counts() {
        let config = config(&[
            "--checkpoint-interval",
            "1s",
            "--checkpoint-mode",
            "unaligned",
            "--checkpoint-blackout",
            "08:00-09:30, 22:00-02:00",
            "--retention-keep-last",
            "3",
        ])
        .unwrap();
        assert_eq!(config.checkpoint.interval, Some(Duration::from_secs(1)));
        assert_eq!(config.checkpoint.mode, Mode::Unaligned);
        let blackouts = config.checkpoint.blackouts.iter();
        let blackouts: Vec<String> = blackouts.map(ToString::to_string).collect();
        assert_eq!(blackouts, ["08:00-09:30", "22:00-02:00"]);
        assert_eq!(config.retention.keep_last, 3);
    }

    #[test]
    fn tls_needs_a_certificate_with_its_key() {
        assert!(config(&[]).unwrap().tls.is_none());
        let (certificate, key) = (["--tls-certificate", "/c"], ["--tls-key", "/k"]);
        let clients = ["--tls-client-ca", "/a"];
        let both = [certificate, key].concat();
        let tls = config(&both).unwrap().tls.unwrap();
        assert_eq!(tls.clients, ClientCertificates::NotAsked);
        let tls = config(&[&both[..], &clients].concat()).unwrap().tls;
        assert_ne!(tls.unwrap().clients, ClientCertificates::NotAsked);
        for (flags, part) in [
            (certificate, "--tls-key"),
            (key, "--tls-certificate"),
            (clients, "CUTLINE_TLS_CERTIFICATE"),
            (["--inject-listen", "127.0.0.1:0"], "--tls-certificate"),
        ] {
            let error = config(&flags).unwrap_err().to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
    }

    #[test]
    fn limits_that_do_not_fit_into_the_pause_are_refused_at_the_start() {
        let error = config(&["--max-pause", "2s"]).unwrap_err().to_string();
        assert!(
            error.contains("max-pause") && error.contains("drain-timeout"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (flags, part) in [
            (["--store", "/tmp/x"], "CL0100"),
            (
                ["--checkpoint-mode", "fast"],
                "aligned, unaligned or synchronous",
            ),
            (["--checkpoint-channels", "copy"], "reference or embed"),
            (["--checkpoint-timeout", "10"], "duration with its unit"),
            (["--checkpoint-blackout", "nights"], "08:00-09:30"),
            (["--kafka", "nowhere"], "HOST:PORT"),
            (["--deployment", "a b"], "letters"),
            (["--unauthenticated", "true"], "yes or no"),
            (["--otlp-endpoint", "collector:4318"], "http://HOST:PORT"),
            (["--accept-unsigned-until", "9"], "without signing-keys"),
            (["--kafka-security-protocol", "tls"], "sasl_ssl"),
            (["--kafka-sasl-username", "x"], "kafka.sasl.username"),
            (["--lisen", "x"], "--listen"),
        ] {
            // A flag given twice would be an error of its own.
            let mut all: Vec<&str> = vec![NEEDED[0]];
            for pair in NEEDED[1..].chunks(2).filter(|pair| pair[0] != flags[0]) {
                all.extend(pair);
            }
            all.extend(flags);
            let error = PROGRAM
                .load_from(all)
                .and_then(|settings| Config::of(&settings));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
    }
}
