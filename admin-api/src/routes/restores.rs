//! Restores: plan, begin, list, look at, abort. What a restore is and does is written where restores are.

use axum::{
    Json as Answer,
    extract::Path,
    http::{HeaderMap, StatusCode},
};
use cutline_client::{ProblemDetails, RestoreAnswer, RestorePlan, RestoreRequest, RestoreView};

use super::body::{Json, idempotency_key};
use crate::{
    problem::Problem,
    ready::{Leading, Ready},
    restore,
};

/// What idempotency keys of restores are shared as.
const KIND: &str = "restore";

/// Begin or plan a restore
///
/// With `dry_run` nothing is held and the plan is answered.
#[utoipa::path(
    post, path = "/v1/restores", tag = "restores",
    params(("idempotency-key" = Option<String>, Header, description = "The same key again is answered with the restore it began")),
    request_body = RestoreRequest,
    responses(
        (status = 200, description = "the plan of a dry run", body = RestorePlan),
        (status = 202, description = "begun", body = RestoreView),
        (status = 409, description = "it cannot be done now", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "not leading, or not ready", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    Leading(app): Leading,
    headers: HeaderMap,
    Json(request): Json<RestoreRequest>,
) -> Result<(StatusCode, Answer<RestoreAnswer>), Problem> {
    let key = idempotency_key(&headers)?;
    if request.dry_run {
        let plan = restore::plan(&app, request).await?;
        return Ok((StatusCode::OK, Answer(RestoreAnswer::Plan(Box::new(plan)))));
    }
    // Held while a restore is begun, so that a key begins one.
    let mut keys = app.restore_keys.lock().await;
    if let Some(key) = key
        && !keys.knows(key)
        && let Some((before, id)) = app.shared.recall(KIND, key).await
    {
        keys.note(key, before, id);
    }
    if let Some(key) = key
        && let Some(id) = keys.find(key, &request)?
    {
        let view = restore::get(&app, &id).await?;
        return Ok(accepted(view));
    }
    let view = restore::start(app.clone(), request.clone()).await?;
    if let Some(key) = key {
        app.shared.note(KIND, key, &request, &view.id).await;
        keys.note(key, request, view.id.clone());
    }
    Ok(accepted(view))
}

fn accepted(view: RestoreView) -> (StatusCode, Answer<RestoreAnswer>) {
    let started = RestoreAnswer::Started(Box::new(view));
    (StatusCode::ACCEPTED, Answer(started))
}

/// List restores
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/restores", tag = "restores",
    responses((status = 200, body = Vec<RestoreView>))
)]
pub async fn list(Ready(app): Ready) -> Result<Answer<Vec<RestoreView>>, Problem> {
    let mut all = restore::list(&app).await?;
    all.sort_by_key(|restore| std::cmp::Reverse(restore.started_at));
    Ok(Answer(all))
}

/// One restore
#[utoipa::path(
    get, path = "/v1/restores/{id}", tag = "restores",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, body = RestoreView),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn detail(
    Ready(app): Ready,
    Path(id): Path<String>,
) -> Result<Answer<RestoreView>, Problem> {
    restore::get(&app, &id).await.map(Answer)
}

/// Abort a restore
///
/// Only before anything was put back; afterwards a restore only rolls forward.
#[utoipa::path(
    post, path = "/v1/restores/{id}/abort", tag = "restores",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "as it stands now", body = RestoreView),
        (status = 409, description = "it can only go on", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn abort(
    Leading(app): Leading,
    Path(id): Path<String>,
) -> Result<Answer<RestoreView>, Problem> {
    restore::abort(&app, &id).await.map(Answer)
}
