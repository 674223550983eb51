//! What can go wrong with an application's state, each with a stable code and what to do.

use std::{io, path::Path};

use cutline_store::StoreError;

use crate::{PostgresError, redis::RedisError};

/// Everything a provider or a hook may answer instead of what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A `--state` that cannot be read.
    #[error(
        "CL0150 state {spec:?}: {reason}; known are dir:/path, postgres://user@host/database, redis://host:port/db?prefix=…, http://host:port and none"
    )]
    BadSpec {
        /// As it was given.
        spec: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the state is of a kind that cannot be kept.
    #[error("CL0152 {path}: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The directory was written while its application was paused.
    #[error(
        "CL0153 {path} changed while the application was paused ({detail}); something else writes there, or the application goes on in the background: name its immutable files, or use the hook"
    )]
    Changed {
        /// The directory.
        path: String,
        /// What was seen.
        detail: String,
    },
    /// Reading or writing the state failed.
    #[error("CL0154 {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The hook did not answer in time.
    #[error("CL0155 hook {url} did not answer within {limit_ms} ms")]
    HookTimeout {
        /// What was called.
        url: String,
        /// The limit.
        limit_ms: u64,
    },
    /// The hook could not be reached or broke off.
    #[error("CL0156 hook {url}: {detail}")]
    HookUnreachable {
        /// What was called.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The hook answered that it failed.
    #[error("CL0157 hook {url} answered {status}: {answer}")]
    HookFailed {
        /// What was called.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        answer: String,
    },
    /// The hook answered something that makes no sense.
    #[error("CL0158 hook {url} answered nonsense ({reason}): {answer}")]
    HookNonsense {
        /// What was called.
        url: String,
        /// What is wrong with it.
        reason: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// Something is larger than its limit.
    #[error("CL0159 {what} is more than the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How much there may be.
        limit: u64,
    },
    /// What was restored is not what was recorded.
    #[error(
        "CL0160 {path} was restored but is not what was recorded ({detail}); restore again while nothing writes there"
    )]
    NotRestored {
        /// The file.
        path: String,
        /// What differs.
        detail: String,
    },
    /// The part was made by another provider.
    #[error(
        "CL0161 the part was made by provider {found:?}, it cannot be restored by {wanted:?}; use the --state it was made with"
    )]
    OtherProvider {
        /// What made it.
        found: String,
        /// What should restore it.
        wanted: String,
    },
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// A PostgreSQL database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StateError {
    /// The stable code that docs/error-codes.md explains.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadSpec { .. } => "CL0150",
            Self::Refused { .. } => "CL0152",
            Self::Changed { .. } => "CL0153",
            Self::Io { .. } => "CL0154",
            Self::HookTimeout { .. } => "CL0155",
            Self::HookUnreachable { .. } => "CL0156",
            Self::HookFailed { .. } => "CL0157",
            Self::HookNonsense { .. } => "CL0158",
            Self::TooLarge { .. } => "CL0159",
            Self::NotRestored { .. } => "CL0160",
            Self::OtherProvider { .. } => "CL0161",
            Self::Redis(error) => error.code(),
            Self::Postgres(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// True when the same call may succeed a little later without anyone doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Changed { .. } | Self::HookTimeout { .. } | Self::HookUnreachable { .. } => true,
            Self::Redis(error) => error.is_retryable(),
            Self::Postgres(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}
