//! A checkpoint on request or by schedule: epochs one after another, until one completes or the budget is spent.

use std::{sync::Arc, time::Duration};

use cutline_client::{CheckpointAccepted, CheckpointRequest, CheckpointStatus};
use cutline_model::{Epoch, Mode};
use cutline_store::Manifest;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;

use super::{
    EpochRequest, EpochResult, RunningEpoch, broker, channels, claim, driver, keys::Keys,
    manifest::pause_ms_max, retention,
};
use crate::{
    app::App,
    busy::BusyGuard,
    metrics::Size,
    problem::{BAD_REQUEST, NO_TRANSACTIONS, Problem},
};

/// The pause before the second attempt; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// What idempotency keys of checkpoints are shared as.
const KIND: &str = "checkpoint";
/// The longest name of a savepoint, in characters.
const SAVEPOINT_CHARS_MAX: usize = 100;

/// Requests that carried a key. Its lock is held while a checkpoint is begun, so that a key begins one.
pub type CheckpointKeys = Arc<Mutex<Keys<CheckpointRequest, Epoch>>>;

/// How a series of attempts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesEnd {
    /// The last attempt.
    pub epoch: Epoch,
    /// True when it completed.
    pub completed: bool,
}

/// A series that was begun.
#[derive(Debug)]
pub struct Begun {
    /// What the client is answered.
    pub accepted: CheckpointAccepted,
    /// Ends with the series; `None` when an earlier request with the same key began it.
    pub series: Option<tokio::task::JoinHandle<SeriesEnd>>,
}

/// Begins a checkpoint.
///
/// # Errors
/// 409 while anything is in progress, 503 while this admin API does not lead, 400 for a request that cannot be.
pub async fn begin(
    app: &App,
    request: CheckpointRequest,
    key: Option<&str>,
) -> Result<Begun, Problem> {
    app.leadership.check()?;
    check_name(request.savepoint.as_deref())?;
    let mut keys = app.checkpoint_keys.lock().await;
    if let Some(key) = key
        && !keys.knows(key)
        && let Some((before, epoch)) = app.shared.recall(KIND, key).await
    {
        keys.note(key, before, epoch);
    }
    if let Some(key) = key
        && let Some(epoch) = keys.find(key, &request)?
    {
        let accepted = again(app, epoch, &request).await?;
        return Ok(Begun {
            accepted,
            series: None,
        });
    }
    let guard = app.busy.begin_checkpoint()?;
    let mode = mode(app, request.mode).await?;
    let wanted = EpochRequest::checkpoint(mode, request.savepoint.clone());
    let epoch = claim(app).await?;
    guard.note_epoch(epoch);
    let running = app.running.begin(epoch, &wanted, Timestamp::now());
    tell_triggered(app, &running, None);
    let accepted = CheckpointAccepted {
        epoch,
        status: CheckpointStatus::Triggered,
        mode,
        savepoint: wanted.savepoint.clone(),
    };
    let series = tokio::spawn(series(app.clone(), guard, running, wanted));
    // After the start: whatever Redis does, the checkpoint does not wait for it.
    if let Some(key) = key {
        keys.note(key, request.clone(), epoch);
        app.shared.note(KIND, key, request, epoch).await;
    }
    Ok(Begun {
        accepted,
        series: Some(series),
    })
}

fn check_name(savepoint: Option<&str>) -> Result<(), Problem> {
    let Some(name) = savepoint else { return Ok(()) };
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > SAVEPOINT_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!(
            "a savepoint's name has 1 to {SAVEPOINT_CHARS_MAX} characters, none of them a control character"
        );
        return Err(Problem::new(BAD_REQUEST, detail));
    }
    Ok(())
}

/// The mode to take: what was asked for, else what is configured, as far as the brokers can do it.
async fn mode(app: &App, asked: Option<Mode>) -> Result<Mode, Problem> {
    let mode = asked.unwrap_or(app.config.checkpoint.mode);
    if mode == Mode::Synchronous || broker::has_transactions(&app.kafka).await? {
        return Ok(mode);
    }
    if asked.is_some() {
        let detail = format!(
            "the brokers have no transactions, and {mode} checkpoints are marked with them; take a synchronous one"
        );
        return Err(Problem::new(NO_TRANSACTIONS, detail));
    }
    tracing::warn!(configured = %mode, "the brokers have no transactions: the checkpoint is synchronous");
    let data = json!({ "configured": mode, "taken": Mode::Synchronous });
    app.events.publish("checkpoint.synchronous", data);
    Ok(Mode::Synchronous)
}

async fn again(
    app: &App,
    epoch: Epoch,
    request: &CheckpointRequest,
) -> Result<CheckpointAccepted, Problem> {
    let view = app.history.view(app, epoch).await?;
    Ok(CheckpointAccepted {
        epoch,
        status: view.status,
        mode: view.mode,
        savepoint: request.savepoint.clone(),
    })
}

