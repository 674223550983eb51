//! Why there is no answer that can be used.

use std::time::Duration;

use crate::ProblemDetails;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is none.
    #[error(
        "{address:?} is no address of an admin API: {reason}; give http://HOST:PORT or https://HOST:PORT, or several with commas"
    )]
    BadAddress {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates to ask with cannot be used.
    #[error("{0}")]
    Tls(#[from] cutline_tls::TlsError),
    /// The token has characters that no token has.
    #[error(
        "the token has characters that no token has; give it as `cutline token new` printed it"
    )]
    BadToken,
    /// Nobody answered.
    #[error("the admin API at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// It said why not.
    #[error("{details}")]
    Problem {
        /// What it said.
        details: Box<ProblemDetails>,
        /// When it makes sense to ask again.
        retry_after: Option<Duration>,
    },
    /// Something else answered, or another version.
    #[error("{address} answered what is no answer of an admin API: {reason}")]
    Unexpected {
        /// Where.
        address: String,
        /// What does not fit.
        reason: String,
    },
}

impl AdminError {
    /// The stable code, when the admin API said why not.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem { details, .. } => Some(&details.code),
            _ => None,
        }
    }

    /// The HTTP status, when the admin API said why not.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { details, .. } => Some(details.status),
            _ => None,
        }
    }

    /// True when the same request may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { details, .. } => matches!(details.status, 429 | 503),
            _ => false,
        }
    }
}
