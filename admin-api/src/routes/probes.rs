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
use crate::{problem::Problem, ready::Shell, shared::Standing};

/// Whether it lives
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "it does")))]
pub async fn healthz(State(shell): State<Shell>) -> Answer<Value> {
    let store = shell
        .app()
        .map(|app| app.store_breakers.standing().as_str());
    let store = store.unwrap_or("unknown");
    Answer(json!({ "status": "alive", "redis": redis(&shell).as_str(), "store_breaker": store }))
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
    Ok(Answer(
        json!({ "status": "ready", "redis": redis(&shell).as_str() }),
    ))
}

/// It is never a reason not to be ready: nothing depends on it.
fn redis(shell: &Shell) -> Standing {
    shell
        .app()
        .map_or(Standing::None, |app| app.shared.standing())
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
        let views = sidecar_views(&app).await;
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
        metrics.objective(app.schedule.objective(&app));
        let store = app.store_breakers.standing();
        metrics.breaker("store", store != cutline_breaker::Standing::Closed);
        if app.shared.standing() != Standing::None {
            let up = app.shared.standing() == Standing::Up;
            metrics.redis_up(up);
            metrics.breaker("redis", !up);
        }
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text()).into_response()
}
