//! Letting applications back in: the fence lifts at once, delivery only when their members have joined anew.
//!
//! A consumer that was cut off comes back with the positions it had in memory, and fetches from them until a heartbeat tells
//! it that it is no member any more. What it read in between it would read again after joining, from the restored
//! offsets. So everything the restored groups read is held, in the control topic, until the members that were made to go
//! have come back; one that does not come back is not waited for beyond [`REJOIN_TIMEOUT`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_client::link::Downlink;
use cutline_control::{Fence, Hold, Record};
use cutline_model::{Closing, GroupId, Offset, SidecarId, ToSidecar, TopicName, TopicPartition};
use cutline_protocol::restore::Entry;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{RestoreError, run::Run, stop::put_in_force, stored::Members};
use crate::app::App;

/// How long members are waited for: longer than a client's slowest reconnect (10 s in librdkafka) and the heartbeat that
/// tells it (3 s), with a rebalance after each; a member that is slower has surely lost its session.
pub const REJOIN_TIMEOUT: Duration = Duration::from_secs(45);
const REJOIN_PAUSE: Duration = Duration::from_millis(100);
/// How long an application may take to answer that it goes on.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);

/// Lifts fence and holds, in an order that no stale position survives. Done again it only pauses readers for a moment.
pub async fn lift(run: &Run) -> Result<(), RestoreError> {
    // A fence may be in force that was not journaled any more, or lifted in an attempt before this one.
    let control = super::gather::present(&run.app).await?;
    let ours = |(fence, _): &(Fence, Offset)| fence.restore == run.id;
    let journaled = |entry: &Entry| matches!(entry, Entry::Fenced { .. });
    let fenced =
        control.fence.as_ref().is_some_and(ours) || run.journal.entries().iter().any(journaled);
    if fenced {
        let read = read_by_groups(run).await?;
        let hold = |partition| Hold {
            partition,
            offset: Offset(0),
        };
        put_holds(run, read.into_iter().map(hold).collect()).await?;
    }
    follow(
        put_in_force(
            &run.app,
            &Record::Fence { fence: None },
            "the end of the fence",
        )
        .await,
    )?;
    // An application that its hook paused may not poll, and so not join, before it is told to go on.
    for error in resume_hooks(run).await {
        tracing::warn!(
            restore = run.id,
            error,
            "an application was not told to go on"
        );
    }
    if fenced {
        wait_for_members(&run.app, &run.begun.members).await?;
    }
    put_holds(run, Vec::new()).await
}

async fn put_holds(run: &Run, holds: Vec<Hold>) -> Result<(), RestoreError> {
    let restore = run.id.clone();
    let record = Record::Holds { restore, holds };
    follow(put_in_force(&run.app, &record, "the holds").await)
}

/// Who is out of reach finds the record when it is back, before it forwards anything.
fn follow<T>(put: Result<T, RestoreError>) -> Result<(), RestoreError> {
    match put {
        Err(error @ RestoreError::NotApplied { .. }) => {
            tracing::warn!(%error, "not all sidecars have followed yet");
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// Every partition of every topic that a restored group has or had a position on.
async fn read_by_groups(run: &Run) -> Result<BTreeSet<TopicPartition>, RestoreError> {
    let positions = run.wanted.manifest.positions.iter();
    let mut topics: BTreeSet<TopicName> = positions
        .filter(|position| run.begun.groups.contains_key(&position.group))
        .map(|position| position.topic.clone())
        .collect();
    for group in run.begun.groups.keys() {
        let committed = run.app.kafka.committed(group, false).await?;
        topics.extend(committed.into_keys().map(|partition| partition.topic));
    }
    let metadata = run.app.kafka.refresh_metadata().await?;
    let partitions = topics
        .iter()
        .flat_map(|topic| metadata.partitions_of(topic));
    Ok(partitions.collect())
}

/// Waits until as many members as there were have joined again behind each sidecar.
async fn wait_for_members(app: &App, expected: &[Members]) -> Result<(), RestoreError> {
    let deadline = Instant::now() + REJOIN_TIMEOUT;
    loop {
        let missing = missing(app, expected).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            tracing::warn!(
                ?missing,
                "members did not come back; readers go on without them"
            );
            return Ok(());
        }
        tokio::time::sleep(REJOIN_PAUSE).await;
    }
}

async fn missing(
    app: &App,
    expected: &[Members],
) -> Result<Vec<(SidecarId, GroupId)>, RestoreError> {
    let groups: BTreeSet<&GroupId> = expected.iter().map(|members| &members.group).collect();
    let mut joined: BTreeMap<GroupId, BTreeSet<String>> = BTreeMap::new();
    for group in groups {
        let described = app.kafka.describe_group(group).await?;
        // While a group rebalances nobody in it is where it will be.
        let members = described.is_settled().then_some(described.members);
        let ids = members.into_iter().flatten().map(|member| member.id);
        joined.insert(group.clone(), ids.collect());
    }
    let connected = app.registry.connected();
    let is_back = |members: &&Members| {
        let status = connected
            .get(&members.sidecar)
            .and_then(|c| c.status.as_ref());
        let here = status.into_iter().flat_map(|status| &status.groups);
        let ids = here
            .filter(|here| here.group == members.group)
            .flat_map(|here| &here.members);
        let joined = &joined[&members.group];
        ids.filter(|id| joined.contains(*id)).count() >= members.count
    };
    let away = expected.iter().filter(|members| !is_back(members));
    Ok(away.map(|m| (m.sidecar.clone(), m.group.clone())).collect())
}

/// Opens what stood still without having been fenced, when a restore is given up.
pub fn let_go(run: &Run) {
    let Some(epoch) = run.still_for() else { return };
    let reason = run.journal.given_up().unwrap_or("the restore is given up");
    for (sidecar, _) in run.app.registry.connected() {
        if run.begun.services.contains(&sidecar.service) {
            let closing = Closing::Failed {
                reason: reason.to_owned(),
            };
            // One that is not there any more has opened by itself.
            let close = ToSidecar::Close { epoch, closing };
            let _ = run.app.registry.send_epoch(&sidecar, close, None);
        }
    }
}

/// Tells applications that were paused by their hook to go on. Answers who could not be told.
async fn resume_hooks(run: &Run) -> Vec<String> {
    let connected = run.app.registry.connected();
    let restored = connected
        .into_keys()
        .filter(|sidecar| run.begun.services.contains(&sidecar.service));
    let mut told = Vec::new();
    for sidecar in restored {
        let (app, trace) = (run.app.clone(), run.step.traceparent());
        told.push(async move {
            let resume = |request| Downlink::ResumeHook { request, trace };
            let asked = app.registry.ask(&sidecar, RESUME_TIMEOUT, resume).await;
            asked.err().map(|error| error.to_string())
        });
    }
    join_all(told).await.into_iter().flatten().collect()
}
