//! Every checkpoint there is, as lists show them: read from the store, remembered once they cannot change.
//!
//! The store is the truth: after a restart this is filled again from it. What is in progress is laid over it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cutline_client::{
    CheckpointCounts, CheckpointDetail, CheckpointList, CheckpointQuery, CheckpointStatus,
    CheckpointView, LatestCheckpoints, Spread, Summary,
};
use cutline_model::Epoch;
use cutline_store::{CheckpointStatus as Stored, StoreError};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{
    app::App,
    detail::{detail_of, view_of},
    problem::Problem,
    shared::Progress,
};

/// Checkpoints known; what is older counts no more.
pub const KNOWN_MAX: u64 = 10_000;
/// History entries when the query does not say, and at most.
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 1_000;
/// Checkpoints read from the store at the same time.
const READS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Known {
    /// Everything below was looked at.
    next: u64,
    /// `None`: it is not there, or not any more.
    settled: BTreeMap<u64, Option<Arc<CheckpointView>>>,
    /// Looked at and still changing.
    open: BTreeMap<u64, Arc<CheckpointView>>,
}

/// The known checkpoints. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Known>>);

impl History {
    /// All checkpoints, newest first, the one in progress included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all(&self, app: &App) -> Result<Vec<CheckpointView>, Problem> {
        self.refresh(app).await?;
        let running = in_progress(app).await;
        let mut views: Vec<CheckpointView> = {
            let known = self.0.lock();
            let settled = known.settled.values().flatten();
            settled
                .chain(known.open.values())
                .map(|view| view.as_ref().clone())
                .collect()
        };
        for view in &mut views {
            view.retried_as = app.running.successor(view.epoch);
            app.expiry.show_on(view);
        }
        if let Some(running) = running.filter(|running| !is_decided(&views, running.epoch)) {
            views.retain(|view| view.epoch != running.epoch);
            views.push(view_of_running(&running));
        }
        views.sort_unstable_by_key(|view| std::cmp::Reverse(view.epoch));
        Ok(views)
    }

    /// What `GET /v1/checkpoints` answers. `restored` is the epoch restored last and how many restores completed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        app: &App,
        query: &CheckpointQuery,
        restored: (Option<Epoch>, usize),
    ) -> Result<CheckpointList, Problem> {
        let views = self.all(app).await?;
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
        let history = views
            .iter()
            .filter(|view| query.status.is_none_or(|status| status == view.status))
            .filter(|view| query.before.is_none_or(|before| view.epoch.0 < before))
            .take(limit)
            .cloned()
            .collect();
        Ok(CheckpointList {
            counts: counts(&views, restored.1),
            latest: latest(&views, restored.0),
            summary: summary(&views),
            history,
        })
    }

    /// One checkpoint as a list shows it.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn view(&self, app: &App, epoch: Epoch) -> Result<CheckpointView, Problem> {
        Ok(self.detail(app, epoch).await?.checkpoint)
    }

    /// One checkpoint with everything known of it, read from the store.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn detail(&self, app: &App, epoch: Epoch) -> Result<CheckpointDetail, Problem> {
        let running = app.running.current();
        if let Some(running) = running.filter(|running| running.epoch == epoch) {
            return Ok(detail_of(view_of_running(&Progress::from(&running)), None));
        }
        let found = app.repository.find(epoch).await?;
        if found
            .as_ref()
            .is_none_or(|found| found.status == Stored::Incomplete)
        {
            let running = in_progress(app).await;
            if let Some(running) = running.filter(|running| running.epoch == epoch) {
                return Ok(detail_of(view_of_running(&running), None));
            }
        }
        let found = found.filter(|found| found.status != Stored::Deleted);
        let found = found.ok_or(StoreError::NoCheckpoint { epoch })?;
        let mut view = view_of(&found);
        view.retried_as = app.running.successor(epoch);
        app.expiry.show_on(&mut view);
        Ok(detail_of(view, found.manifest.as_deref()))
    }

    /// Epochs that are claimed and undecided.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn undecided(&self, app: &App) -> Result<Vec<Epoch>, Problem> {
        self.refresh(app).await?;
        let known = self.0.lock();
        let open = known.open.values();
        let undecided = open.filter(|view| view.status == CheckpointStatus::InProgress);
        Ok(undecided.map(|view| view.epoch).collect())
    }

    /// Looks at `epoch` again next time: it was deleted.
    pub fn forget(&self, epoch: Epoch) {
        let mut known = self.0.lock();
        if let Some(Some(view)) = known.settled.remove(&epoch.0) {
            known.open.insert(epoch.0, view);
        }
    }

    async fn refresh(&self, app: &App) -> Result<(), Problem> {
        let end = app.repository.next_epoch().await?.0;
        let wanted: Vec<u64> = {
            let known = self.0.lock();
            let first = known.next.max(end.saturating_sub(KNOWN_MAX));
            known.open.keys().copied().chain(first..end).collect()
        };
        let found: Vec<(u64, Option<CheckpointView>, bool)> = stream::iter(wanted)
            .map(|epoch| async move {
                let found = app.repository.find(Epoch(epoch)).await?;
                Ok::<_, StoreError>(match found {
                    None => (epoch, None, true),
                    Some(found) if found.status == Stored::Deleted => (epoch, None, true),
                    Some(found) => {
                        let settled = matches!(
                            found.status,
                            Stored::Completed | Stored::Failed | Stored::Damaged
                        );
                        (epoch, Some(view_of(&found)), settled)
                    }
                })
            })
            .buffer_unordered(READS_MAX)
            .try_collect()
            .await?;
        self.take_in(end, found);
        Ok(())
    }

    fn take_in(&self, end: u64, found: Vec<(u64, Option<CheckpointView>, bool)>) {
        let mut known = self.0.lock();
        known.next = known.next.max(end);
        for (epoch, view, settled) in found {
            let view = view.map(Arc::new);
            known.open.remove(&epoch);
            match (settled, view) {
                (true, view) => {
                    known.settled.insert(epoch, view);
                }
                (false, Some(view)) => {
                    known.open.insert(epoch, view);
                }
                (false, None) => {}
            }
        }
        while known.settled.len() as u64 > KNOWN_MAX {
            known.settled.pop_first();
        }
    }
}

