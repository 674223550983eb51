//! What this admin API finds when it looks at its surroundings: Kafka, the store, Redis, sidecars, and how checkpoints go.
//!
//! Every look has a time limit, all run at once, and none changes anything but what it makes for itself: an object under the
//! store's probes and a producer id of its own. Who asks again at once is answered with what was found before. A file looks at one
//! thing; what was seen is judged by a function of its own that knows no network. Nothing here acts on what it finds.

mod brokers;
mod checkpoints;
mod control_topic;
mod finding;
mod leader;
mod limits;
mod outsiders;
mod redis;
mod sidecars;
mod start;
mod store;
mod topics;
mod transactions;

use std::{sync::Arc, time::Duration};

use cutline_client::{DiagnosisView, Finding};
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::{sync::Mutex, time::Instant};

use crate::{app::App, ready::Shell};

pub use start::{Obstacle, Part, Surroundings};

/// How long what was found is good enough for whoever asks again.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// How long one look may take; a broker or a store that takes longer is not well.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);

/// What was found last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Diagnoses(Arc<Mutex<Option<(Instant, DiagnosisView)>>>);

impl Diagnoses {
    /// What is found now, or was a moment ago.
    pub async fn find(&self, shell: &Shell) -> DiagnosisView {
        // Held while looking: whoever comes meanwhile gets the same.
        let mut last = self.0.lock().await;
        if let Some((at, view)) = &*last
            && at.elapsed() < KEPT_FOR
        {
            return view.clone();
        }
        let view = match shell.app() {
            Ok(app) => look_around(&app).await,
            Err(_) => start::look(shell).await,
        };
        *last = Some((Instant::now(), view.clone()));
        view
    }
}

async fn look_around(app: &App) -> DiagnosisView {
    let looks: [(&str, BoxFuture<'_, Vec<Finding>>); 12] = [
        ("kafka.brokers", Box::pin(brokers::look(app))),
        ("kafka.transactions", Box::pin(transactions::look(app))),
        ("kafka.limits", Box::pin(limits::look(app))),
        ("control.topic", Box::pin(control_topic::look(app))),
        ("control.leader", Box::pin(leader::look(app))),
        ("store.create", Box::pin(store::look(app))),
        ("redis.answers", Box::pin(redis::look(app))),
        ("sidecars.standing", Box::pin(sidecars::look(app))),
        ("traffic.members", Box::pin(outsiders::members(app))),
        ("traffic.producers", Box::pin(outsiders::producers(app))),
        ("topics.retention", Box::pin(topics::look(app))),
        ("checkpoints.recent", Box::pin(checkpoints::look(app))),
    ];
    let looks = looks.into_iter().map(|(id, look)| within(id, look));
    let findings = join_all(looks).await.into_iter().flatten();
    DiagnosisView {
        at: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        deployment: app.config.deployment.clone(),
        leading: app.leadership.is_leading(),
        findings: findings.collect(),
    }
}

async fn within(id: &str, look: BoxFuture<'_, Vec<Finding>>) -> Vec<Finding> {
    let Ok(found) = tokio::time::timeout(LOOK_TIMEOUT, look).await else {
        let seconds = LOOK_TIMEOUT.as_secs();
        let silent = finding::fail(
            id,
            "",
            format!("no answer within {seconds} s"),
            "see that what it depends on runs and is reached from the admin API's machine; its log says more",
        );
        return vec![silent];
    };
    found
}
