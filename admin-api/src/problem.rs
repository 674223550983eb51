//! Why a request is not done: a code, its status and title, and what happened to what.
//!
//! Codes are listed once, here and (for restores) where restores are; `docs/error-codes.md` explains them. A problem is an
//! HTTP answer; inside the admin API it travels as an ordinary error.

use std::{fmt, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cutline_client::ProblemDetails;
use cutline_control::ControlError;
use cutline_store::StoreError;
use cutline_wire::client::ClientError;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable code.
    pub id: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// The kind in a few words.
    pub title: &'static str,
}

impl Code {
    /// A kind of problem.
    #[must_use]
    pub const fn new(id: &'static str, status: u16, title: &'static str) -> Self {
        Self { id, status, title }
    }
}

/// Still starting: Kafka or the store was not reached yet.
pub const NOT_READY: Code = Code::new("CL0200", 503, "not ready");
/// Another admin API coordinates this deployment.
pub const NOT_LEADING: Code = Code::new("CL0201", 503, "not leading");
/// A checkpoint is in progress.
pub const CHECKPOINT_IN_PROGRESS: Code = Code::new("CL0202", 409, "a checkpoint is in progress");
/// A restore is in progress.
pub const RESTORE_IN_PROGRESS: Code = Code::new("CL0203", 409, "a restore is in progress");
/// The request cannot be read.
pub const BAD_REQUEST: Code = Code::new("CL0204", 400, "bad request");
/// There is nothing under this path.
pub const NOT_FOUND: Code = Code::new("CL0205", 404, "not found");
/// The path is there, not for this method.
pub const METHOD_NOT_ALLOWED: Code = Code::new("CL0206", 405, "method not allowed");
/// The body is larger than any request.
pub const TOO_LARGE: Code = Code::new("CL0207", 413, "too large");
/// The Idempotency-Key was used for another request.
pub const KEY_REUSED: Code = Code::new("CL0208", 422, "idempotency key reused");
/// What was to be ended is over.
pub const NOT_IN_PROGRESS: Code = Code::new("CL0209", 409, "not in progress");
/// The broker cannot do it.
pub const NO_TRANSACTIONS: Code = Code::new("CL0210", 409, "broker without transactions");
/// Kafka did not answer as it should.
pub const KAFKA: Code = Code::new("CL0211", 503, "Kafka is out of reach");
/// The store did not answer as it should.
pub const STORE: Code = Code::new("CL0212", 503, "the store is out of reach");
/// The body is no JSON by its content type.
pub const UNSUPPORTED_MEDIA: Code = Code::new("CL0213", 415, "unsupported media type");
/// A client asks too fast.
pub const TOO_MANY: Code = Code::new("CL0214", 429, "too many requests");
/// A sidecar is not there.
pub const NO_SIDECAR: Code = Code::new("CL0215", 404, "no such sidecar");
/// Nobody is known by the token, or there is none.
pub const NOT_AUTHENTICATED: Code = Code::new("CL0218", 401, "not authenticated");
/// The token's role is not enough.
pub const NOT_ALLOWED: Code = Code::new("CL0219", 403, "not allowed");
/// A certificate is asked for, and none was shown.
pub const NO_CERTIFICATE: Code = Code::new("CL0220", 403, "no client certificate");
/// Plain HTTP where TLS is spoken.
pub const PLAIN_HTTP: Code = Code::new("CL0221", 400, "plain HTTP to a TLS address");
/// A service is not there.
pub const NO_SERVICE: Code = Code::new("CL0230", 404, "no such service");
/// A service that is to be forgotten has instances.
pub const SERVICE_RUNS: Code = Code::new("CL0231", 409, "the service has instances");
/// As much is under way as can be.
pub const SATURATED: Code = Code::new("CL0232", 503, "saturated");
/// A wrong path of this program was taken.
pub const INTERNAL: Code = Code::new("CL0299", 500, "internal error");

/// How long a client waits before it asks again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Of which kind.
    pub code: Code,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of kind `code`. What is answered with 429 or 503 may be asked again after a second.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = matches!(code.status, 429 | 503).then_some(RETRY_AFTER);
        Self {
            code,
            detail: detail.into(),
            retry_after,
        }
    }

    /// As the client gets it.
    #[must_use]
    pub fn details(&self) -> ProblemDetails {
        ProblemDetails {
            kind: format!("urn:cutline:error:{}", self.code.id),
            title: self.code.title.to_owned(),
            status: self.code.status,
            detail: self.detail.clone(),
            code: self.code.id.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.details().fmt(f)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Whoever stands by or starts says so to every probe: that is no event.
        let waits = [NOT_LEADING, NOT_READY].contains(&self.code);
        if status.is_server_error() && !waits {
            tracing::warn!(
                code = self.code.id,
                detail = self.detail,
                "request not done"
            );
        }
        let body = serde_json::to_vec(&self.details()).expect("problem details are plain text");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.code == NOT_AUTHENTICATED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(after.as_secs().max(1)),
            );
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, title) = match error {
            StoreError::NoCheckpoint { .. } => (404, "no such checkpoint"),
            StoreError::NotCompleted { .. } => (409, "the checkpoint cannot be used for this"),
            StoreError::InUse { .. } => (409, "the checkpoint is in use"),
            StoreError::AlreadyDecided { .. } => (409, "the epoch has ended"),
            StoreError::EpochTaken { .. } | StoreError::Superseded { .. } => {
                (409, "another admin API was first")
            }
            StoreError::Missing { .. } | StoreError::Damaged { .. } => {
                (409, "the checkpoint is damaged")
            }
            StoreError::NotSigned { .. } => (409, "who wrote it is not proved"),
            StoreError::Full { .. } => (507, "the store is full"),
            StoreError::Backend { .. } | StoreError::NotAsked { .. } => (STORE.status, STORE.title),
            _ => (500, "the store refused"),
        };
        let mut problem = Self::new(Code::new(error.code(), status, title), error.to_string());
        if let StoreError::NotAsked { again_in_ms, .. } = error {
            problem.retry_after = Some(Duration::from_millis(again_in_ms) + RETRY_AFTER);
        }
        problem
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        Self::new(KAFKA, error.to_string())
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        Self::new(KAFKA, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_the_store_keeps_its_code_and_says_it_once() {
        let problem = Problem::from(StoreError::NoCheckpoint {
            epoch: cutline_model::Epoch(9),
        });
        assert_eq!((problem.code.id, problem.code.status), ("CL0113", 404));
        assert_eq!(problem.to_string(), "CL0113 there is no checkpoint 9");
    }

    #[test]
    fn what_may_pass_by_itself_says_when_to_ask_again() {
        let response = Problem::new(NOT_LEADING, "x").into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let content = &response.headers()[header::CONTENT_TYPE];
        assert_eq!(content, "application/problem+json");
        let response = Problem::new(BAD_REQUEST, "x").into_response();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
    }
}
