//! The parts of the admin API, all of which are there: what routes, coordination and restores share.

use std::{fmt, ops::Deref, sync::Arc};

use cutline_client::RestoreRequest;
use cutline_control::ControlTopic;
use cutline_store::{Repository, StoreBreakers};
use cutline_wire::client::Client;
use tokio::sync::watch;

use crate::{
    busy::Busy,
    config::Config,
    coordination::{
        Barriers, Running, checkpoint::CheckpointKeys, eviction::Evictions, keys::Keys,
        schedule::Schedule,
    },
    events::Events,
    expiry::Expiry,
    history::History,
    lag::Lags,
    leader::Leadership,
    metrics::Metrics,
    registry::Registry,
    restore::Restores,
    shared::Shared,
};

/// The parts. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// How it is set up.
    pub config: Config,
    /// This run; two never share it.
    pub run: String,
    /// Under what name this run claims epochs.
    pub owner: String,
    /// Checkpoints and restores.
    pub repository: Repository,
    /// Whether the store is asked at present.
    pub store_breakers: StoreBreakers,
    /// The raw client.
    pub kafka: Client,
    /// The control topic.
    pub control: ControlTopic,
    /// Connected sidecars.
    pub registry: Registry,
    /// What changes.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether this admin API leads.
    pub leadership: Leadership,
    /// One thing at a time.
    pub busy: Busy,
    /// The epoch in progress.
    pub running: Running,
    /// Every checkpoint there is.
    pub history: History,
    /// How far behind groups are.
    pub lags: Lags,
    /// For how long checkpoints can be restored.
    pub expiry: Expiry,
    /// Held while retention deletes.
    pub retaining: tokio::sync::Mutex<()>,
    /// Periodic checkpoints.
    pub schedule: Schedule,
    /// Evictions that may not have taken effect yet.
    pub evictions: Evictions,
    /// The coordinator's markers.
    pub barriers: Barriers,
    /// Checkpoints begun under an Idempotency-Key.
    pub checkpoint_keys: CheckpointKeys,
    /// Restores that run here.
    pub restores: Restores,
    /// Restores begun under an Idempotency-Key.
    pub restore_keys: RestoreKeys,
    /// What admin APIs share through Redis.
    pub shared: Shared,
    /// True when this program ends and streams have to.
    pub ending: watch::Receiver<bool>,
}

/// Restore requests that carried a key, and the ids of what they began.
pub type RestoreKeys = Arc<tokio::sync::Mutex<Keys<RestoreRequest, String>>>;

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({})", self.config.deployment)
    }
}
