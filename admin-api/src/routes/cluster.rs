//! What is running: topology, services, sidecars; and evicting one.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json as Answer, extract::Path, http::StatusCode};
use cutline_client::{
    EvictedView, GroupView, MemberView, ProblemDetails, ServiceView, SidecarState, SidecarView,
    TopicLink, TopologyView,
};
use cutline_control::ControlState;
use cutline_model::{GroupId, ServiceName, SidecarId, TopicName};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    app::App,
    coordination::{eviction, forget},
    problem::Problem,
    ready::{Leading, Ready},
    registry::Connected,
};

/// Groups asked about at the same time.
const QUESTIONS_MAX: usize = 16;

/// Topics by service.
type Topics = BTreeMap<ServiceName, BTreeSet<TopicName>>;

/// Who reads and writes what
#[utoipa::path(
    get, path = "/v1/topology", tag = "cluster",
    responses((status = 200, body = TopologyView))
)]
pub async fn topology(Ready(app): Ready) -> Result<Answer<TopologyView>, Problem> {
    let state = app.control.state().borrow().clone();
    let metadata = app.kafka.refresh_metadata().await?;
    let connected = connected(&app).await;
    let mut reads = reads_of(&connected);
    let groups = groups(&app, &state, &connected, &mut reads).await?;
    let mut names: BTreeSet<&TopicName> = reads.values().flatten().collect();
    names.extend(state.outputs.values().flatten());
    let lags = app.lags.of(&app.kafka, all_groups(&state)).await;
    let topics = names.into_iter().map(|name| TopicLink {
        topic: name.to_string(),
        partitions: metadata.partition_count(name).unwrap_or(0),
        writers: services_of(&state.outputs, name),
        readers: services_of(&reads, name),
    });
    Ok(Answer(TopologyView {
        services: service_views(&state, &reads),
        topics: topics.collect(),
        groups,
        timeline: state.timeline.0,
        masked_partitions: masked_partitions(&state),
        lag: lags.as_ref().clone().unwrap_or_default(),
        lag_problem: lags.as_ref().clone().err(),
    }))
}

fn all_groups(state: &ControlState) -> BTreeSet<GroupId> {
    state.groups.values().flatten().cloned().collect()
}

/// Every service
#[utoipa::path(
    get, path = "/v1/services", tag = "cluster",
    responses((status = 200, body = Vec<ServiceView>))
)]
pub async fn services(Ready(app): Ready) -> Answer<Vec<ServiceView>> {
    let state = app.control.state().borrow().clone();
    let reads = reads_of(&connected(&app).await);
    Answer(service_views(&state, &reads))
}

