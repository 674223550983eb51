//! Periodic checkpoints, as their pace and the hours without any allow. What the pace is, `pace` works out.

use std::{sync::Arc, time::Duration};

use cutline_client::{CheckpointRequest, ScheduleRequest, ScheduleView};
use cutline_model::Mode;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{
    checkpoint,
    pace::{Dice, Pace, blackout_left},
};
use crate::{
    app::App,
    config::{CheckpointConfig, OBJECTIVE_INTERVALS},
    problem::{BAD_REQUEST, CHECKPOINT_IN_PROGRESS, Problem, RESTORE_IN_PROGRESS},
};

/// The shortest interval: shorter ones would only queue up.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// How soon a trigger that met something in progress is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// How soon after a problem that is not of the checkpoint's own.
const PROBLEM_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    interval: Option<Duration>,
    min_pause: Duration,
    mode: Mode,
}

#[derive(Debug, Default)]
struct Progress {
    next: Option<Instant>,
    failures: u32,
}

/// The schedule in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schedule {
    terms: Arc<watch::Sender<Terms>>,
    /// What was asked for, when it is not as configured.
    asked: Arc<Mutex<Option<ScheduleRequest>>>,
    progress: Arc<Mutex<Progress>>,
}

impl Schedule {
    /// As configured.
    #[must_use]
    pub fn new(config: &CheckpointConfig) -> Self {
        let terms = Terms {
            interval: config.interval,
            min_pause: config.min_pause,
            mode: config.mode,
        };
        Self {
            terms: Arc::new(watch::Sender::new(terms)),
            asked: Arc::default(),
            progress: Arc::default(),
        }
    }

    /// Replaces the schedule; another admin API that takes over knows it by Redis.
    ///
    /// # Errors
    /// 400 for an interval that cannot be kept.
    pub async fn set(&self, app: &App, request: &ScheduleRequest) -> Result<ScheduleView, Problem> {
        let view = self.replace(app, request)?;
        app.shared.note_schedule(request).await;
        app.events
            .publish("schedule.changed", json!({ "schedule": view }));
        Ok(view)
    }

    /// Takes over the schedule that another admin API, or an earlier run, was asked for.
    pub async fn recall(&self, app: &App) {
        let Some(asked) = app.shared.schedule().await else {
            return;
        };
        if let Err(problem) = self.replace(app, &asked) {
            tracing::warn!(%problem, "the shared schedule cannot be kept; the configured one is");
        }
    }

    /// What was asked for, when it is not as configured.
    #[must_use]
    pub fn asked(&self) -> Option<ScheduleRequest> {
        self.asked.lock().clone()
    }

    fn replace(&self, app: &App, request: &ScheduleRequest) -> Result<ScheduleView, Problem> {
        let interval = request.interval_ms.map(Duration::from_millis);
        if let Some(interval) = interval.filter(|interval| *interval < INTERVAL_MIN) {
            let detail = format!(
                "interval_ms is {}, the least is {}; null means no periodic checkpoints",
                interval.as_millis(),
                INTERVAL_MIN.as_millis()
            );
            return Err(Problem::new(BAD_REQUEST, detail));
        }
        let config = &app.config.checkpoint;
        self.terms.send_replace(Terms {
            interval,
            min_pause: request
                .min_pause_ms
                .map_or(config.min_pause, Duration::from_millis),
            mode: request.mode.unwrap_or(config.mode),
        });
        *self.asked.lock() = Some(request.clone());
        Ok(self.view())
    }

    /// As the REST interface shows it.
    #[must_use]
    pub fn view(&self) -> ScheduleView {
        let terms = *self.terms.borrow();
        let progress = self.progress.lock();
        let next = progress.next.filter(|_| terms.interval.is_some());
        ScheduleView {
            interval_ms: terms.interval.map(millis),
            min_pause_ms: millis(terms.min_pause),
            mode: terms.mode,
            next_at: next.map(|at| Timestamp::now() + at.saturating_duration_since(Instant::now())),
            failures: progress.failures,
        }
    }

    /// How old the last checkpoint may grow: as configured, else by the interval that is in force.
    #[must_use]
    pub fn objective(&self, app: &App) -> Option<Duration> {
        let interval = self.terms.borrow().interval;
        let by_interval = interval.map(|interval| interval * OBJECTIVE_INTERVALS);
        app.config.checkpoint.objective.or(by_interval)
    }

    /// Triggers checkpoints for as long as this admin API leads.
    pub async fn run(self, app: App) {
        let mut terms = self.terms.subscribe();
        let mut next = Instant::now();
        loop {
            let now = *terms.borrow_and_update();
            let Some(interval) = now.interval else {
                if terms.changed().await.is_err() {
                    return;
                }
                next = Instant::now();
                // Whoever sets a schedule anew wants to see it work.
                self.progress.lock().failures = 0;
                continue;
            };
            self.progress.lock().next = Some(next);
            tokio::select! {
                changed = terms.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    next = next.min(Instant::now() + terms.borrow().interval.unwrap_or_default());
                    continue;
                }
                () = tokio::time::sleep_until(next) => {}
            }
            let config = &app.config.checkpoint;
            // Looked at when the time has come: what was allowed when it was set need not be so now, nor the other way round.
            if let Some(left) = blackout_left(&config.blackouts, Timestamp::now()) {
                next = Instant::now() + left;
                continue;
            }
            let triggered = Instant::now();
            let wait = match self.trigger(&app, now.mode).await {
                Ok(()) => {
                    let pace = Pace {
                        interval,
                        min_pause: now.min_pause,
                        backoff_max: config.backoff_max,
                        jitter: config.jitter,
                    };
                    pace.wait(triggered.elapsed(), self.failures(), Dice::throw())
                }
                Err(pause) => pause,
            };
            next = Instant::now() + wait;
        }
    }

    /// One checkpoint to its end; how long to wait, when it could not begin.
    async fn trigger(&self, app: &App, mode: Mode) -> Result<(), Duration> {
        let request = CheckpointRequest {
            mode: Some(mode).filter(|mode| *mode != app.config.checkpoint.mode),
            savepoint: None,
        };
        let series = match checkpoint::begin(app, request, None).await {
            Ok(begun) => begun.series,
            Err(problem)
                if [CHECKPOINT_IN_PROGRESS, RESTORE_IN_PROGRESS].contains(&problem.code) =>
            {
                return Err(BUSY_PAUSE);
            }
            Err(problem) => {
                tracing::warn!(%problem, "scheduled checkpoint not begun");
                return Err(PROBLEM_PAUSE);
            }
        };
        let Some(series) = series else { return Ok(()) };
        let completed = series.await.is_ok_and(|end| end.completed);
        self.note(app, completed);
        Ok(())
    }

    fn failures(&self) -> u32 {
        self.progress.lock().failures
    }

    fn note(&self, app: &App, completed: bool) {
        let failures = {
            let mut progress = self.progress.lock();
            progress.failures = if completed { 0 } else { progress.failures + 1 };
            progress.failures
        };
        if failures > app.config.checkpoint.tolerable_failures {
            tracing::error!(failures, "scheduled checkpoints keep failing");
            app.events
                .publish("schedule.failing", json!({ "failures": failures }));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
