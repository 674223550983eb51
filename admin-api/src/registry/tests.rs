//! What the registry promises, without any socket.

use cutline_client::link::LINK_VERSION;
use cutline_model::{Capture, Scope};

use super::*;

fn hello(incarnation: &str) -> Hello {
    Hello {
        sidecar: SidecarId::new("bank", "0"),
        incarnation: incarnation.into(),
        scope: Scope::Instance,
        capture: Capture::Commit,
        providers: Vec::new(),
        listen: "127.0.0.1:1".to_owned(),
        program: None,
    }
}

fn first_frame(version: u32, deployment: &str) -> Uplink {
    Uplink::Hello {
        version,
        deployment: deployment.to_owned(),
        sidecar: SidecarId::new("bank", "0"),
        incarnation: "i".into(),
        scope: Scope::Instance,
        capture: Capture::Commit,
        providers: Vec::new(),
        listen: String::new(),
        program: None,
    }
}

#[test]
fn a_sidecar_of_another_version_or_deployment_is_refused_with_the_reason() {
    assert!(Hello::read(first_frame(LINK_VERSION, "here"), "here").is_ok());
    let version = Hello::read(first_frame(LINK_VERSION + 1, "here"), "here").unwrap_err();
    assert!(version.contains("version"), "{version}");
    let elsewhere = Hello::read(first_frame(LINK_VERSION, "there"), "here").unwrap_err();
    assert!(elsewhere.contains("\"there\""), "{elsewhere}");
    assert!(Hello::read(Uplink::Applied { offset: Offset(0) }, "here").is_err());
}

fn resume(request: u64) -> Downlink {
    let trace = None;
    Downlink::ResumeHook { request, trace }
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_and_is_not_ended_by_it() {
    let registry = Registry::default();
    let mut events = registry.listen();
    let older = registry.admit(hello("first")).unwrap();
    let mut newer = registry.admit(hello("second")).unwrap();
    registry.lose(&older.token, "closed");
    registry.receive(&older.token, Uplink::Applied { offset: Offset(9) });
    let now = registry.get(&hello("").sidecar).unwrap();
    assert_eq!(
        (now.hello.incarnation.as_str(), now.applied),
        ("second", None)
    );
    assert!(matches!(
        events.recv().await,
        Ok(LinkEvent::Connected { .. })
    ));
    let lost = events.recv().await.unwrap();
    assert!(matches!(lost, LinkEvent::Lost { incarnation, .. } if incarnation.as_str() == "first"));
    registry.cut(&hello("").sidecar, "enough");
    assert!(newer.outbox.recv().await.is_none());
}

/// A leader that was frozen takes connections in that waited for it, after it has learnt that another one leads: none of those sidecars
/// would ever find that one (chaos, seed 101).
#[test]
fn nobody_is_taken_in_by_a_leader_that_was() {
    let registry = Registry::default();
    registry.cut_all("another one leads");
    assert!(registry.admit(hello("first")).is_none());
    assert!(registry.connected().is_empty());
    registry.open();
    assert!(registry.admit(hello("first")).is_some());
}

#[tokio::test]
async fn what_was_asked_of_a_lost_sidecar_ends_with_an_error() {
    let registry = Registry::default();
    let mut link = registry.admit(hello("first")).unwrap();
    let id = link.token.sidecar.clone();
    let limit = Duration::from_secs(30);
    let asking = registry.clone();
    let asked = tokio::spawn({
        let id = id.clone();
        async move { asking.ask(&id, limit, resume).await }
    });
    assert!(matches!(
        link.outbox.recv().await,
        Some(Downlink::ResumeHook { .. })
    ));
    registry.lose(&link.token, "closed");
    assert_eq!(asked.await.unwrap(), Err(LinkError::Lost(id.clone())));
    let nobody = registry.ask(&id, limit, resume);
    assert_eq!(nobody.await, Err(LinkError::NotConnected(id)));
}

#[tokio::test]
async fn waiting_for_applied_names_who_is_missing() {
    let registry = Registry::default();
    let link = registry.admit(hello("first")).unwrap();
    let all = BTreeSet::from([link.token.sidecar.clone(), SidecarId::new("x", "1")]);
    registry.receive(&link.token, Uplink::Applied { offset: Offset(7) });
    let missing = registry.wait_applied(Offset(7), &all, Instant::now()).await;
    assert_eq!(missing, Err(BTreeSet::from([SidecarId::new("x", "1")])));
    let one = BTreeSet::from([link.token.sidecar.clone()]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = registry.wait_applied(Offset(8), &one, deadline);
    registry.receive(&link.token, Uplink::Applied { offset: Offset(8) });
    assert_eq!(waiting.await, Ok(()));
}

#[tokio::test]
async fn a_sidecar_that_does_not_read_is_cut_off() {
    let registry = Registry::default();
    let link = registry.admit(hello("first")).unwrap();
    let id = link.token.sidecar.clone();
    let refused =
        (0..=OUTBOX_MAX as u64).find_map(|request| registry.send(&id, resume(request)).err());
    assert_eq!(refused, Some(LinkError::NotConnected(id.clone())));
    assert!(registry.get(&id).is_none());
}