/// Attempts until one completes or no other is due.
async fn series(
    app: App,
    guard: BusyGuard,
    mut running: RunningEpoch,
    request: EpochRequest,
) -> SeriesEnd {
    let mut pause = RETRY_PAUSE;
    let mut retries = app.config.checkpoint.retries;
    loop {
        let epoch = running.epoch;
        let result = driver::drive(&app, &running, &request).await;
        let completed = matches!(result, EpochResult::Completed { .. });
        let gives_up = match &result {
            EpochResult::Completed { manifest, .. } => {
                running
                    .trace
                    .within(|| tell_completed(&app, manifest.as_deref()));
                true
            }
            EpochResult::Failed { reason, aborted } => {
                running.trace.within(|| tell_failed(&app, epoch, reason));
                *aborted || retries == 0 || !app.leadership.is_leading()
            }
        };
        let next = if gives_up {
            None
        } else {
            claim(&app).await.ok()
        };
        let Some(next) = next else {
            app.running.end();
            drop(guard);
            if completed {
                retention::keep(&app).await;
            }
            return SeriesEnd { epoch, completed };
        };
        retries -= 1;
        guard.note_epoch(next);
        running = app.running.follow(epoch, next, &request, Timestamp::now());
        tell_triggered(&app, &running, Some(epoch));
        let mut aborts = running.aborted();
        // An abort during the pause is found by the attempt itself, which then ends at once.
        let _ = tokio::time::timeout(
            pause.max(app.config.checkpoint.min_pause),
            aborts.wait_for(Option::is_some),
        )
        .await;
        pause *= 2;
    }
}

fn tell_triggered(app: &App, running: &RunningEpoch, retry_of: Option<Epoch>) {
    let RunningEpoch {
        epoch,
        mode,
        savepoint,
        ..
    } = running;
    running.trace.within(|| {
        tracing::info!(epoch = epoch.0, %mode, retry_of = retry_of.map(|of| of.0), "checkpoint triggered");
    });
    if let Some(of) = retry_of {
        let of = i64::try_from(of.0).unwrap_or(i64::MAX);
        running.trace.set("retry_of", of);
    }
    let trace_id = running.trace.trace_id();
    app.events.publish(
        "checkpoint.triggered",
        json!({ "epoch": epoch, "mode": mode, "savepoint": savepoint, "retry_of": retry_of, "trace_id": trace_id }),
    );
}

fn tell_completed(app: &App, manifest: Option<&Manifest>) {
    let Some(manifest) = manifest else { return };
    let took = manifest.started_at.duration_until(manifest.completed_at);
    let took = Duration::try_from(took).unwrap_or_default();
    let pause_ms = pause_ms_max(manifest);
    let size = Size {
        state_bytes: manifest.state_bytes(),
        uploaded_bytes: manifest.uploaded_bytes(),
    };
    let at = manifest.completed_at.as_millisecond() as f64 / 1_000.0;
    app.metrics.checkpoint_completed(took, size, at);
    app.metrics.in_flight(channels::in_flight(manifest));
    for record in &manifest.processes {
        let process = record.process.to_string();
        app.metrics
            .process(&process, &record.timings, record.async_ms);
    }
    tracing::info!(
        epoch = manifest.epoch.0,
        latencyMs = took.as_millis() as u64,
        pause_ms_max = pause_ms,
        state_bytes = manifest.state_bytes(),
        "checkpoint completed"
    );
    app.events.publish(
        "checkpoint.completed",
        json!({
            "epoch": manifest.epoch,
            "duration_ms": took.as_millis() as u64,
            "pause_ms_max": pause_ms,
            "state_size": manifest.state_bytes(),
            "bytes_uploaded": manifest.uploaded_bytes(),
        }),
    );
}

fn tell_failed(app: &App, epoch: Epoch, reason: &str) {
    app.metrics.checkpoint_failed(word(reason));
    tracing::warn!(epoch = epoch.0, reason, "checkpoint failed");
    let data = json!({ "epoch": epoch, "reason": reason });
    app.events.publish("checkpoint.failed", data);
}

/// One of few words for a reason: metrics need labels that are bounded, people need the sentence.
fn word(reason: &str) -> &'static str {
    const WORDS: [(&str, &str); 11] = [
        ("timed out", "timeout"),
        ("aborted", "aborted"),
        ("declined", "declined"),
        ("rebalancing", "rebalance"),
        ("assignments changed", "rebalance"),
        ("outside every sidecar", "outside"),
        ("was lost", "lost"),
        ("not connected", "lost"),
        ("restarted", "restart"),
        ("consistent cut", "inconsistent"),
        ("CL01", "store"),
    ];
    let found = WORDS.iter().find(|(part, _)| reason.contains(part));
    found.map_or("other", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_few_words() {
        assert_eq!(
            word("checkpoint timed out in Running, waiting for a/0"),
            "timeout"
        );
        assert_eq!(word("the sidecar a/0 was lost"), "lost");
        assert_eq!(word("a/0 declined: the hook did not answer"), "declined");
        assert_eq!(word("something new"), "other");
    }

    #[test]
    fn a_savepoint_has_a_name_one_can_read() {
        assert!(check_name(None).is_ok() && check_name(Some("before release 7")).is_ok());
        for name in ["", "  ", "a\nb", &"x".repeat(101)] {
            assert_eq!(check_name(Some(name)).unwrap_err().code, BAD_REQUEST);
        }
    }
}
