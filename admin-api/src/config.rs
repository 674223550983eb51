//! How this admin API is set up: parsed once, into types that cannot be wrong.
//!
//! Every default is a constant with its reason. Where a value comes from (flag, environment, file) is the loader's
//! business.

use std::{path::PathBuf, time::Duration};

use cutline_model::{Epoch, Limits, Mode};
use cutline_security::Security;
use cutline_store::StoreSpec;
use cutline_telemetry::Endpoint;
use cutline_tls::ServerSpec;

use crate::{coordination::Blackout, inject::InjectConfig, shared::RedisAddress};

/// How long a registered sidecar may be out of reach before it is evicted: longer than it takes to restart and dial.
pub const SIDECAR_LOST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a sidecar forwards fetches without the control topic, as sidecars have it by default. An eviction has surely
/// taken effect after that.
pub const CONTROL_STALE_TIMEOUT: Duration = Duration::from_secs(30);
/// From *go* until the manifest stands. Copying state takes most of it.
pub const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(600);
/// From the trigger until every sidecar is armed: a few messages and one question to the broker.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts after the first: enough to outlive a rebalance.
pub const CHECKPOINT_RETRIES: u32 = 3;
/// The least time between the end of a scheduled checkpoint and the next.
pub const MIN_PAUSE: Duration = Duration::ZERO;
/// The longest wait after scheduled checkpoints that failed: each costs applications a pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Scheduled checkpoints that may fail one after another before somebody is woken.
pub const TOLERABLE_FAILURES: u32 = 3;
/// Where no objective is set the last checkpoint may be so many intervals old: two may fail in a row.
pub const OBJECTIVE_INTERVALS: u32 = 3;
/// Checkpoints kept besides savepoints.
pub const KEEP_LAST: usize = 100;
/// How long before Kafka's retention takes what a checkpoint needs it is warned of: time to restore, or to keep records longer.
pub const WARN_BEFORE: Duration = Duration::from_secs(3_600);
/// How often it is looked at what the logs still have: some requests to each broker, whatever there is in them.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` to listen on.
    pub listen: String,
    /// The list of tokens; `None`: everyone may do everything.
    pub tokens: Option<PathBuf>,
    /// What TLS is spoken with; `None`: none is.
    pub tls: Option<ServerSpec>,
    /// Where Kubernetes asks about pods; `None`: nowhere. It needs [`Self::tls`].
    pub inject: Option<InjectConfig>,
    /// Whether everyone may do everything from other machines too.
    pub unauthenticated: bool,
    /// Which deployment this is the admin API of.
    pub deployment: String,
    /// Kafka's bootstrap servers, `host:port` each.
    pub kafka: Vec<String>,
    /// How brokers are reached, and librdkafka's other settings.
    pub security: Security,
    /// Where checkpoints are kept.
    pub store: StoreSpec,
    /// The keys that sign checkpoints; `None`: whoever can write the store is believed.
    pub signing_keys: Option<PathBuf>,
    /// Checkpoints up to this one are believed without a signature.
    pub accept_unsigned_until: Epoch,
    /// Where what may be lost is shared with other admin APIs; `None`: it is in memory.
    pub redis: Option<RedisAddress>,
    /// Where traces are sent; `None`: nowhere.
    pub otlp_endpoint: Option<Endpoint>,
    /// See [`SIDECAR_LOST_TIMEOUT`].
    pub sidecar_lost_timeout: Duration,
    /// See [`CONTROL_STALE_TIMEOUT`]; at least what any sidecar has.
    pub control_stale_timeout: Duration,
    /// How checkpoints are taken.
    pub checkpoint: CheckpointConfig,
    /// Deadlines inside the sidecars; alignment, drain, record and mark fit in the pause.
    pub limits: Limits,
    /// Which checkpoints are kept.
    pub retention: Retention,
}