/// The epoch in progress: this admin API's own, or the leader's as far as that is known.
async fn in_progress(app: &App) -> Option<Progress> {
    match app.running.current() {
        Some(running) => Some(Progress::from(&running)),
        None if app.leadership.is_leading() => None,
        None => app.shared.progress().await,
    }
}

/// What is shared may be late: the store knows when an epoch is over.
fn is_decided(views: &[CheckpointView], epoch: Epoch) -> bool {
    let over = [CheckpointStatus::Completed, CheckpointStatus::Failed];
    views
        .iter()
        .any(|view| view.epoch == epoch && over.contains(&view.status))
}

fn view_of_running(running: &Progress) -> CheckpointView {
    let took = running.started_at.duration_until(Timestamp::now());
    let status = match running.phase {
        None => CheckpointStatus::Triggered,
        Some(_) => CheckpointStatus::InProgress,
    };
    CheckpointView {
        epoch: running.epoch,
        status,
        phase: running.phase.clone(),
        savepoint: running.savepoint.clone(),
        mode: running.mode,
        started_at: running.started_at,
        completed_at: None,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or_default(),
        pause_ms_max: 0.0,
        state_size: 0,
        bytes_uploaded: 0,
        process_count: 0,
        reason: None,
        retried_as: None,
        timeline: cutline_model::Timeline::default(),
        trace_id: running.trace_id.clone(),
        restorable: None,
    }
}

fn counts(views: &[CheckpointView], restored: usize) -> CheckpointCounts {
    let of = |wanted: &[CheckpointStatus]| {
        let those = views.iter().filter(|view| wanted.contains(&view.status));
        those.count()
    };
    CheckpointCounts {
        total: views.len(),
        in_progress: of(&[CheckpointStatus::Triggered, CheckpointStatus::InProgress]),
        completed: of(&[CheckpointStatus::Completed]),
        failed: of(&[CheckpointStatus::Failed]),
        restored,
    }
}

fn latest(views: &[CheckpointView], restored: Option<Epoch>) -> LatestCheckpoints {
    let first =
        |wanted: &dyn Fn(&CheckpointView) -> bool| views.iter().find(|view| wanted(view)).cloned();
    LatestCheckpoints {
        completed: first(&|view| view.status == CheckpointStatus::Completed),
        failed: first(&|view| view.status == CheckpointStatus::Failed),
        savepoint: first(&|view| {
            view.status == CheckpointStatus::Completed && view.savepoint.is_some()
        }),
        restored: restored.and_then(|epoch| first(&|view| view.epoch == epoch)),
    }
}

fn summary(views: &[CheckpointView]) -> Summary {
    let completed: Vec<&CheckpointView> = views
        .iter()
        .filter(|view| view.status == CheckpointStatus::Completed)
        .collect();
    let spread = |value: fn(&CheckpointView) -> f64| {
        Spread::of(completed.iter().map(|view| value(view)).collect())
    };
    Summary {
        duration_ms: spread(|view| view.duration_ms as f64),
        pause_ms: spread(|view| view.pause_ms_max),
        state_size: spread(|view| view.state_size as f64),
        bytes_uploaded: spread(|view| view.bytes_uploaded as f64),
    }
}

/// A span between two times, in whole milliseconds.
#[must_use]
pub fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    let span = Duration::try_from(from.duration_until(to)).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
