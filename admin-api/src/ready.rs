//! What the HTTP server knows before Kafka and the store were reached, and what routes need of the admin API to work.
//!
//! The server listens from the first moment, so that probes and people are told what is being waited for. Until all parts
//! are there, and while another admin API leads, routes answer 503.

use std::sync::{Arc, OnceLock};

use axum::{extract::FromRequestParts, http::request::Parts as RequestParts};
use parking_lot::Mutex;

use crate::{
    app::App,
    diagnosis::{Diagnoses, Obstacle, Surroundings},
    metrics::Metrics,
    problem::{NOT_LEADING, NOT_READY, Problem},
};

/// The state of the HTTP server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    app: OnceLock<App>,
    waiting_for: Mutex<Option<Obstacle>>,
    surroundings: Mutex<Surroundings>,
    diagnoses: Diagnoses,
    metrics: Metrics,
}

impl Shell {
    /// All parts are there.
    pub fn set_app(&self, app: App) {
        // Set once, by the one task that starts this program; a second time would change nothing.
        let _ = self.0.app.set(app);
    }

    /// Notes what the start waits for.
    pub fn set_waiting_for(&self, obstacle: Obstacle) {
        *self.0.waiting_for.lock() = Some(obstacle);
    }

    /// What the start waits for, as long as it does.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.0.waiting_for.lock().clone()
    }

    /// Notes where the parts are looked for.
    pub fn set_surroundings(&self, surroundings: Surroundings) {
        *self.0.surroundings.lock() = surroundings;
    }

    /// Where the parts are looked for.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        self.0.surroundings.lock().clone()
    }

    /// What was found when somebody asked.
    #[must_use]
    pub fn diagnoses(&self) -> &Diagnoses {
        &self.0.diagnoses
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The parts, when they are there.
    ///
    /// # Errors
    /// 503 before.
    pub fn app(&self) -> Result<App, Problem> {
        self.0.app.get().cloned().ok_or_else(|| {
            let waiting_for = match self.obstacle() {
                None => String::new(),
                Some(Obstacle { part, error: None }) => {
                    format!(": {} is being reached", part.words())
                }
                Some(Obstacle {
                    part,
                    error: Some(error),
                }) => {
                    format!(": {} cannot be used ({error})", part.words())
                }
            };
            let detail = format!("this admin API is starting{waiting_for}; try again shortly");
            Problem::new(NOT_READY, detail)
        })
    }

    /// The parts, when this admin API leads.
    ///
    /// # Errors
    /// 503 before, and while another leads.
    pub fn leading(&self) -> Result<App, Problem> {
        let app = self.app()?;
        app.leadership.check()?;
        Ok(app)
    }
}

/// A route that needs the parts.
pub struct Ready(pub App);

impl FromRequestParts<Shell> for Ready {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut RequestParts, shell: &Shell) -> Result<Self, Problem> {
        shell.app().map(Self)
    }
}

/// A route that only the leader may answer.
pub struct Leading(pub App);

impl FromRequestParts<Shell> for Leading {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut RequestParts, shell: &Shell) -> Result<Self, Problem> {
        shell.leading().map(Self)
    }
}

/// The problem of one who does not lead.
#[must_use]
pub fn not_leading(deployment: &str) -> Problem {
    let detail = format!(
        "another admin API coordinates deployment {deployment}, or this one is about to take over; ask that one, or try again shortly"
    );
    Problem::new(NOT_LEADING, detail)
}
