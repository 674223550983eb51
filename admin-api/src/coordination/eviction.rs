//! Sidecars that are registered and out of reach are evicted: their run is over, and they find that in the control topic.
//!
//! A run that was evicted may go on until it reads that, or until it has been without the topic for the stale timeout
//! and stops forwarding by itself. So no epoch begins before that long after an eviction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_client::EvictedView;
use cutline_control::{ControlState, Record, Registered};
use cutline_model::{Incarnation, SidecarId};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    app::App,
    problem::{NO_SIDECAR, Problem},
};

/// How often it is looked who is out of reach.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Evictions that may not have taken effect yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Evictions(Arc<Mutex<BTreeMap<SidecarId, Instant>>>);

impl Evictions {
    /// The evicted sidecar that takes longest to have surely stopped, and how long that is.
    #[must_use]
    pub fn unsettled(&self) -> Option<(SidecarId, Duration)> {
        self.unsettled_at(Instant::now())
    }

    fn unsettled_at(&self, now: Instant) -> Option<(SidecarId, Duration)> {
        let mut evicted = self.0.lock();
        evicted.retain(|_, settled| *settled > now);
        let last = evicted.iter().max_by_key(|(_, settled)| **settled);
        last.map(|(id, settled)| (id.clone(), *settled - now))
    }

    /// Those who registered anew do not count: their earlier run made way for them.
    pub fn settle_registered(&self, state: &ControlState) {
        let mut evicted = self.0.lock();
        evicted.retain(|sidecar, _| !state.sidecars.contains_key(sidecar));
    }

    fn note(&self, sidecar: SidecarId, settled: Instant) {
        self.0.lock().insert(sidecar, settled);
    }
}

/// Evicts `sidecar` now.
///
/// # Errors
/// 404 when it is not registered; 503 when the control topic cannot be written.
pub async fn evict(app: &App, sidecar: &SidecarId) -> Result<EvictedView, Problem> {
    let registered = app
        .control
        .state()
        .borrow()
        .sidecars
        .get(sidecar)
        .map(|entry| entry.registered.clone());
    let Some(registered) = registered else {
        let detail = format!(
            "the sidecar {sidecar} is not registered; GET /v1/sidecars lists those that are"
        );
        return Err(Problem::new(NO_SIDECAR, detail));
    };
    let incarnation = registered.incarnation.clone();
    append_gone(app, registered).await?;
    let settles_in = app.config.control_stale_timeout;
    app.evictions
        .note(sidecar.clone(), Instant::now() + settles_in);
    if app
        .registry
        .get(sidecar)
        .is_some_and(|connected| connected.hello.incarnation == incarnation)
    {
        app.registry.cut(sidecar, "it was evicted");
    }
    tracing::warn!(service = %sidecar.service, instance = %sidecar.instance, %incarnation, "sidecar evicted");
    app.events.publish(
        "sidecar.evicted",
        json!({ "service": sidecar.service, "instance": sidecar.instance, "incarnation": incarnation }),
    );
    Ok(EvictedView {
        service: sidecar.service.to_string(),
        instance: sidecar.instance.to_string(),
        incarnation: incarnation.to_string(),
        settles_in_ms: u64::try_from(settles_in.as_millis()).unwrap_or(u64::MAX),
    })
}

async fn append_gone(app: &App, registered: Registered) -> Result<(), Problem> {
    let sidecar = registered.sidecar.clone();
    let gone = Record::Sidecar(Registered {
        gone: true,
        ..registered
    });
    let (offset, state) = app.control.append_and_read(&gone).await?;
    // A newer run may have registered in between; compaction keeps the last record of the key, which must be that one.
    let newer = state
        .sidecars
        .get(&sidecar)
        .filter(|entry| entry.offset < offset)
        .map(|entry| entry.registered.clone());
    if let Some(newer) = newer {
        app.control.append(&Record::Sidecar(newer)).await?;
    }
    Ok(())
}

/// Evicts whoever is out of reach for too long, for as long as this admin API leads.
pub async fn watch(app: App) {
    let mut missing: BTreeMap<(SidecarId, Incarnation), Instant> = BTreeMap::new();
    let mut period = tokio::time::interval(LOOK_PERIOD);
    loop {
        period.tick().await;
        let state = app.control.state().borrow().clone();
        app.evictions.settle_registered(&state);
        let now = Instant::now();
        let out = out_of_reach(&state, &app.registry.incarnations());
        missing.retain(|run, _| out.contains(run));
        for run in out {
            missing.entry(run).or_insert(now);
        }
        let timeout = app.config.sidecar_lost_timeout;
        let due: Vec<SidecarId> = missing
            .iter()
            .filter(|(_, since)| now.duration_since(**since) > timeout)
            .map(|((sidecar, _), _)| sidecar.clone())
            .collect();
        for sidecar in due {
            if let Err(problem) = evict(&app, &sidecar).await {
                tracing::warn!(service = %sidecar.service, instance = %sidecar.instance, %problem, "sidecar not evicted");
            }
        }
    }
}

fn out_of_reach(
    state: &ControlState,
    connected: &BTreeMap<SidecarId, Incarnation>,
) -> BTreeSet<(SidecarId, Incarnation)> {
    let runs = state
        .sidecars
        .iter()
        .map(|(id, entry)| (id.clone(), entry.registered.incarnation.clone()));
    runs.filter(|(id, incarnation)| connected.get(id) != Some(incarnation))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_unsettled_until_the_stale_timeout_has_passed() {
        let evictions = Evictions::default();
        let now = Instant::now();
        assert_eq!(evictions.unsettled_at(now), None);
        let sidecar = SidecarId::new("bank", "0");
        evictions.note(sidecar.clone(), now + Duration::from_secs(10));
        let later = now + Duration::from_secs(4);
        let left = Duration::from_secs(6);
        let unsettled = evictions.unsettled_at(later);
        assert_eq!(unsettled, Some((sidecar.clone(), left)));
        assert_eq!(evictions.unsettled_at(later + left), None);
    }
}
