//! Consumer groups as the brokers see them.
//!
//! It promises to ask the brokers, and no client. What the members do it does not know.

use std::{collections::BTreeMap, time::Duration};

use cutline_model::{GroupId, Offset, TopicPartition};
use cutline_wire::client::{Client, ClientOptions};

use crate::{wait_at_most, wait_for, wait_until};

/// How long instances may take to join their groups.
const ASSIGNED_LIMIT: Duration = Duration::from_secs(60);

/// Has every member of `group` leave: of those who are known to be dead nobody waits for the session to run out.
///
/// # Panics
/// When the brokers do not let them go in time.
pub async fn empty(kafka: &str, group: &str) {
    let client = connected(kafka).await;
    let (client, group) = (&client, &GroupId::from(group.to_owned()));
    wait_until(ASSIGNED_LIMIT, "the members to have left", || async {
        let Ok(state) = client.describe_group(group).await else {
            return false;
        };
        // A rebalance may be in the way: the next look tells who is left.
        let _ = client.force_leave(group, state.kind, &state.members).await;
        state.is_empty()
    })
    .await;
}

/// Waits until `members` share `partitions` in a group that is settled: a rebalance under load may make a plain at-least-once application do a
/// batch twice, with Cutline and without.
///
/// # Panics
/// When they do not in time.
pub async fn wait_assigned(kafka: &str, group: &str, members: usize, partitions: usize) {
    let client = connected(kafka).await;
    let (client, group) = (&client, GroupId::from(group.to_owned()));
    wait_until(ASSIGNED_LIMIT, "the partitions to be assigned", || {
        let group = group.clone();
        async move {
            let Ok(state) = client.describe_group(&group).await else {
                return false;
            };
            let assigned: usize = state.members.iter().map(|m| m.assignment.len()).sum();
            state.is_settled() && state.members.len() == members && assigned == partitions
        }
    })
    .await;
}

async fn connected(kafka: &str) -> Client {
    let bootstrap: Vec<String> = kafka.split(',').map(str::to_owned).collect();
    wait_for(ASSIGNED_LIMIT, "a broker to answer", || async {
        Client::connect(&bootstrap, ClientOptions::default())
            .await
            .ok()
    })
    .await
}

/// How far groups had committed at one moment, to see whether every one of their partitions moves on from there.
#[derive(Debug)]
pub struct Progress {
    client: Client,
    inputs: Vec<(GroupId, Vec<TopicPartition>)>,
    before: Committed,
}

type Committed = BTreeMap<(GroupId, TopicPartition), Offset>;

impl Progress {
    /// Notes where `inputs` are.
    ///
    /// # Panics
    /// When no broker tells it in time.
    pub async fn of(kafka: &str, inputs: Vec<(GroupId, Vec<TopicPartition>)>) -> Self {
        let client = connected(kafka).await;
        let before = wait_for(ASSIGNED_LIMIT, "the offsets of the groups", || {
            committed(&client, &inputs)
        })
        .await;
        Self {
            client,
            inputs,
            before,
        }
    }

    /// Waits until every partition has moved, for `limit` at most: those that have not.
    pub async fn stands_still_after(&self, limit: Duration) -> Vec<String> {
        let mut still: Vec<String> = Vec::new();
        let moved = wait_at_most(limit, || async {
            let now = committed(&self.client, &self.inputs).await?;
            Some(self.not_past(&now)).filter(Vec::is_empty)
        });
        if moved.await.is_none() {
            let now = committed(&self.client, &self.inputs).await;
            still = self.not_past(&now.unwrap_or_default());
        }
        still
    }

    fn not_past(&self, now: &Committed) -> Vec<String> {
        let all = self.inputs.iter().flat_map(|(group, partitions)| {
            partitions
                .iter()
                .map(|partition| (group.clone(), partition.clone()))
        });
        let still = all.filter(|input| now.get(input) <= self.before.get(input));
        still
            .map(|(group, partition)| format!("{group} on {partition}"))
            .collect()
    }
}

async fn committed(
    client: &Client,
    inputs: &[(GroupId, Vec<TopicPartition>)],
) -> Option<Committed> {
    let mut all = Committed::new();
    for (group, partitions) in inputs {
        let offsets = client.committed_on(group, partitions, false).await.ok()?;
        let keyed = offsets
            .into_iter()
            .map(|(partition, offset)| ((group.clone(), partition), offset));
        all.extend(keyed);
    }
    Some(all)
}
