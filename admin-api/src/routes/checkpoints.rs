//! Checkpoints: begin, list, look at, verify, abort, delete.

use std::time::Duration;

use axum::{
    Extension, Json as Answer,
    extract::Path,
    http::{HeaderMap, StatusCode},
};
use cutline_client::{
    CheckpointAccepted, CheckpointDetail, CheckpointList, CheckpointQuery, CheckpointRequest,
    CheckpointStatus, LatestQuery, ProblemDetails, PruneReport, PruneRequest, RestoreStatus,
    VerifyReport,
};
use cutline_model::Epoch;
use cutline_store::StoreError;
use tokio::time::Instant;

use super::{
    RULE,
    body::{Asked, Json, epoch, idempotency_key},
};
use crate::{
    access::Caller,
    app::App,
    coordination::{checkpoint, retention},
    problem::{CHECKPOINT_IN_PROGRESS, NOT_FOUND, NOT_IN_PROGRESS, Problem},
    ready::{Leading, Ready},
    restore,
};

/// How long an abort waits for the epoch's end before it answers with what there is.
const ABORT_WAIT: Duration = Duration::from_secs(5);
const ABORT_LOOK: Duration = Duration::from_millis(10);

/// Begin a checkpoint
///
/// Answers at once; follow `GET /v1/checkpoints/{epoch}` until it is COMPLETED or FAILED. A FAILED attempt that names
/// `retried_as` goes on there.
#[utoipa::path(
    post, path = "/v1/checkpoints", tag = "checkpoints",
    params(("idempotency-key" = Option<String>, Header, description = "The same key again is answered with the checkpoint it began")),
    request_body = CheckpointRequest,
    responses(
        (status = 202, description = "begun", body = CheckpointAccepted),
        (status = 409, description = "one is in progress, or a restore is", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "not leading, or not ready", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    Leading(app): Leading,
    headers: HeaderMap,
    Json(request): Json<CheckpointRequest>,
) -> Result<(StatusCode, Answer<CheckpointAccepted>), Problem> {
    let key = idempotency_key(&headers)?;
    let begun = checkpoint::begin(&app, request, key).await?;
    Ok((StatusCode::ACCEPTED, Answer(begun.accepted)))
}

/// List checkpoints
///
/// Counts, the last of each kind, how completed ones were, and the newest one by one.
#[utoipa::path(
    get, path = "/v1/checkpoints", tag = "checkpoints", params(CheckpointQuery),
    responses((status = 200, body = CheckpointList))
)]
pub async fn list(
    Ready(app): Ready,
    Asked(query): Asked<CheckpointQuery>,
) -> Result<Answer<CheckpointList>, Problem> {
    let restored = restored(&app).await?;
    app.history.list(&app, &query, restored).await.map(Answer)
}

/// The epoch restored last, and how many restores completed.
async fn restored(app: &App) -> Result<(Option<Epoch>, usize), Problem> {
    let mut completed = restore::list(app).await?;
    completed.retain(|restore| restore.status == RestoreStatus::Completed);
    let last = completed.iter().max_by_key(|restore| restore.completed_at);
    Ok((last.map(|restore| restore.epoch), completed.len()))
}

