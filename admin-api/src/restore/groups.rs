//! Consumer groups as they are: whose each is, who is in it and behind which sidecar, what it has committed.
//!
//! Groups of no service are only looked at for how far they have read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_control::ControlState;
use cutline_model::{GroupId, Offset, ServiceName, SidecarId, TopicPartition};
use cutline_protocol::restore::{Facts, GroupNow, MemberNow};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{RestoreError, stored::Members};
use crate::app::App;

/// Groups asked about at the same time.
const GROUPS_AT_ONCE_MAX: usize = 16;
/// Groups of no service that are looked at; in a cluster with more the rest goes unnamed.
const OUTSIDE_GROUPS_MAX: usize = 500;
/// A member is in its sidecar's status a second after it joined; so long it is looked for.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(4);
const MEMBERS_PAUSE: Duration = Duration::from_millis(250);

/// Every group of every service, those of the restored ones with their members.
///
/// # Errors
/// When Kafka does not answer.
pub async fn groups(
    app: &App,
    control: &ControlState,
    facts: &Facts,
) -> Result<BTreeMap<GroupId, GroupNow>, RestoreError> {
    let owners = owners(app, control, facts);
    let deadline = tokio::time::Instant::now() + MEMBERS_PATIENCE;
    loop {
        let mut asked = Vec::new();
        for (group, service) in &owners {
            let members = facts.restored.contains(service);
            asked.push(group_now(
                app.clone(),
                group.clone(),
                service.clone(),
                members,
            ));
        }
        let groups: BTreeMap<GroupId, GroupNow> = stream::iter(asked)
            .buffer_unordered(GROUPS_AT_ONCE_MAX)
            .try_collect()
            .await?;
        let unknown = |group: &GroupNow| group.members.iter().any(|m| m.sidecar.is_none());
        if !groups.values().any(unknown) || tokio::time::Instant::now() > deadline {
            return Ok(groups);
        }
        tokio::time::sleep(MEMBERS_PAUSE).await;
    }
}

/// How many members of each restored group are behind each sidecar.
#[must_use]
pub fn members(facts: &Facts) -> Vec<Members> {
    let mut counts: BTreeMap<(SidecarId, GroupId), usize> = BTreeMap::new();
    for (group, now) in &facts.groups_now {
        let behind = now
            .members
            .iter()
            .filter_map(|member| member.sidecar.clone());
        for sidecar in behind {
            *counts.entry((sidecar, group.clone())).or_default() += 1;
        }
    }
    let members = counts.into_iter().map(|((sidecar, group), count)| Members {
        sidecar,
        group,
        count,
    });
    members.collect()
}

/// Whose each group is, as the checkpoint, the control topic and the sidecars say.
fn owners(app: &App, control: &ControlState, facts: &Facts) -> BTreeMap<GroupId, ServiceName> {
    let mut owners = BTreeMap::new();
    for (sidecar, part) in &facts.cut.sidecars {
        for (group, _) in part.positions.keys() {
            owners.insert(group.clone(), sidecar.service.clone());
        }
    }
    for (service, group, _) in facts.cut.idle.keys() {
        owners.insert(group.clone(), service.clone());
    }
    for (service, groups) in &control.groups {
        for group in groups {
            owners.insert(group.clone(), service.clone());
        }
    }
    for (sidecar, connected) in app.registry.connected() {
        for here in connected
            .status
            .into_iter()
            .flat_map(|status| status.groups)
        {
            owners.insert(here.group, sidecar.service.clone());
        }
    }
    owners
}

async fn group_now(
    app: App,
    group: GroupId,
    service: ServiceName,
    with_members: bool,
) -> Result<(GroupId, GroupNow), RestoreError> {
    let committed = app.kafka.committed(&group, false).await?;
    let mut members = Vec::new();
    if with_members {
        let described = app.kafka.describe_group(&group).await?;
        let behind = behind_sidecars(&app, &group);
        members = described
            .members
            .into_iter()
            .map(|member| MemberNow {
                sidecar: behind.get(&member.id).cloned(),
                is_static: member.instance_id.is_some(),
                partitions: member.assignment,
                id: member.id,
            })
            .collect();
    }
    let now = GroupNow {
        service,
        members,
        committed,
    };
    Ok((group, now))
}

fn behind_sidecars(app: &App, group: &GroupId) -> BTreeMap<String, SidecarId> {
    let mut behind = BTreeMap::new();
    for (sidecar, connected) in app.registry.connected() {
        let groups = connected
            .status
            .into_iter()
            .flat_map(|status| status.groups);
        for here in groups.filter(|here| here.group == *group) {
            behind.extend(here.members.into_iter().map(|id| (id, sidecar.clone())));
        }
    }
    behind
}

type Committed = BTreeMap<TopicPartition, Offset>;

/// What groups of no service have committed.
///
/// # Errors
/// When Kafka does not answer.
pub async fn outside(
    app: &App,
    known: &BTreeSet<GroupId>,
) -> Result<Vec<(GroupId, Committed)>, RestoreError> {
    let all = app.kafka.list_groups().await?;
    let strangers = all
        .into_iter()
        .filter(|group| !known.contains(group) && !group.as_str().starts_with("__cutline."));
    let mut asked = Vec::new();
    for group in strangers.take(OUTSIDE_GROUPS_MAX) {
        let kafka = app.kafka.clone();
        asked.push(async move {
            let committed = kafka.committed(&group, false).await?;
            Ok((group, committed))
        });
    }
    stream::iter(asked)
        .buffer_unordered(GROUPS_AT_ONCE_MAX)
        .try_collect()
        .await
}
