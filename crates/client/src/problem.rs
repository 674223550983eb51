//! Errors as the admin API answers them: RFC 9457 problem details with a stable code.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not done. Media type `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDetails {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words; the same for every problem of a code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// The stable code, `CL` and four digits, that docs/error-codes.md explains.
    pub code: String,
}

impl fmt::Display for ProblemDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some details bring their code along, as the store's do.
        if self.detail.starts_with(&self.code) {
            f.write_str(&self.detail)
        } else {
            write!(f, "{} {}", self.code, self.detail)
        }
    }
}
