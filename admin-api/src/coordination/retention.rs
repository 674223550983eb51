//! Which checkpoints are kept: the last so many, none too old, savepoints always, and whatever a restore needs.

use std::time::Duration;

use cutline_client::{CheckpointStatus, CheckpointView};
use cutline_model::Epoch;
use cutline_store::{GcOptions, StoreError};
use jiff::Timestamp;
use serde_json::json;

use crate::{app::App, config::Retention};

/// Failed attempts kept for people to look at.
const FAILED_KEPT_MAX: usize = 100;
/// Garbage is collected when it is this old: longer than any checkpoint takes.
const GC_GRACE: Duration = Duration::from_secs(3_600);
/// Deletions after one checkpoint; the rest follows after the next ones.
const DELETIONS_MAX: usize = 20;

/// Deletes what is not to be kept, one at a time: while that goes on, another leaves it to the checkpoints to come. What
/// goes wrong is told and tried again after the next checkpoint.
pub async fn keep(app: &App) {
    let Ok(_only) = app.retaining.try_lock() else {
        return;
    };
    let views = match app.history.all(app).await {
        Ok(views) => views,
        Err(problem) => {
            tracing::warn!(%problem, "retention did not happen");
            return;
        }
    };
    let surplus = surplus(&views, &app.config.retention, Timestamp::now());
    let mut deleted = 0;
    for epoch in surplus.into_iter().take(DELETIONS_MAX) {
        match delete(app, epoch).await {
            Ok(()) => deleted += 1,
            Err(StoreError::InUse { .. }) => {}
            Err(error) => {
                tracing::warn!(epoch = epoch.0, %error, "checkpoint not deleted by retention")
            }
        }
    }
    if deleted > 0 {
        let options = GcOptions {
            dry_run: false,
            grace: GC_GRACE,
        };
        if let Err(error) = app.repository.gc(options).await {
            tracing::warn!(%error, "garbage not collected");
        }
    }
}

/// Deletes one checkpoint.
///
/// # Errors
/// When a restore needs it, it is running, or the store does not answer.
pub async fn delete(app: &App, epoch: Epoch) -> Result<(), StoreError> {
    app.repository.delete(epoch).await?;
    app.history.forget(epoch);
    tracing::info!(epoch = epoch.0, "checkpoint deleted");
    app.events
        .publish("checkpoint.deleted", json!({ "epoch": epoch }));
    Ok(())
}

/// The epochs to delete, oldest first. `views` is newest first.
fn surplus(views: &[CheckpointView], retention: &Retention, now: Timestamp) -> Vec<Epoch> {
    let completed = views
        .iter()
        .filter(|view| view.status == CheckpointStatus::Completed && view.savepoint.is_none());
    let too_old = |view: &CheckpointView| {
        let ended = view.completed_at.unwrap_or(view.started_at);
        let age = Duration::try_from(ended.duration_until(now)).unwrap_or_default();
        retention.max_age.is_some_and(|max| age > max)
    };
    let keep = retention.keep_last.max(1);
    let expired = completed
        .enumerate()
        .filter(|(at, view)| *at >= keep || (*at > 0 && too_old(view)))
        .map(|(_, view)| view.epoch);
    let failed = views
        .iter()
        .filter(|view| view.status == CheckpointStatus::Failed)
        .skip(FAILED_KEPT_MAX)
        .map(|view| view.epoch);
    let mut surplus: Vec<Epoch> = expired.chain(failed).collect();
    surplus.sort_unstable();
    surplus
}

#[cfg(test)]
mod tests {
    use cutline_model::{Mode, Timeline};

    use super::*;

    fn view(epoch: u64, savepoint: Option<&str>, age_s: i64) -> CheckpointView {
        let at = Timestamp::from_second(1_000_000 - age_s).unwrap();
        CheckpointView {
            epoch: Epoch(epoch),
            status: CheckpointStatus::Completed,
            phase: None,
            savepoint: savepoint.map(str::to_owned),
            mode: Mode::Aligned,
            started_at: at,
            completed_at: Some(at),
            duration_ms: 0,
            pause_ms_max: 0.0,
            state_size: 0,
            bytes_uploaded: 0,
            process_count: 0,
            reason: None,
            retried_as: None,
            timeline: Timeline(0),
            trace_id: None,
        }
    }

    #[test]
    fn the_last_ones_and_savepoints_are_kept() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let views = [
            view(5, None, 10),
            view(4, None, 20),
            view(3, Some("x"), 30),
            view(2, None, 40),
            view(1, None, 50),
        ];
        let keep = |keep_last, max_age| Retention {
            keep_last,
            max_age: max_age_of(max_age),
        };
        assert_eq!(surplus(&views, &keep(2, 0), now), [Epoch(1), Epoch(2)]);
        assert_eq!(surplus(&views, &keep(9, 35), now), [Epoch(1), Epoch(2)]);
        let all_but_last = [Epoch(1), Epoch(2), Epoch(4)];
        assert_eq!(surplus(&views, &keep(9, 1), now), all_but_last);
        assert_eq!(surplus(&views, &keep(0, 0), now), all_but_last);
    }

    fn max_age_of(seconds: u64) -> Option<Duration> {
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}
