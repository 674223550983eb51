//! The schedule: show and set.

use axum::Json as Answer;
use cutline_client::{ProblemDetails, ScheduleRequest, ScheduleView};

use super::body::Json;
use crate::{
    problem::Problem,
    ready::{Leading, Ready},
};

/// Show the schedule
#[utoipa::path(
    get, path = "/v1/schedule", tag = "schedule",
    responses((status = 200, body = ScheduleView))
)]
pub async fn show(Ready(app): Ready) -> Answer<ScheduleView> {
    if !app.leadership.is_leading() {
        app.schedule.recall(&app).await;
    }
    Answer(app.schedule.view())
}

/// Replace the schedule
///
/// Until this admin API restarts, or with Redis until that is emptied; what shall last belongs into the configuration.
#[utoipa::path(
    put, path = "/v1/schedule", tag = "schedule", request_body = ScheduleRequest,
    responses(
        (status = 200, body = ScheduleView),
        (status = 400, description = "it cannot be kept", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    Leading(app): Leading,
    Json(request): Json<ScheduleRequest>,
) -> Result<Answer<ScheduleView>, Problem> {
    app.schedule.set(&app, &request).await.map(Answer)
}
