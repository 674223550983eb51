//! The sidecar's use of the control topic: it registers before it forwards anything, applies what the topic says, and stops
//! forwarding fetches when it has not been able to read it.
//!
//! Records are applied in order and acknowledged only when they are in force. Which records there are is not decided here.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cutline_control::{ControlError, ControlState, ControlTopic, Record, Registered};
use cutline_model::{GroupId, Incarnation, MarkerId, Offset, ServiceName, SidecarId};
use cutline_protocol::mask::Masks;
use cutline_wire::client::Client;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::proxy::{Decide, Proxy, Register};

/// How often freshness is looked at.
const FRESHNESS_PERIOD: Duration = Duration::from_millis(500);

/// Writes what must be in the control topic before the application may go on.
pub struct Registrar {
    control: Arc<ControlTopic>,
    service: ServiceName,
    /// Keys written in this run: each is written once.
    written: Mutex<BTreeSet<String>>,
}

impl Registrar {
    /// Registers for `service`.
    #[must_use]
    pub fn new(control: Arc<ControlTopic>, service: ServiceName) -> Self {
        Self {
            control,
            service,
            written: Mutex::default(),
        }
    }

    async fn write(&self, record: Record) -> Result<(), ControlError> {
        let key = record.key();
        if self.written.lock().contains(&key) || self.is_known(&record) {
            return Ok(());
        }
        self.control.append(&record).await?;
        self.written.lock().insert(key);
        Ok(())
    }

    async fn wrote(&self, record: Record) -> bool {
        match self.write(record).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "not registered: the response that hands it out is not passed on");
                false
            }
        }
    }

    fn is_known(&self, record: &Record) -> bool {
        let state = self.control.state();
        let state = state.borrow();
        match record {
            Record::Group { service, group } => state
                .groups
                .get(service)
                .is_some_and(|groups| groups.contains(group)),
            Record::Producer {
                service,
                producer_id,
                transactional_id,
            } => state
                .producers
                .get(service)
                .and_then(|ids| ids.get(producer_id))
                .is_some_and(|known| known == transactional_id),
            _ => false,
        }
    }
}

impl Register for Registrar {
    fn producer<'a>(
        &'a self,
        transactional_id: Option<&'a str>,
        producer: MarkerId,
    ) -> BoxFuture<'a, bool> {
        Box::pin(self.wrote(Record::Producer {
            service: self.service.clone(),
            producer_id: producer.producer_id,
            transactional_id: transactional_id.map(str::to_owned),
        }))
    }

    fn group<'a>(&'a self, group: &'a GroupId) -> BoxFuture<'a, bool> {
        Box::pin(self.wrote(Record::Group {
            service: self.service.clone(),
            group: group.clone(),
        }))
    }
}

/// Appends the registration and reads past it: from then on this run is seen by whoever reads the topic.
///
/// # Errors
/// When Kafka does not acknowledge it, or the topic cannot be read that far.
pub async fn register(
    control: &ControlTopic,
    registered: Registered,
) -> Result<Arc<ControlState>, ControlError> {
    let (_, state) = control
        .append_and_read(&Record::Sidecar(registered))
        .await?;
    Ok(state)
}

/// Applies the control topic to the core and the proxy.
pub struct Follower {
    /// Which sidecar.
    pub sidecar: SidecarId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// The topic.
    pub control: Arc<ControlTopic>,
    /// The core.
    pub core: Arc<Decide>,
    /// The proxy.
    pub proxy: Arc<Proxy>,
    /// For topic ids.
    pub client: Client,
    /// What is in force.
    pub applied: watch::Sender<Option<Offset>>,
    /// True while this sidecar's service is fenced.
    pub fenced: watch::Sender<bool>,
    /// How long fetches are forwarded without the topic.
    pub stale_after: Duration,
}

impl Follower {
    /// Applies the state as it is now. Called once before anything is forwarded, and by [`Self::run`].
    pub async fn apply(&self, state: &ControlState, before: Option<&ControlState>) {
        let service = &self.sidecar.service;
        let changed = |differs: fn(&ControlState, &ControlState) -> bool| {
            before.is_none_or(|old| differs(old, state))
        };
        let topics = state.outputs.get(service).cloned().unwrap_or_default();
        if before.is_none_or(|old| old.outputs.get(service) != Some(&topics)) {
            self.core
                .with(|process, _| process.handle_registered(topics));
        }
        if changed(|old, new| old.masks != new.masks || old.timeline != new.timeline) {
            let masks = self.masks(state).await;
            self.core.with(|process, _| process.handle_masks(masks));
        }
        let fenced = state.is_fenced(service);
        if changed(|old, new| old.holds != new.holds || old.fence != new.fence) {
            let holds = state
                .holds
                .iter()
                .filter(|_| !fenced)
                .map(|hold| (hold.partition.clone(), hold.offset));
            let bounds = holds.collect();
            self.core.with(|process, _| process.handle_bounds(bounds));
        }
        if fenced != *self.fenced.borrow() {
            self.set_fence(fenced).await;
        }
        self.applied
            .send_replace(Some(Offset(state.position.0 - 1)));
    }

    /// Follows the topic until this run is evicted from it.
    pub async fn run(self, mut before: Arc<ControlState>) {
        let mut changes = self.control.state();
        let mut freshness = tokio::time::interval(FRESHNESS_PERIOD);
        let mut suspended = false;
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let state = Arc::clone(&changes.borrow_and_update());
                    if self.is_evicted(&state) {
                        tracing::error!(sidecar = %self.sidecar, "this run was evicted from the view; starting anew");
                        return;
                    }
                    self.apply(&state, Some(&before)).await;
                    before = state;
                }
                _ = freshness.tick() => {
                    let stale = self.control.staleness() > self.stale_after;
                    if stale != suspended {
                        suspended = stale;
                        tracing::warn!(stale, "control topic out of reach: fetches stop while it is");
                        self.core.with(|process, _| process.handle_suspended(stale));
                    }
                }
            }
        }
    }

    fn is_evicted(&self, state: &ControlState) -> bool {
        state
            .sidecars
            .get(&self.sidecar)
            .is_none_or(|entry| entry.registered.incarnation != self.incarnation)
    }

    async fn set_fence(&self, fenced: bool) {
        if fenced {
            tracing::info!("fenced: the application's connections are closed");
            self.proxy.fence().await;
            self.core.with(|process, now| process.handle_fenced(now));
        } else {
            tracing::info!("the fence has lifted");
            self.proxy.lift();
        }
        self.fenced.send_replace(fenced);
    }

    /// The masks in force, without those of topics that were deleted and made again under their name.
    async fn masks(&self, state: &ControlState) -> Masks {
        let mut masks = Masks::default();
        if state.masks.is_empty() {
            return masks;
        }
        let metadata = match self.client.refresh_metadata().await {
            Ok(metadata) => metadata,
            Err(error) => {
                tracing::warn!(%error, "topic ids not refreshed; masks apply by name");
                self.client.metadata()
            }
        };
        let mut by_writer: std::collections::BTreeMap<_, std::collections::BTreeMap<_, _>> =
            Default::default();
        for masked in &state.masks {
            let id = metadata
                .topics
                .get(&masked.partition.topic)
                .map(|topic| uuid::Uuid::from_bytes(topic.id).to_string());
            if id.is_none_or(|id| id == masked.topic_id) {
                let ranges = by_writer.entry(masked.service.clone()).or_default();
                ranges.insert(masked.partition.clone(), masked.ranges.clone());
            }
        }
        for (service, ranges) in by_writer {
            masks.replace(&service, ranges);
        }
        masks
    }
}
