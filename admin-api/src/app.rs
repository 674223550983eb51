//! The parts of the admin API, all of which are there: what routes, coordination and restores share.

use std::{fmt, ops::Deref, sync::Arc};

use cutline_control::ControlTopic;
use cutline_store::Repository;
use cutline_wire::client::Client;

use crate::{
    busy::Busy, config::Config, events::Events, leader::Leadership, metrics::Metrics,
    registry::Registry,
};

/// The parts. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// How it is set up.
    pub config: Config,
    /// This run: the owner of the epochs it claims. Two runs never share it.
    pub run: String,
    /// Checkpoints and restores.
    pub repository: Repository,
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
}

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
