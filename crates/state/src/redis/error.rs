//! What can go wrong with state in Redis, each with a stable code and what to do. No error shows a password.

use deadpool_redis::redis;

/// Why keys could not be copied or put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// Redis did not do what it was asked to.
    #[error("CL0190 redis {server}: {doing}: {detail}")]
    Failed {
        /// Its host, port and database.
        server: String,
        /// What was asked.
        doing: &'static str,
        /// What it said, or what happened to the connection.
        detail: String,
        /// True when the same may succeed later.
        retryable: bool,
    },
    /// This server's keys cannot be state.
    #[error("CL0191 redis {server}: {reason}")]
    Unfit {
        /// Its host, port and database.
        server: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Someone wrote while the application was paused.
    #[error(
        "CL0192 {keys} of redis {server} changed while the application was paused ({detail}); something beside this service writes or evicts there: give it a prefix of its own, or quiesce it through a sidecar too"
    )]
    Changed {
        /// Its host, port and database.
        server: String,
        /// Which keys are the state.
        keys: String,
        /// What was seen.
        detail: String,
    },
    /// There is more than a pause can bear.
    #[error(
        "CL0193 {keys} of redis {server} are more than {limit}, too much to copy while the application is paused; narrow the prefix, or let the application hand its state out through the hook (--state http://…)"
    )]
    TooLarge {
        /// Its host, port and database.
        server: String,
        /// Which keys are the state.
        keys: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A part that cannot be put back here.
    #[error("CL0194 the recorded keys cannot be put back: {0}")]
    Part(String),
    /// A value that this server cannot read; it was made by a newer one.
    #[error(
        "CL0195 redis {server}, version {version}, cannot read values recorded from version {recorded}: {detail}; restore into version {recorded} or newer. Nothing was changed"
    )]
    Newer {
        /// Its host, port and database.
        server: String,
        /// What runs there.
        version: String,
        /// What was recorded from.
        recorded: String,
        /// What it said.
        detail: String,
    },
    /// What is there now is not what was recorded.
    #[error(
        "CL0196 {keys} of redis {server} were put back but are not what was recorded ({detail}); restore again while nothing writes or evicts there"
    )]
    NotRestored {
        /// Its host, port and database.
        server: String,
        /// Which keys are the state.
        keys: String,
        /// What differs.
        detail: String,
    },
}

impl RedisError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "CL0190",
            Self::Unfit { .. } => "CL0191",
            Self::Changed { .. } => "CL0192",
            Self::TooLarge { .. } => "CL0193",
            Self::Part(_) => "CL0194",
            Self::Newer { .. } => "CL0195",
            Self::NotRestored { .. } => "CL0196",
        }
    }

    /// True when the same call may succeed a little later without anyone doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed { retryable, .. } => *retryable,
            Self::Changed { .. } => true,
            _ => false,
        }
    }

    pub(super) fn of(server: &str, doing: &'static str) -> impl FnOnce(redis::RedisError) -> Self {
        let server = server.to_owned();
        move |error| {
            let (retryable, detail) = (is_retryable(&error), error.to_string());
            match error.code() {
                Some("NOPERM") => Self::Unfit {
                    server,
                    reason: format!(
                        "{doing}: {detail}; docs/operations.md lists what its user must be allowed"
                    ),
                },
                _ => Self::Failed {
                    server,
                    doing,
                    detail,
                    retryable,
                },
            }
        }
    }
}

fn is_retryable(error: &redis::RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || matches!(
            error.code(),
            Some("LOADING" | "BUSY" | "MASTERDOWN" | "OOM")
        )
}
