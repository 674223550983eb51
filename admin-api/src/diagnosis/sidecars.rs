//! Sidecars and services: who is missing, who is set up unlike its siblings, who has no application, what stands still.

use std::collections::{BTreeMap, BTreeSet};

use cutline_client::{Finding, SidecarState, SidecarView, Verdict};

use super::finding::{fail, ok, skipped, warn};
use crate::{
    app::App,
    routes::{knows_sidecars, sidecar_views},
};

const STANDING: &str = "sidecars.standing";
const VERSION: &str = "sidecars.version";
const ALIKE: &str = "sidecars.alike";
const APPLICATION: &str = "sidecars.application";
const FENCE: &str = "sidecars.fence";
const IDLE: &str = "services.idle";

/// What is known of them.
struct Seen {
    sidecars: Vec<SidecarView>,
    /// Services at zero instances, and whether they have state.
    idle: Vec<(String, bool)>,
    /// Services that are cut off, and partitions held at a bound.
    fenced: Vec<String>,
    held: usize,
    /// The restore in progress.
    restore: Option<String>,
    lost_after_ms: u128,
}

/// Looks at them.
pub async fn look(app: &App) -> Vec<Finding> {
    if !knows_sidecars(app).await {
        let why = "this admin API does not lead, and no Redis tells who is connected: ask the one that leads";
        return vec![skipped(STANDING, "all", why)];
    }
    let state = app.control.state().borrow().clone();
    let fenced = state.fence.iter().flat_map(|(fence, _)| &fence.services);
    let idle = state.idle_services();
    judge(&Seen {
        sidecars: sidecar_views(app).await,
        idle: idle
            .map(|(name, state)| (name.to_string(), state))
            .collect(),
        fenced: fenced.map(ToString::to_string).collect(),
        held: state.holds.len(),
        restore: app.busy.restore(),
        lost_after_ms: app.config.sidecar_lost_timeout.as_millis(),
    })
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    if seen.sidecars.is_empty() {
        found.push(warn(
            STANDING,
            "all",
            "no sidecar is registered: there is nothing to take a checkpoint of",
            "start one beside each application, with --admin, and let the application use it as bootstrap.servers (docs/operations.md)",
        ));
    }
    for sidecar in &seen.sidecars {
        found.push(judge_standing(sidecar, seen.lost_after_ms));
        found.extend(judge_application(sidecar));
        found.extend(judge_version(sidecar, env!("CARGO_PKG_VERSION")));
    }
    found.extend(judge_alike(&seen.sidecars));
    found.extend(judge_idle(seen));
    found.extend(judge_fence(seen));
    found
}

fn name(sidecar: &SidecarView) -> String {
    format!("{}/{}", sidecar.service, sidecar.instance)
}

fn judge_standing(sidecar: &SidecarView, lost_after_ms: u128) -> Finding {
    let (service, instance) = (&sidecar.service, &sidecar.instance);
    match sidecar.state {
        SidecarState::Connected | SidecarState::Fenced => {
            ok(STANDING, name(sidecar), "registered and connected")
        }
        SidecarState::Lost => fail(
            STANDING,
            name(sidecar),
            "registered, and not connected: every checkpoint fails until it is back or evicted",
            format!(
                "start it, and see in its log why it does not reach the admin API (--admin, token, network); if it is gone for good, it is evicted after {lost_after_ms} ms, or at once by `cutline sidecars evict {service}/{instance}`"
            ),
        ),
        SidecarState::Unregistered => fail(
            STANDING,
            name(sidecar),
            "connected, and this run is not in the control topic",
            "it registers before it forwards anything: see in its log whether it may write the control topic; two sidecars with one name (--service, --instance) replace each other in turns",
        ),
    }
}

fn judge_application(sidecar: &SidecarView) -> Option<Finding> {
    let without = sidecar.state == SidecarState::Connected && sidecar.app_connections == 0;
    without.then(|| {
        let listens = sidecar.listen.as_deref().unwrap_or("its --listen address");
        warn(
            APPLICATION,
            name(sidecar),
            "no application is connected to it",
            format!("give the application bootstrap.servers={listens}; if it runs and goes to Kafka directly, its records are in no checkpoint"),
        )
    })
}

fn judge_version(sidecar: &SidecarView, ours: &str) -> Option<Finding> {
    let theirs = sidecar.version.as_deref()?;
    (theirs != ours).then(|| {
        warn(
            VERSION,
            name(sidecar),
            format!("it is version {theirs}, this admin API {ours}"),
            "run both in the same version: the admin API first, then the sidecars",
        )
    })
}

/// Instances of a service are one service: where they are set up unlike, one of them is wrong.
fn judge_alike(sidecars: &[SidecarView]) -> Vec<Finding> {
    let mut services = BTreeMap::<&str, Vec<&SidecarView>>::new();
    for sidecar in sidecars.iter().filter(|one| one.capture.is_some()) {
        services.entry(&sidecar.service).or_default().push(sidecar);
    }
    let mut found = Vec::new();
    for (service, instances) in services {
        let setups: BTreeSet<String> = instances.iter().map(|one| setup(one)).collect();
        if setups.len() > 1 {
            let told: Vec<String> = instances
                .iter()
                .map(|one| format!("{}: {}", one.instance, setup(one)))
                .collect();
            found.push(fail(
                ALIKE,
                service,
                format!(
                    "its instances are set up unlike each other ({})",
                    told.join("; ")
                ),
                "give every sidecar of the service the same --capture and --state",
            ));
        } else if instances.len() > 1 {
            found.push(ok(ALIKE, service, "its instances are set up alike"));
        }
    }
    found
}

