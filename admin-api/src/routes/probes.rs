//! Whether it lives, whether it works, and what it counts.

use axum::{
    Json as Answer,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cutline_client::{ProblemDetails, SidecarState};
use serde_json::{Value, json};

use super::cluster::sidecar_views;
use crate::{problem::Problem, ready::Shell};

/// Whether it lives
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "it does")))]
pub async fn healthz() -> Answer<Value> {
    Answer(json!({ "status": "alive" }))
}

/// Whether it leads and works
#[utoipa::path(
    get, path = "/readyz", tag = "probes",
    responses(
        (status = 200, description = "it does"),
        (status = 503, description = "not yet, or another does", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(shell): State<Shell>) -> Result<Answer<Value>, Problem> {
    shell.leading()?;
    Ok(Answer(json!({ "status": "ready" })))
}

/// What it counts
///
/// In Prometheus' text form.
#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(shell): State<Shell>) -> Response {
    let metrics = shell.metrics();
    if let Ok(app) = shell.app() {
        let views = sidecar_views(&app);
        for state in [
            SidecarState::Connected,
            SidecarState::Fenced,
            SidecarState::Unregistered,
            SidecarState::Lost,
        ] {
            let count = views.iter().filter(|view| view.state == state).count();
            metrics.sidecars(state.as_str(), count);
        }
        metrics.leading(app.leadership.is_leading());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text()).into_response()
}
