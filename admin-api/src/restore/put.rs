//! Putting back what was (1-protocol §6.5 and §6.6): states by their sidecars, offsets by ourselves.
//!
//! Both may be done again without harm. What was committed is read back and compared before it counts as done.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_client::link::Downlink;
use cutline_model::{Epoch, GroupId, Offset, ProcessId, SidecarId, TopicPartition};
use cutline_protocol::restore::{Entry, GroupTarget, group_targets};
use futures_util::future::join_all;

use super::{RestoreError, cut::cut_of, empty, run::Run, stored::State};
use crate::{app::App, registry::LinkError};

/// How long one state may take to be put back and verified.
const STATE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Has every state of `left` put back. Answers those that were; an error only when none was.
pub async fn restore_states(
    run: &Run,
    left: &BTreeSet<ProcessId>,
) -> Result<Vec<Entry>, RestoreError> {
    let mut asked = Vec::new();
    for state in run
        .begun
        .states
        .iter()
        .filter(|state| left.contains(&state.process))
    {
        let (app, id, trace) = (run.app.clone(), run.id.clone(), run.step.traceparent());
        asked.push(restore_state(app, id, run.epoch, state.clone(), trace));
    }
    let mut entries = Vec::new();
    let mut failed = None;
    for restored in join_all(asked).await {
        match restored {
            Ok(process) => entries.push(Entry::StateRestored { process }),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if entries.is_empty() => Err(error),
        _ => Ok(entries),
    }
}

async fn restore_state(
    app: App,
    id: String,
    epoch: Epoch,
    state: State,
    trace: Option<String>,
) -> Result<ProcessId, RestoreError> {
    let State {
        process,
        part,
        sidecars,
    } = state;
    let sidecar = restorer(&app, &process).ok_or_else(|| {
        let nobody = sidecars.first().cloned();
        let nobody = nobody.unwrap_or_else(|| SidecarId::new(process.service.clone(), "?"));
        LinkError::NotConnected(nobody)
    })?;
    let put_back = app
        .registry
        .ask(&sidecar, STATE_TIMEOUT, |request| Downlink::RestoreState {
            request,
            epoch,
            part,
            trace,
        });
    put_back.await?;
    tracing::info!(restore = id, %process, %sidecar, "state restored");
    Ok(process)
}

/// A connected sidecar of the process: the instance's own, or any one of the service.
fn restorer(app: &App, process: &ProcessId) -> Option<SidecarId> {
    let fits = |id: &SidecarId| {
        id.service == process.service
            && process
                .instance
                .as_ref()
                .is_none_or(|instance| *instance == id.instance)
    };
    app.registry.connected().into_keys().find(fits)
}

/// Commits the checkpoint's offsets for every group and reads them back.
pub async fn commit_offsets(run: &mut Run) -> Result<Entry, RestoreError> {
    let groups = run.begun.groups.clone();
    let cut = cut_of(&run.wanted.manifest);
    let targets = group_targets(&cut, &run.begun.services, groups);
    for (group, target) in &targets {
        commit_group(&run.app, group, target).await?;
    }
    Ok(Entry::OffsetsCommitted)
}

async fn commit_group(
    app: &App,
    group: &GroupId,
    target: &GroupTarget,
) -> Result<(), RestoreError> {
    // Members cannot come back through a fenced sidecar; after a long wait for one, look again all the same.
    empty::empty_group(app, group).await?;
    let before = app.kafka.committed(group, true).await?;
    let surplus: Vec<TopicPartition> = before
        .into_keys()
        .filter(|partition| !target.offsets.contains_key(partition))
        .collect();
    app.kafka.delete_committed(group, &surplus).await?;
    app.kafka.commit(group, &target.offsets).await?;
    let after = app.kafka.committed(group, true).await?;
    compare(group, &target.offsets, &after)
}

fn compare(
    group: &GroupId,
    wanted: &BTreeMap<TopicPartition, Offset>,
    found: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), RestoreError> {
    let partitions: BTreeSet<&TopicPartition> = wanted.keys().chain(found.keys()).collect();
    let word =
        |offset: Option<&Offset>| offset.map_or_else(|| "none".to_owned(), Offset::to_string);
    for partition in partitions {
        let (wanted, found) = (wanted.get(partition), found.get(partition));
        if wanted != found {
            return Err(RestoreError::OffsetsDiffer {
                group: group.clone(),
                partition: partition.clone(),
                wanted: word(wanted),
                found: word(found),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_is_missing_other_or_too_much_is_told() {
        let offsets = |pairs: &[(i32, i64)]| {
            pairs
                .iter()
                .map(|&(partition, offset)| (TopicPartition::new("t", partition), Offset(offset)))
                .collect::<BTreeMap<_, _>>()
        };
        let wanted = offsets(&[(0, 5), (1, 7)]);
        let group = GroupId::from("g");
        assert!(compare(&group, &wanted, &wanted).is_ok());
        for found in [&[(0, 5)][..], &[(0, 5), (1, 8)], &[(0, 5), (1, 7), (2, 0)]] {
            assert!(
                compare(&group, &wanted, &offsets(found)).is_err(),
                "{found:?}"
            );
        }
    }
}
