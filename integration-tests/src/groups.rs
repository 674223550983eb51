//! Consumer groups as the brokers see them.
//!
//! It promises to ask the brokers, and no client. What the members do it does not know.

use std::time::Duration;

use cutline_model::GroupId;
use cutline_wire::client::{Client, ClientOptions};

use crate::wait_until;

/// How long instances may take to join their groups.
const ASSIGNED_LIMIT: Duration = Duration::from_secs(60);

/// Waits until `members` share `partitions` in a group that is settled: a rebalance under load may make a plain at-least-once application do a
/// batch twice, with Cutline and without.
///
/// # Panics
/// When they do not in time.
pub async fn wait_assigned(kafka: &str, group: &str, members: usize, partitions: usize) {
    let bootstrap: Vec<String> = kafka.split(',').map(str::to_owned).collect();
    let client = Client::connect(&bootstrap, ClientOptions::default())
        .await
        .expect("the Kafka of this run answers");
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
