//! Who asks.

use axum::{Extension, Json as Answer, extract::State};
use cutline_client::{ProblemDetails, WhoamiView};

use crate::{access::Caller, ready::Shell};

/// Who asks
///
/// The name and role of the token, so that a tool offers a person what they may do.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "access",
    responses(
        (status = 200, body = WhoamiView),
        (status = 401, description = "no token, or one that is not known", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn whoami(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
) -> Answer<WhoamiView> {
    let app = shell.app().ok();
    Answer(WhoamiView {
        name: caller.name,
        role: caller.role.map(|role| role.to_string()),
        deployment: app.as_ref().map(|app| app.config.deployment.clone()),
        leading: app.is_some_and(|app| app.leadership.is_leading()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