/// The last checkpoint of a status
#[utoipa::path(
    get, path = "/v1/checkpoints/latest", tag = "checkpoints", params(LatestQuery),
    responses(
        (status = 200, body = CheckpointDetail),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn latest(
    Ready(app): Ready,
    Asked(query): Asked<LatestQuery>,
) -> Result<Answer<CheckpointDetail>, Problem> {
    let wanted = query.status.unwrap_or(CheckpointStatus::Completed);
    let views = app.history.all(&app).await?;
    let found = views.iter().find(|view| view.status == wanted);
    let found = found.ok_or_else(|| {
        Problem::new(
            NOT_FOUND,
            format!("there is no checkpoint that is {wanted}"),
        )
    })?;
    app.history.detail(&app, found.epoch).await.map(Answer)
}

/// One checkpoint
///
/// Every process with its durations, positions, markers and guarantee.
#[utoipa::path(
    get, path = "/v1/checkpoints/{epoch}", tag = "checkpoints",
    params(("epoch" = u64, Path, description = "The attempt's number")),
    responses(
        (status = 200, body = CheckpointDetail),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn detail(
    Ready(app): Ready,
    Path(text): Path<String>,
) -> Result<Answer<CheckpointDetail>, Problem> {
    let epoch = epoch(&text)?;
    app.history.detail(&app, epoch).await.map(Answer)
}

/// Verify a checkpoint
///
/// Reads every part and every chunk, as a restore would, and tells everything that does not fit.
#[utoipa::path(
    post, path = "/v1/checkpoints/{epoch}/verify", tag = "checkpoints",
    params(("epoch" = u64, Path, description = "The attempt's number")),
    responses(
        (status = 200, body = VerifyReport),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "it is not COMPLETED", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn verify(
    Ready(app): Ready,
    Path(text): Path<String>,
) -> Result<Answer<VerifyReport>, Problem> {
    let epoch = epoch(&text)?;
    let began = Instant::now();
    let verified = app.repository.verify(epoch).await?;
    app.metrics.store("verify", began.elapsed());
    Ok(Answer(VerifyReport {
        epoch,
        whole: verified.is_whole(),
        parts: verified.parts,
        chunks: verified.chunks,
        state_bytes: verified.state_bytes,
        problems: verified.problems.iter().map(ToString::to_string).collect(),
    }))
}

/// Delete what retention does not keep
///
/// With `dry_run` it only tells what that would be, what garbage would be collected, and why the rest is kept: for that the
/// role viewer is enough. Deleting needs the role admin.
#[utoipa::path(
    post, path = "/v1/checkpoints/prune", tag = "checkpoints", request_body = PruneRequest,
    responses(
        (status = 200, description = "deleted, or what would be", body = PruneReport),
        (status = 403, description = "the role is not enough to delete", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "not leading, or not ready", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn prune(
    Leading(app): Leading,
    Extension(caller): Extension<Caller>,
    Json(request): Json<PruneRequest>,
) -> Result<Answer<PruneReport>, Problem> {
    if !request.dry_run {
        caller.check(RULE, "POST /v1/checkpoints/prune without dry_run")?;
    }
    retention::prune(&app, request).await.map(Answer)
}

/// Abort a checkpoint
///
/// Ends it and its retries; every process goes on at once.
#[utoipa::path(
    post, path = "/v1/checkpoints/{epoch}/abort", tag = "checkpoints",
    params(("epoch" = u64, Path, description = "The attempt's number")),
    responses(
        (status = 200, description = "as it stands now", body = CheckpointDetail),
        (status = 409, description = "it is not in progress", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn abort(
    Leading(app): Leading,
    Path(text): Path<String>,
) -> Result<Answer<CheckpointDetail>, Problem> {
    let epoch = epoch(&text)?;
    if app.busy.restore().is_some() || !app.running.abort(Some(epoch), "aborted on request") {
        let status = app.history.view(&app, epoch).await?.status;
        let detail =
            format!("checkpoint {epoch} is {status}; only one that is in progress can be aborted");
        return Err(Problem::new(NOT_IN_PROGRESS, detail));
    }
    let deadline = Instant::now() + ABORT_WAIT;
    let runs = |app: &App| {
        app.running
            .current()
            .is_some_and(|current| current.epoch == epoch)
    };
    while runs(&app) && Instant::now() < deadline {
        tokio::time::sleep(ABORT_LOOK).await;
    }
    app.history.detail(&app, epoch).await.map(Answer)
}

/// Delete a checkpoint
#[utoipa::path(
    delete, path = "/v1/checkpoints/{epoch}", tag = "checkpoints",
    params(("epoch" = u64, Path, description = "The attempt's number")),
    responses(
        (status = 204, description = "deleted"),
        (status = 404, description = "there is none", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "it is in progress, or a restore needs it", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    Leading(app): Leading,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let epoch = epoch(&text)?;
    if app
        .running
        .current()
        .is_some_and(|current| current.epoch == epoch)
    {
        let detail = format!("checkpoint {epoch} is in progress; abort it first");
        return Err(Problem::new(CHECKPOINT_IN_PROGRESS, detail));
    }
    if app.repository.status(epoch).await? == cutline_store::CheckpointStatus::Deleted {
        return Err(StoreError::NoCheckpoint { epoch }.into());
    }
    retention::delete(&app, epoch).await?;
    Ok(StatusCode::NO_CONTENT)
}
