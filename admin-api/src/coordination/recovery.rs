//! Epochs that nobody runs any more become FAILED: those of a dead coordinator, and those whose failure could not be
//! written when it happened.

use std::time::Duration;

use cutline_model::{Epoch, Mode};
use cutline_protocol::ManifestAnswer;
use cutline_store::{CheckpointStatus, CheckpointSummary, Manifest, Repository, StoreError};
use jiff::Timestamp;

use super::{claim::installation, decision::decide};
use crate::{app::App, problem::Problem};

/// How often it is looked for epochs that nobody runs.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

/// Makes every epoch that is claimed, undecided and not in progress here FAILED: all of them, not the last alone.
///
/// # Errors
/// When the store cannot be read.
pub async fn sweep(app: &App) -> Result<(), Problem> {
    for epoch in app.history.undecided(app).await? {
        if app
            .running
            .current()
            .is_some_and(|running| running.epoch == epoch)
        {
            continue;
        }
        let found = app.repository.find(epoch).await?;
        if let Some(found) = found.filter(|found| is_ours(app, found)) {
            give_up(app, epoch, &found).await;
        }
    }
    Ok(())
}

/// Sweeps from time to time, for as long as this admin API leads.
pub async fn watch(app: App) {
    loop {
        tokio::time::sleep(SWEEP_PERIOD).await;
        if let Err(problem) = sweep(&app).await {
            tracing::warn!(%problem, "undecided epochs not looked through");
        }
    }
}

/// Undecided, and of this deployment on this cluster: another's are its own to decide.
fn is_ours(app: &App, found: &CheckpointSummary) -> bool {
    let owner = found.owner.as_ref().map(|owner| owner.owner.as_str());
    found.status == CheckpointStatus::Incomplete
        && owner.is_none_or(|owner| installation(owner) == installation(&app.owner))
}

async fn give_up(app: &App, epoch: Epoch, found: &CheckpointSummary) {
    let claimed_at = found
        .owner
        .as_ref()
        .map_or_else(Timestamp::now, |owner| owner.claimed_at);
    let reason = "its coordinator ended before the epoch did";
    let manifest = Manifest::failed(epoch, Mode::default(), claimed_at, reason);
    if decide(app, &manifest).await == ManifestAnswer::Created {
        tracing::warn!(
            epoch = epoch.0,
            "an epoch that nobody runs any more has failed"
        );
        let data = serde_json::json!({ "epoch": epoch, "reason": reason });
        app.events.publish("checkpoint.failed", data);
    }
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is another installation's.
    #[error(
        "CL0216 this store holds checkpoints of {found}, this admin API is of {own}: give each deployment on each cluster a store or prefix of its own"
    )]
    Foreign {
        /// The deployment and cluster of the last epoch in the store.
        found: String,
        /// Ours.
        own: String,
    },
}

/// Checks that the last epoch claimed in the store is of the same deployment on the same cluster.
///
/// # Errors
/// [`OpenError::Foreign`] when it is not.
pub async fn check_installation(repository: &Repository, owner: &str) -> Result<(), OpenError> {
    let next = repository.next_epoch().await?;
    let Some(last) = next.0.checked_sub(1).map(Epoch) else {
        return Ok(());
    };
    let found = repository.epoch_owner(last).await?;
    let found = found.as_ref().and_then(|found| installation(&found.owner));
    match (found, installation(owner)) {
        (Some(found), Some(own)) if found != own => Err(OpenError::Foreign {
            found: found.to_owned(),
            own: own.to_owned(),
        }),
        _ => Ok(()),
    }
}
