//! The view an epoch is bound to: who is registered in the control topic, and whether each of them is connected here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_control::{ControlState, Record};
use cutline_model::{Incarnation, Purpose, SidecarId, View};
use cutline_protocol::{IdleService, Registration, ViewSnapshot};
use tokio::time::Instant;

use crate::app::App;

/// How long an epoch waits for registered sidecars to connect: longer than they take to dial again.
const CONNECT_WAIT: Duration = Duration::from_secs(3);

/// The view as it is now.
///
/// # Errors
/// Why no epoch can begin, naming who is missing, for people.
pub async fn snapshot(app: &App, purpose: Purpose) -> Result<ViewSnapshot, String> {
    // Read past a record of our own: every registration before this moment is seen.
    read_control(app).await?;
    let deadline = Instant::now() + CONNECT_WAIT;
    let mut links = app.registry.changes();
    let mut control = app.control.state();
    loop {
        links.mark_unchanged();
        let state = control.borrow_and_update().clone();
        let obstacle = obstacle(app, &state, purpose);
        let Some(obstacle) = obstacle else {
            return Ok(view_of(&state));
        };
        let passes = async {
            tokio::select! {
                changed = links.changed() => changed.is_ok(),
                changed = control.changed() => changed.is_ok(),
            }
        };
        match tokio::time::timeout_at(deadline, passes).await {
            Ok(true) => {}
            _ => return Err(obstacle),
        }
    }
}

/// Every registration up to a record of our own.
///
/// # Errors
/// When the control topic cannot be written or read.
pub async fn read_control(app: &App) -> Result<Vec<Registration>, String> {
    let probe = Record::Probe {
        by: app.run.clone(),
    };
    let (_, state) = app
        .control
        .append_and_read(&probe)
        .await
        .map_err(|error| error.to_string())?;
    let registrations = state.sidecars.iter().map(|(sidecar, entry)| Registration {
        sidecar: sidecar.clone(),
        incarnation: entry.registered.incarnation.clone(),
    });
    Ok(registrations.collect())
}

fn obstacle(app: &App, state: &ControlState, purpose: Purpose) -> Option<String> {
    if let Some((fence, _)) = state
        .fence
        .as_ref()
        .filter(|_| purpose == Purpose::Checkpoint)
    {
        let services: Vec<String> = fence.services.iter().map(ToString::to_string).collect();
        return Some(format!(
            "{} is cut off by restore {}: wait until it has ended",
            services.join(", "),
            fence.restore
        ));
    }
    app.evictions.settle_registered(state);
    if let Some((sidecar, left)) = app.evictions.unsettled() {
        return Some(format!(
            "the sidecar {sidecar} was evicted and may go on for another {} ms: try again after that",
            left.as_millis()
        ));
    }
    let missing = missing(state, &app.registry.incarnations());
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Some(format!(
        "registered and not connected to this admin API: {}; start it again, or wait until it is evicted after {} ms",
        names.join(", "),
        app.config.sidecar_lost_timeout.as_millis()
    ))
}

/// Registered sidecars that are not connected under the run they registered.
fn missing(
    state: &ControlState,
    connected: &BTreeMap<SidecarId, Incarnation>,
) -> BTreeSet<SidecarId> {
    let registered = state.sidecars.iter();
    registered
        .filter(|(id, entry)| connected.get(id) != Some(&entry.registered.incarnation))
        .map(|(id, _)| id.clone())
        .collect()
}

fn view_of(state: &ControlState) -> ViewSnapshot {
    let idle = state.idle_services().map(|(service, has_state)| {
        let groups = state.groups.get(service).cloned().unwrap_or_default();
        (service.clone(), IdleService { groups, has_state })
    });
    let sidecars = state
        .sidecars
        .iter()
        .map(|(id, entry)| (id.clone(), entry.registered.incarnation.clone()));
    ViewSnapshot {
        // Every change of membership is a record, so the place in the topic numbers the views.
        view: View(u64::try_from(state.position.0).unwrap_or_default()),
        sidecars: sidecars.collect(),
        idle: idle.collect(),
        outputs: state.outputs.clone(),
        groups: state.groups.clone(),
    }
}

#[cfg(test)]
mod tests {
    use cutline_control::Registered;
    use cutline_model::{Offset, Scope};

    use super::*;

    fn registered(instance: &str, incarnation: &str) -> Record {
        Record::Sidecar(Registered {
            sidecar: SidecarId::new("bank", instance),
            incarnation: incarnation.into(),
            scope: Scope::Instance,
            has_state: true,
            gone: false,
        })
    }

    #[test]
    fn a_sidecar_connected_under_another_run_is_missing() {
        let mut state = ControlState::default();
        state.apply(Offset(0), registered("0", "a"));
        state.apply(Offset(1), registered("1", "b"));
        let connected = BTreeMap::from([
            (SidecarId::new("bank", "0"), Incarnation::from("a")),
            (SidecarId::new("bank", "1"), Incarnation::from("older")),
        ]);
        assert_eq!(
            missing(&state, &connected),
            BTreeSet::from([SidecarId::new("bank", "1")])
        );
        assert_eq!(view_of(&state).view, View(2));
    }
}