/// Forget a service
///
/// One that has no instances and will have none: it is no participant any more, and stands against no checkpoint. What it
/// wrote stays attributed to it; checkpoints that it took part in stay as they are.
#[utoipa::path(
    delete, path = "/v1/services/{service}", tag = "cluster",
    params(("service" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "forgotten"),
        (status = 404, description = "it is not known", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "it has instances, or a checkpoint or restore is in progress", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn forget(
    Leading(app): Leading,
    Path(service): Path<String>,
) -> Result<StatusCode, Problem> {
    forget::forget(&app, &service.as_str().into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Every sidecar
#[utoipa::path(
    get, path = "/v1/sidecars", tag = "cluster",
    responses((status = 200, body = Vec<SidecarView>))
)]
pub async fn sidecars(Ready(app): Ready) -> Answer<Vec<SidecarView>> {
    Answer(sidecar_views(&app).await)
}

/// Where sidecars connect
///
/// A WebSocket of JSON text frames, for sidecars alone.
#[utoipa::path(
    get, path = "/v1/sidecars/connect", tag = "cluster",
    responses(
        (status = 101, description = "the conversation begins"),
        (status = 503, description = "not leading, or not ready", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
#[expect(
    dead_code,
    reason = "only its description is used; the route itself is the link's"
)]
pub fn connect() {}

/// Evict a sidecar
///
/// Its run is over: it stops and registers anew, when it still lives. No checkpoint begins until it has surely stopped.
#[utoipa::path(
    delete, path = "/v1/sidecars/{service}/{instance}", tag = "cluster",
    params(
        ("service" = String, Path, description = "Its service"),
        ("instance" = String, Path, description = "Its instance"),
    ),
    responses(
        (status = 200, body = EvictedView),
        (status = 404, description = "it is not registered", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn evict(
    Leading(app): Leading,
    Path((service, instance)): Path<(String, String)>,
) -> Result<Answer<EvictedView>, Problem> {
    let sidecar = SidecarId::new(service, instance);
    eviction::evict(&app, &sidecar).await.map(Answer)
}

/// Who is connected: to this admin API, or to the leader as far as that is known.
pub async fn connected(app: &App) -> BTreeMap<SidecarId, Connected> {
    if app.leadership.is_leading() {
        return app.registry.connected();
    }
    let shared = app.shared.sidecars().await;
    shared.unwrap_or_else(|| app.registry.connected())
}

/// True when this admin API can tell who is connected: it leads, or Redis tells it.
pub async fn knows_sidecars(app: &App) -> bool {
    app.leadership.is_leading() || app.shared.sidecars().await.is_some()
}

/// Everyone registered or connected.
pub async fn sidecar_views(app: &App) -> Vec<SidecarView> {
    let state = app.control.state().borrow().clone();
    let connected = connected(app).await;
    let ids: BTreeSet<&SidecarId> = state.sidecars.keys().chain(connected.keys()).collect();
    ids.into_iter()
        .map(|id| sidecar_view(id, &state, connected.get(id)))
        .collect()
}

fn sidecar_view(
    id: &SidecarId,
    state: &ControlState,
    connected: Option<&Connected>,
) -> SidecarView {
    let registered = state.sidecars.get(id).map(|entry| &entry.registered);
    let incarnation = registered.map(|registered| &registered.incarnation);
    let status = connected.and_then(|connected| connected.status.as_ref());
    let hello = connected.map(|connected| &connected.hello);
    let standing = match (hello, incarnation) {
        (None, _) => SidecarState::Lost,
        (Some(hello), Some(incarnation)) if hello.incarnation == *incarnation => {
            if status.is_some_and(|status| status.fenced) {
                SidecarState::Fenced
            } else {
                SidecarState::Connected
            }
        }
        (Some(_), _) => SidecarState::Unregistered,
    };
    let scope = hello.map(|hello| hello.scope);
    let groups = status.iter().flat_map(|status| &status.groups);
    SidecarView {
        service: id.service.to_string(),
        instance: id.instance.to_string(),
        incarnation: hello
            .map(|hello| &hello.incarnation)
            .or(incarnation)
            .map_or_else(String::new, ToString::to_string),
        state: standing,
        scope: scope
            .or(registered.map(|registered| registered.scope))
            .unwrap_or_default(),
        capture: hello.map(|hello| hello.capture),
        providers: hello.map_or_else(Vec::new, |hello| hello.providers.clone()),
        listen: hello.map(|hello| hello.listen.clone()),
        version: hello.and_then(|hello| hello.program.clone()),
        connected_at: connected.map(|connected| connected.connected_at),
        app_connections: status.map_or(0, |status| status.app_connections),
        applied: connected
            .and_then(|connected| connected.applied)
            .map(|offset| offset.0),
        groups: groups
            .map(|group| GroupView {
                group: group.group.to_string(),
                members: group
                    .members
                    .iter()
                    .map(|member| member_view(member, Some(id), Vec::new()))
                    .collect(),
            })
            .collect(),
        reads: texts(status.iter().flat_map(|status| &status.reads)),
        writes: texts(status.iter().flat_map(|status| &status.outputs)),
    }
}

/// Every group of a service as the broker describes it; what it reads is added to `reads`.
async fn groups(
    app: &App,
    state: &ControlState,
    connected: &BTreeMap<SidecarId, Connected>,
    reads: &mut Topics,
) -> Result<Vec<GroupView>, Problem> {
    let owners = owners(connected);
    let wanted = state.groups.iter().flat_map(|(service, groups)| {
        let groups = groups.iter();
        groups.map(move |group| (service.clone(), group.clone()))
    });
    let wanted: Vec<(ServiceName, GroupId)> = wanted.collect();
    let described: Vec<_> = stream::iter(wanted)
        .map(|(service, group)| async move {
            let described = app.kafka.describe_group(&group).await?;
            Ok::<_, Problem>((service, group, described))
        })
        .buffered(QUESTIONS_MAX)
        .try_collect()
        .await?;
    let mut views = Vec::new();
    for (service, group, described) in described {
        let assigned = described.members.iter().flat_map(|m| &m.assignment);
        let topics = assigned.map(|partition| partition.topic.clone());
        reads.entry(service).or_default().extend(topics);
        let members = described.members.iter().map(|member| {
            let owner = owners.get(&(group.clone(), member.id.clone()));
            member_view(&member.id, owner, texts(&member.assignment))
        });
        views.push(GroupView {
            group: group.to_string(),
            members: members.collect(),
        });
    }
    Ok(views)
}

/// Which sidecar each known member is behind.
pub fn owners(
    connected: &BTreeMap<SidecarId, Connected>,
) -> BTreeMap<(GroupId, String), SidecarId> {
    let mut owners = BTreeMap::new();
    for (id, connected) in connected {
        for group in connected.status.iter().flat_map(|status| &status.groups) {
            for member in &group.members {
                owners.insert((group.group.clone(), member.clone()), id.clone());
            }
        }
    }
    owners
}

fn reads_of(connected: &BTreeMap<SidecarId, Connected>) -> Topics {
    let mut reads = Topics::new();
    for (id, connected) in connected {
        let partitions = connected.status.iter().flat_map(|status| &status.reads);
        let topics = partitions.map(|partition| partition.topic.clone());
        reads.entry(id.service.clone()).or_default().extend(topics);
    }
    reads
}

fn service_views(state: &ControlState, reads: &Topics) -> Vec<ServiceView> {
    let view = |(service, has_state): (&ServiceName, &bool)| ServiceView {
        service: service.to_string(),
        instances: state
            .sidecars
            .keys()
            .filter(|id| id.service == *service)
            .map(|id| id.instance.to_string())
            .collect(),
        has_state: *has_state,
        fenced: state.is_fenced(service),
        groups: texts(state.groups.get(service).into_iter().flatten()),
        reads: texts(reads.get(service).into_iter().flatten()),
        writes: texts(state.outputs.get(service).into_iter().flatten()),
    };
    state.services.iter().map(view).collect()
}

fn services_of(topics: &Topics, name: &TopicName) -> Vec<String> {
    let services = topics.iter().filter(|(_, topics)| topics.contains(name));
    texts(services.map(|(service, _)| service))
}

fn masked_partitions(state: &ControlState) -> usize {
    let masked = state
        .masks
        .iter()
        .filter(|masked| !masked.ranges.is_empty());
    let partitions: BTreeSet<_> = masked.map(|masked| &masked.partition).collect();
    partitions.len()
}

fn member_view(member: &str, sidecar: Option<&SidecarId>, assignment: Vec<String>) -> MemberView {
    MemberView {
        member: member.to_owned(),
        sidecar: sidecar.map(ToString::to_string),
        assignment,
    }
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}
