//! What this admin API finds around it, and who it takes the asker for.

use axum::{Extension, Json as Answer, extract::State};
use cutline_client::{DiagnosisView, WhoamiView};

use crate::{access::Caller, ready::Shell};

/// What is found around this admin API
///
/// Kafka, the store, Redis, sidecars and how checkpoints go, each with what to do about it. It is answered while this admin API
/// starts and stands by, too. Every look has a time limit; who asks again within a second gets the same.
#[utoipa::path(
    get, path = "/v1/diagnosis", tag = "cluster",
    responses((status = 200, body = DiagnosisView))
)]
pub async fn diagnosis(State(shell): State<Shell>) -> Answer<DiagnosisView> {
    Answer(shell.diagnoses().find(&shell).await)
}

/// Who the asker is taken for
#[utoipa::path(
    get, path = "/v1/whoami", tag = "cluster",
    responses((status = 200, body = WhoamiView))
)]
pub async fn whoami(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
) -> Answer<WhoamiView> {
    let app = shell.app().ok();
    Answer(WhoamiView {
        name: caller.name,
        role: caller.role.map(|role| role.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        deployment: app.as_ref().map(|app| app.config.deployment.clone()),
        leading: app.is_some_and(|app| app.leadership.is_leading()),
    })
}
