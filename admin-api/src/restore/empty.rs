//! Behind the fence: groups without members, and nothing of the restored services' transactions open.
//!
//! Members are made to go one by one, static ones too. A transactional id is taken over only where a transaction is open:
//! its producer is then fenced for good.

use std::{collections::BTreeSet, time::Duration};

use cutline_control::ControlState;
use cutline_model::{GroupId, ServiceName};
use cutline_protocol::restore::Entry;
use cutline_wire::client::ClientError;
use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::{RestoreError, gather, run::Run};
use crate::app::App;

/// How long a group may take to be empty after its members were made to go.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(30);
const EMPTY_PAUSE: Duration = Duration::from_millis(100);
/// Transactional ids of our own; they mark and carry no records.
const OWN_PREFIX: &str = "__cutline.";
/// A transaction under a taken-over id is never begun; the broker wants a number.
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;

/// Empties every group and ends every open transaction of the restored services.
pub async fn empty(run: &mut Run) -> Result<Entry, RestoreError> {
    for group in run.begun.groups.keys() {
        empty_group(&run.app, group).await?;
    }
    let control = gather::present(&run.app).await?;
    let mut transactional_ids = Vec::new();
    for id in used_by(&control, &run.begun.services) {
        if end_transaction(&run.app, &id).await? {
            transactional_ids.push(id);
        }
    }
    Ok(Entry::Emptied { transactional_ids })
}

/// Every transactional id that applications of `services` ever used.
fn used_by(control: &ControlState, services: &BTreeSet<ServiceName>) -> BTreeSet<String> {
    let producers = services
        .iter()
        .filter_map(|service| control.producers.get(service));
    let ids = producers.flat_map(|ids| ids.values().flatten());
    ids.filter(|id| !id.starts_with(OWN_PREFIX))
        .cloned()
        .collect()
}

/// Makes every member of `group` go and waits until none is left.
pub async fn empty_group(app: &App, group: &GroupId) -> Result<(), RestoreError> {
    let deadline = Instant::now() + EMPTY_TIMEOUT;
    loop {
        let described = app.kafka.describe_group(group).await?;
        if described.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let ids = described.members.iter().map(|member| {
                let client = &member.client_id;
                format!("{} of client {client:?}", member.id)
            });
            return Err(RestoreError::NotEmpty {
                group: group.clone(),
                members: ids.collect::<Vec<_>>().join(", "),
            });
        }
        let left = app
            .kafka
            .force_leave(group, described.kind, &described.members)
            .await;
        if let Err(error) = left {
            if matches!(error, ClientError::Denied { .. }) {
                // Members stay however long is waited.
                return Err(error.into());
            }
            // A rebalance may be in the way; the next look tells who is left.
            tracing::debug!(%error, %group, "members not gone yet");
        }
        tokio::time::sleep(EMPTY_PAUSE).await;
    }
}

/// Ends what is open under `id`. True when something was.
async fn end_transaction(app: &App, id: &str) -> Result<bool, RestoreError> {
    match app.kafka.describe_transaction(id).await {
        Ok(described) if described.is_open() => {
            app.kafka
                .fence_transactional_id(id, TRANSACTION_TIMEOUT_MS)
                .await?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(ClientError::Kafka {
            error: ResponseError::TransactionalIdNotFound,
            ..
        }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
