//! What this admin API finds around it.

use axum::{Json as Answer, extract::State};
use cutline_client::DiagnosisView;

use crate::ready::Shell;

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
