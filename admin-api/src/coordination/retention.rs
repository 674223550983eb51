//! Which checkpoints are kept: the last so many, none too old, savepoints always, and whatever a restore needs.

use std::{collections::BTreeSet, time::Duration};

use cutline_client::{
    CheckpointStatus, CheckpointView, GarbageView, PruneEntry, PruneReport, PruneRequest,
};
use cutline_model::Epoch;
use cutline_store::{GcOptions, GcReport, StoreError};
use jiff::Timestamp;
use serde_json::json;

use crate::{app::App, config::Retention, problem::Problem};

/// Failed attempts kept for people to look at.
const FAILED_KEPT_MAX: usize = 100;
/// Garbage is collected when it is this old: longer than any checkpoint takes.
const GC_GRACE: Duration = Duration::from_secs(3_600);
/// Deletions after one checkpoint; the rest follows after the next ones.
const DELETIONS_MAX: usize = 20;
/// Deletions by one request: an answer is waited for.
const PRUNED_MAX: usize = 200;

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
    let verdicts = judge(&views, &app.config.retention, Timestamp::now());
    let mut deleted = 0;
    for verdict in verdicts.surplus().take(DELETIONS_MAX) {
        let epoch = verdict.view.epoch;
        match delete(app, epoch).await {
            Ok(()) => deleted += 1,
            Err(StoreError::InUse { .. }) => {}
            Err(error) => {
                tracing::warn!(epoch = epoch.0, %error, "checkpoint not deleted by retention")
            }
        }
    }
    if deleted > 0
        && let Err(error) = collect(app).await
    {
        tracing::warn!(%error, "garbage not collected");
    }
}

/// Deletes what is not to be kept, on request, or tells what that would be.
///
/// # Errors
/// When the store does not answer.
pub async fn prune(app: &App, request: PruneRequest) -> Result<PruneReport, Problem> {
    let _only = app.retaining.lock().await;
    let views = app.history.all(app).await?;
    let verdicts = judge(&views, &app.config.retention, Timestamp::now());
    let (mut deleted, mut kept) = (Vec::new(), Vec::new());
    for verdict in verdicts.surplus().take(PRUNED_MAX) {
        let mut entry = verdict.entry();
        let done = if request.dry_run {
            app.repository.not_in_use(entry.epoch).await
        } else {
            delete(app, entry.epoch).await
        };
        match done {
            Ok(()) => deleted.push(entry),
            Err(error @ StoreError::InUse { .. }) => {
                entry.reason = error.to_string();
                kept.push(entry);
            }
            Err(error) => return Err(error.into()),
        }
    }
    kept.extend(verdicts.kept().map(Verdict::entry));
    kept.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.epoch));
    let gone: BTreeSet<Epoch> = deleted.iter().map(|entry| entry.epoch).collect();
    let collected = if request.dry_run {
        app.repository.gc_without(&gone, GC_GRACE).await?
    } else {
        collect(app).await?
    };
    Ok(PruneReport {
        dry_run: request.dry_run,
        left: verdicts.surplus().count().saturating_sub(PRUNED_MAX),
        deleted,
        kept,
        garbage: garbage(&collected),
    })
}

async fn collect(app: &App) -> Result<GcReport, StoreError> {
    let options = GcOptions {
        dry_run: false,
        grace: GC_GRACE,
    };
    app.repository.gc(options).await
}

fn garbage(report: &GcReport) -> GarbageView {
    GarbageView {
        packs: report.packs_removed,
        bytes: report.bytes_removed,
        parts: report.parts_removed,
        packs_kept: report.packs_kept,
        packs_young: report.packs_young,
        abandoned: report.abandoned.len(),
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

/// Whether one checkpoint stays, and why.
#[derive(Clone, Debug, PartialEq)]
struct Verdict<'a> {
    view: &'a CheckpointView,
    is_kept: bool,
    reason: String,
}

/// What is thought of every checkpoint, oldest first.
#[derive(Clone, Debug, PartialEq)]
struct Verdicts<'a>(Vec<Verdict<'a>>);

