//! Writing the decision on an epoch: once, whatever it takes, by a store that may be out of reach for a while.
//!
//! What was decided is the core's word, or the recovery's.

use std::time::Duration;

use cutline_protocol::ManifestAnswer;
use cutline_store::{CheckpointStatus, Manifest, StoreError};
use tokio::time::Instant;

use crate::app::App;

/// How often a decision is tried when the store does not answer, and the longest pause before the second try; it doubles up
/// to the last. Nobody is held meanwhile, and together they outlast the first times that the store's breaker is open.
const DECISIONS_MAX: u32 = 8;
const DECISION_PAUSE: Duration = Duration::from_millis(200);
const DECISION_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Writes the decision on an epoch, once, whatever it takes; a store that is out of reach is asked again for a while.
pub(super) async fn decide(app: &App, manifest: &Manifest) -> ManifestAnswer {
    let mut pause = DECISION_PAUSE;
    let mut tries = 1;
    loop {
        let began = Instant::now();
        let decided = app.repository.decide(manifest).await;
        app.metrics.store("decide", began.elapsed());
        let error = match decided {
            Ok(()) => return ManifestAnswer::Created,
            Err(StoreError::AlreadyDecided { .. }) => return ManifestAnswer::Taken,
            Err(error) => error,
        };
        tracing::warn!(epoch = manifest.epoch.0, %error, "the decision on an epoch is not written yet");
        if tries >= DECISIONS_MAX || !error.is_retryable() {
            return standing(app, manifest, &error).await;
        }
        // Full jitter, but for the hint of a breaker that nothing can succeed before.
        let least = match error {
            StoreError::NotAsked { again_in_ms, .. } => Duration::from_millis(again_in_ms),
            _ => Duration::ZERO,
        };
        let wait = pause.mul_f64(rand::random()).max(least);
        tokio::time::sleep(wait.min(DECISION_PAUSE_MAX)).await;
        pause = (pause * 2).min(DECISION_PAUSE_MAX);
        tries += 1;
    }
}

/// What became of a decision whose writing ended in an error.
async fn standing(app: &App, manifest: &Manifest, error: &StoreError) -> ManifestAnswer {
    let same = |found: CheckpointStatus| match manifest.status {
        cutline_store::Outcome::Completed => found == CheckpointStatus::Completed,
        cutline_store::Outcome::Failed => found == CheckpointStatus::Failed,
    };
    match app.repository.status(manifest.epoch).await {
        // Whoever wrote it, nobody but this run decides its epochs as COMPLETED.
        Ok(found) if same(found) => ManifestAnswer::Created,
        Ok(CheckpointStatus::Incomplete) | Err(_) => ManifestAnswer::Unknown(error.to_string()),
        Ok(_) => ManifestAnswer::Taken,
    }
}
