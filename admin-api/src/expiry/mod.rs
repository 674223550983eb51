//! For how long each checkpoint can still be restored: what Kafka's retention has taken of the logs that it refers to, and
//! when it will take more. Shown, told as events, counted, and warned of once in time.
//!
//! An estimate for people. Whether a checkpoint can be restored is decided by the plan of a restore, which looks itself.
//! All checkpoints are looked at together, once in `retention.check-interval`, in requests of many partitions each.

mod estimate;
mod log;
mod need;
mod times;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cutline_client::{CheckpointStatus, CheckpointView, Restorable, RestorableState};
use cutline_model::Epoch;
use cutline_store::StoreError;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::{app::App, problem::Problem};

use estimate::judge;
use log::Logs;
use need::Need;

/// Manifests read in one look: a leader that is new learns the rest in the next ones.
const LOADS_MAX: usize = 100;
/// Positions remembered over all checkpoints, newest first: about 40 bytes each. Older checkpoints show no limit.
const POSITIONS_MAX: usize = 4_000_000;

/// What was found of each checkpoint. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Expiry(Arc<Mutex<BTreeMap<Epoch, Restorable>>>);

impl Expiry {
    /// How `epoch` stood when it was last looked at.
    #[must_use]
    pub fn of(&self, epoch: Epoch) -> Option<Restorable> {
        self.0.lock().get(&epoch).cloned()
    }

    /// Notes it on a checkpoint that is shown.
    pub fn show_on(&self, view: &mut CheckpointView) {
        if view.status == CheckpointStatus::Completed {
            view.restorable = self.of(view.epoch);
        }
    }
}

/// Looks at all checkpoints again and again, for as long as this admin API leads.
pub async fn watch(app: App) {
    let mut period = tokio::time::interval(app.config.retention.check_interval);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher::default();
    let mut said = String::new();
    loop {
        period.tick().await;
        match watcher.look(&app).await {
            Ok(()) => said.clear(),
            Err(problem) => {
                let problem = problem.to_string();
                if said != problem {
                    tracing::warn!(
                        problem,
                        "it is not known for how long checkpoints can be restored; trying again"
                    );
                    said = problem;
                }
            }
        }
    }
}

/// What one leader knows from look to look.
#[derive(Debug, Default)]
struct Watcher {
    needs: BTreeMap<Epoch, Need>,
    logs: Logs,
    /// Checkpoints of which it was told that they will not last, or do not.
    told: BTreeMap<Epoch, RestorableState>,
}

impl Watcher {
    async fn look(&mut self, app: &App) -> Result<(), Problem> {
        let mut completed = app.history.all(app).await?;
        completed.retain(|view| view.status == CheckpointStatus::Completed);
        self.learn(app, &completed).await?;
        self.logs.look(&app.kafka, self.needs.values()).await?;
        times::read(&app.kafka, &self.logs, &mut self.needs).await?;
        let now = Timestamp::now().as_millisecond();
        let margin = app.config.retention.warn_before;
        let found: BTreeMap<Epoch, Restorable> = self
            .needs
            .iter()
            .map(|(epoch, need)| (*epoch, judge(need, &self.logs, now, margin)))
            .collect();
        self.tell(app, &completed, &found);
        *app.expiry.0.lock() = found;
        Ok(())
    }

    /// Reads what is new of the manifests, and forgets what is gone. `completed` is newest first.
    async fn learn(&mut self, app: &App, completed: &[CheckpointView]) -> Result<(), Problem> {
        let epochs: BTreeSet<Epoch> = completed.iter().map(|view| view.epoch).collect();
        self.needs.retain(|epoch, _| epochs.contains(epoch));
        self.told.retain(|epoch, _| epochs.contains(epoch));
        let new = completed.iter().map(|view| view.epoch);
        let new: Vec<Epoch> = new
            .filter(|epoch| !self.needs.contains_key(epoch))
            .take(LOADS_MAX)
            .collect();
        for epoch in new {
            match app.repository.load(epoch).await {
                Ok(manifest) => {
                    self.needs.insert(epoch, Need::of(&manifest));
                }
                // Deleted or damaged meanwhile: the history tells.
                Err(error) if !error.is_retryable() => log_unreadable(epoch, &error),
                Err(error) => return Err(error.into()),
            }
        }
        let mut positions = 0;
        let mut newest = self.needs.iter().rev();
        let first_left_out = newest.find(|(_, need)| {
            positions += need.positions.len();
            positions > POSITIONS_MAX
        });
        if let Some(first_left_out) = first_left_out.map(|(epoch, _)| *epoch) {
            self.needs.retain(|epoch, _| *epoch > first_left_out);
        }
        Ok(())
    }

    fn tell(
        &mut self,
        app: &App,
        completed: &[CheckpointView],
        found: &BTreeMap<Epoch, Restorable>,
    ) {
        let newest = completed.first().map(|view| view.epoch);
        let mut counts = [0; 3];
        for view in completed {
            let Some(restorable) = found.get(&view.epoch) else {
                continue;
            };
            counts[restorable.state as usize] += 1;
            let before = self.told.insert(view.epoch, restorable.state);
            let before = before.unwrap_or(RestorableState::Yes);
            if restorable.state > before {
                // Nobody is to be woken for each of a hundred old ones, which retention would delete anyway.
                let matters = Some(view.epoch) == newest || view.savepoint.is_some();
                tell_one(app, view, restorable, matters);
            }
        }
        let states = [
            RestorableState::Yes,
            RestorableState::Expiring,
            RestorableState::No,
        ];
        for (state, count) in states.into_iter().zip(counts) {
            app.metrics.restorable(state.as_str(), count);
        }
        let newest = newest.and_then(|epoch| found.get(&epoch));
        app.metrics.restorable_for(newest.and_then(seconds_left));
    }
}

/// How long it can be restored; `None` where no limit is known.
fn seconds_left(restorable: &Restorable) -> Option<f64> {
    match (restorable.state, restorable.expires_at) {
        (RestorableState::No, _) => Some(0.0),
        (_, Some(at)) => {
            let left = at.as_millisecond() - Timestamp::now().as_millisecond();
            Some((left as f64 / 1_000.0).max(0.0))
        }
        (_, None) => None,
    }
}

fn tell_one(app: &App, view: &CheckpointView, restorable: &Restorable, matters: bool) {
    let (kind, message) = match restorable.state {
        RestorableState::No => (
            "checkpoint.unrestorable",
            "the checkpoint cannot be restored any more",
        ),
        _ => (
            "checkpoint.expiring",
            "Kafka will soon remove what the checkpoint needs",
        ),
    };
    let (epoch, partition) = (view.epoch.0, restorable.partition.as_deref());
    let expires_at = restorable.expires_at.map(tracing::field::display);
    let reason = restorable.reason.as_deref();
    if matters {
        tracing::warn!(epoch, expires_at, partition, reason, "{message}");
    } else {
        tracing::info!(epoch, expires_at, partition, reason, "{message}");
    }
    let data =
        json!({ "epoch": view.epoch, "savepoint": view.savepoint, "restorable": restorable });
    app.events.publish(kind, data);
}

fn log_unreadable(epoch: Epoch, error: &StoreError) {
    tracing::debug!(epoch = epoch.0, %error, "the manifest cannot be looked at");
}