impl<'a> Verdicts<'a> {
    fn surplus(&self) -> impl Iterator<Item = &Verdict<'a>> {
        self.0.iter().filter(|verdict| !verdict.is_kept)
    }

    fn kept(&self) -> impl Iterator<Item = &Verdict<'a>> {
        self.0.iter().filter(|verdict| verdict.is_kept)
    }
}

impl Verdict<'_> {
    fn entry(&self) -> PruneEntry {
        PruneEntry {
            epoch: self.view.epoch,
            status: self.view.status,
            savepoint: self.view.savepoint.clone(),
            completed_at: self.view.completed_at,
            state_size: self.view.state_size,
            reason: self.reason.clone(),
        }
    }
}

/// What is thought of each of `views`, which is newest first.
fn judge<'a>(views: &'a [CheckpointView], retention: &Retention, now: Timestamp) -> Verdicts<'a> {
    let (mut completed, mut failed) = (0, 0);
    let verdicts = views.iter().map(|view| {
        let (is_kept, reason) = match view.status {
            CheckpointStatus::Completed if view.savepoint.is_some() => {
                (true, "a savepoint is kept until it is deleted by hand".to_owned())
            }
            CheckpointStatus::Completed => {
                completed += 1;
                judge_completed(completed, view, retention, now)
            }
            CheckpointStatus::Failed => {
                failed += 1;
                let reason = format!("number {failed} of the failed ones; the last {FAILED_KEPT_MAX} are kept to be looked at");
                (failed <= FAILED_KEPT_MAX, reason)
            }
            CheckpointStatus::Triggered | CheckpointStatus::InProgress => {
                (true, "it is in progress".to_owned())
            }
            CheckpointStatus::Deleting => (true, "it is being deleted".to_owned()),
        };
        Verdict {
            view,
            is_kept,
            reason,
        }
    });
    let mut verdicts: Vec<Verdict<'a>> = verdicts.collect();
    verdicts.reverse();
    Verdicts(verdicts)
}

/// What is thought of a checkpoint without a name that is the `number`th, counted from the newest.
fn judge_completed(
    number: usize,
    view: &CheckpointView,
    retention: &Retention,
    now: Timestamp,
) -> (bool, String) {
    let keep = retention.keep_last.max(1);
    let ended = view.completed_at.unwrap_or(view.started_at);
    let age = Duration::try_from(ended.duration_until(now)).unwrap_or_default();
    let too_old = retention.max_age.filter(|max| age > *max);
    match too_old {
        _ if number == 1 => (true, "the newest is always kept".to_owned()),
        _ if number > keep => (
            false,
            format!("number {number} from the newest; retention.keep-last is {keep}"),
        ),
        Some(max) => (
            false,
            format!(
                "{} s old; retention.max-age is {} s",
                age.as_secs(),
                max.as_secs()
            ),
        ),
        None => (
            true,
            format!("number {number} from the newest; retention.keep-last is {keep}"),
        ),
    }
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
            restorable: None,
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
        let surplus = |keep_last, max_age| {
            let retention = Retention {
                keep_last,
                max_age: max_age_of(max_age),
                ..Retention::default()
            };
            let verdicts = judge(&views, &retention, now);
            let surplus: Vec<Epoch> = verdicts.surplus().map(|one| one.view.epoch).collect();
            surplus
        };
        assert_eq!(surplus(2, 0), [Epoch(1), Epoch(2)]);
        assert_eq!(surplus(9, 35), [Epoch(1), Epoch(2)]);
        let all_but_last = [Epoch(1), Epoch(2), Epoch(4)];
        assert_eq!(surplus(9, 1), all_but_last);
        assert_eq!(surplus(0, 0), all_but_last);
    }

    fn max_age_of(seconds: u64) -> Option<Duration> {
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}