fn setup(sidecar: &SidecarView) -> String {
    let capture = match sidecar.capture {
        Some(cutline_model::Capture::Hook) => "hook",
        _ => "commit",
    };
    let providers = match sidecar.providers.as_slice() {
        [] => "no state".to_owned(),
        several => format!("state {}", several.join(" and ")),
    };
    let scope = match sidecar.scope {
        cutline_model::Scope::Service => "of the service",
        cutline_model::Scope::Instance => "of the instance",
    };
    format!("capture {capture}, {providers} {scope}")
}

fn judge_idle(seen: &Seen) -> Vec<Finding> {
    let idle = seen.idle.iter().map(|(service, has_state)| {
        if *has_state {
            fail(
                IDLE,
                service.as_str(),
                "it has state and no instance runs, so nobody can record that: every checkpoint fails",
                "start an instance of it",
            )
        } else {
            ok(IDLE, service.as_str(), "no instance runs; it has no state, and its committed offsets are recorded")
        }
    });
    idle.collect()
}

fn judge_fence(seen: &Seen) -> Option<Finding> {
    if seen.fenced.is_empty() && seen.held == 0 {
        return None;
    }
    let what = format!(
        "{} services are cut off and {} partitions held at a bound",
        seen.fenced.len(),
        seen.held
    );
    Some(match &seen.restore {
        Some(restore) => Finding {
            verdict: Verdict::Ok,
            ..ok(
                FENCE,
                restore.as_str(),
                format!("{what} by this restore, which is in progress"),
            )
        },
        None => fail(
            FENCE,
            seen.fenced.join(", "),
            format!("{what}, and no restore runs here"),
            "see `cutline restore list`: one that is not finished is taken up by whoever leads; if none is listed, restart the admin API that leads",
        ),
    })
}

#[cfg(test)]
mod tests {
    use cutline_model::{Capture, Scope};

    use super::*;

    fn sidecar(instance: &str, state: SidecarState) -> SidecarView {
        SidecarView {
            service: "bank".to_owned(),
            instance: instance.to_owned(),
            incarnation: "i".to_owned(),
            state,
            scope: Scope::Service,
            capture: Some(Capture::Commit),
            providers: vec!["dir".to_owned()],
            listen: Some("127.0.0.1:19092".to_owned()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            connected_at: None,
            app_connections: 1,
            applied: None,
            groups: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        }
    }

    fn seen(sidecars: Vec<SidecarView>) -> Seen {
        Seen {
            sidecars,
            idle: Vec::new(),
            fenced: Vec::new(),
            held: 0,
            restore: None,
            lost_after_ms: 10_000,
        }
    }

    /// The ids of what is not as it should be.
    fn wrong(seen: &Seen) -> Vec<String> {
        let found = judge(seen).into_iter();
        let wrong = found.filter(|one| one.verdict > Verdict::Skipped);
        wrong.map(|one| one.id).collect()
    }

    #[test]
    fn sidecars_that_are_well_are_not_complained_about() {
        let two = vec![
            sidecar("0", SidecarState::Connected),
            sidecar("1", SidecarState::Connected),
        ];
        assert!(wrong(&seen(two)).is_empty());
    }

    #[test]
    fn each_thing_wrong_with_a_sidecar_is_found() {
        let lost = sidecar("0", SidecarState::Lost);
        assert_eq!(wrong(&seen(vec![lost])), [STANDING]);
        let alone = SidecarView {
            app_connections: 0,
            ..sidecar("0", SidecarState::Connected)
        };
        assert_eq!(wrong(&seen(vec![alone])), [APPLICATION]);
        let old = SidecarView {
            version: Some("0.0.1".to_owned()),
            ..sidecar("0", SidecarState::Connected)
        };
        assert_eq!(wrong(&seen(vec![old])), [VERSION]);
        let other = SidecarView {
            capture: Some(Capture::Hook),
            ..sidecar("1", SidecarState::Connected)
        };
        let unlike = seen(vec![sidecar("0", SidecarState::Connected), other]);
        assert_eq!(wrong(&unlike), [ALIKE]);
        assert_eq!(wrong(&seen(Vec::new())), [STANDING]);
    }

    #[test]
    fn what_stands_still_is_found_unless_a_restore_wants_it_so() {
        let mut stood = seen(vec![sidecar("0", SidecarState::Fenced)]);
        stood.fenced = vec!["bank".to_owned()];
        assert_eq!(wrong(&stood), [FENCE]);
        stood.restore = Some("r1".to_owned());
        stood.idle = vec![("ledger".to_owned(), true), ("mail".to_owned(), false)];
        assert_eq!(wrong(&stood), [IDLE]);
    }
}