impl Config {
    /// The configuration that remains when only what must be given is given.
    #[must_use]
    pub fn new(listen: &str, deployment: &str, kafka: &str, store: StoreSpec) -> Self {
        Self {
            listen: listen.to_owned(),
            tokens: None,
            tls: None,
            inject: None,
            unauthenticated: false,
            deployment: deployment.to_owned(),
            kafka: kafka
                .split(',')
                .map(|host| host.trim().to_owned())
                .collect(),
            security: Security::default(),
            store,
            signing_keys: None,
            accept_unsigned_until: Epoch(0),
            redis: None,
            otlp_endpoint: None,
            sidecar_lost_timeout: SIDECAR_LOST_TIMEOUT,
            control_stale_timeout: CONTROL_STALE_TIMEOUT,
            checkpoint: CheckpointConfig::default(),
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}

/// How checkpoints are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// From one trigger to the next; `None`: only on request.
    pub interval: Option<Duration>,
    /// See [`MIN_PAUSE`].
    pub min_pause: Duration,
    /// See [`CHECKPOINT_TIMEOUT`].
    pub timeout: Duration,
    /// See [`PREPARE_TIMEOUT`].
    pub prepare_timeout: Duration,
    /// How input is held when the request does not say.
    pub mode: Mode,
    /// See [`CHECKPOINT_RETRIES`].
    pub retries: u32,
    /// See [`BACKOFF_MAX`]; an interval that is longer is kept.
    pub backoff_max: Duration,
    /// The most that a scheduled checkpoint comes later by chance.
    pub jitter: Duration,
    /// Hours without scheduled checkpoints.
    pub blackouts: Vec<Blackout>,
    /// See [`TOLERABLE_FAILURES`].
    pub tolerable_failures: u32,
    /// Whether compacted topics are copied whole.
    pub channels: Channels,
    /// How old the last checkpoint may grow before somebody is told; `None`: see [`OBJECTIVE_INTERVALS`].
    pub objective: Option<Duration>,
}

/// Whether what stands in Kafka is referred to or copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Ranges of the log are referred to.
    #[default]
    Reference,
    /// Compacted topics are copied into the store as well, as they are at the cut.
    Embed,
}

impl std::str::FromStr for Channels {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "reference" => Ok(Self::Reference),
            "embed" => Ok(Self::Embed),
            _ => Err("reference or embed is expected"),
        }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            interval: None,
            min_pause: MIN_PAUSE,
            timeout: CHECKPOINT_TIMEOUT,
            prepare_timeout: PREPARE_TIMEOUT,
            mode: Mode::Aligned,
            retries: CHECKPOINT_RETRIES,
            backoff_max: BACKOFF_MAX,
            jitter: Duration::ZERO,
            blackouts: Vec::new(),
            tolerable_failures: TOLERABLE_FAILURES,
            channels: Channels::default(),
            objective: None,
        }
    }
}

/// Which checkpoints are kept. Savepoints always are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many; at least one.
    pub keep_last: usize,
    /// How old they may grow; the last one is kept whatever its age.
    pub max_age: Option<Duration>,
    /// See [`WARN_BEFORE`].
    pub warn_before: Duration,
    /// See [`CHECK_INTERVAL`]; never zero.
    pub check_interval: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_last: KEEP_LAST,
            max_age: None,
            warn_before: WARN_BEFORE,
            check_interval: CHECK_INTERVAL,
        }
    }
}

/// Why limits do not fit into each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "checkpoint.alignment-timeout, drain-timeout, checkpoint.record-timeout and checkpoint.mark-timeout add up to {sum_ms} ms, more than max-pause ({max_ms} ms): raise max-pause or lower one of them"
)]
pub struct LimitsDoNotFit {
    sum_ms: u64,
    max_ms: u64,
}

/// Checks that what happens inside a pause fits in it.
///
/// # Errors
/// When it does not.
pub fn check_limits(limits: &Limits) -> Result<(), LimitsDoNotFit> {
    let sum_ms = [
        limits.alignment_ms,
        limits.drain_ms,
        limits.record_ms,
        limits.mark_ms,
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    if sum_ms > limits.max_pause_ms {
        return Err(LimitsDoNotFit {
            sum_ms,
            max_ms: limits.max_pause_ms,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_inside_a_pause_must_fit_in_it() {
        assert_eq!(check_limits(&Limits::default()), Ok(()));
        let tight = Limits {
            max_pause_ms: 1_000,
            ..Limits::default()
        };
        let error = check_limits(&tight).unwrap_err().to_string();
        assert!(error.contains("max-pause (1000 ms)"), "{error}");
    }
}
