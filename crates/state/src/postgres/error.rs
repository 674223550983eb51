//! What can go wrong with a PostgreSQL database, each with a code and what to do. No error holds a password or a row.

use tokio_postgres::error::SqlState;

/// Why tables could not be recorded or put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// Nobody answers there, or nobody is let in.
    #[error("CL0170 database {address} cannot be reached: {detail}")]
    Unreachable {
        /// Which, without its password.
        address: String,
        /// What was said.
        detail: String,
    },
    /// It did not answer in time.
    #[error(
        "CL0171 database {address} did not {what} within {limit_ms} ms; look at its load and at sessions that hold locks"
    )]
    Timeout {
        /// Which.
        address: String,
        /// What was asked.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
    },
    /// It answered that it cannot.
    #[error("CL0172 database {address} could not {what}: {detail}")]
    Failed {
        /// Which.
        address: String,
        /// What was asked.
        what: &'static str,
        /// What it said.
        detail: String,
    },
    /// The connection broke; a transaction that was open was rolled back.
    #[error(
        "CL0173 the connection to database {address} was lost while it was to {what}: {detail}"
    )]
    Lost {
        /// Which.
        address: String,
        /// What was under way.
        what: &'static str,
        /// What was said.
        detail: String,
    },
    /// It holds something that cannot be recorded and put back.
    #[error("CL0174 database {address}: {reason}")]
    Refused {
        /// Which.
        address: String,
        /// What, and what to do.
        reason: String,
    },
    /// The tables are not what they were.
    #[error(
        "CL0175 the schema has changed since the checkpoint: {differences}; bring it back to what it was, then restore again"
    )]
    Changed {
        /// What differs.
        differences: String,
    },
    /// Somebody else holds locks.
    #[error(
        "CL0176 tables of database {address} are locked by other sessions for longer than {limit_ms} ms: {holders}; end these, then try again"
    )]
    Locked {
        /// Which.
        address: String,
        /// How long was waited.
        limit_ms: u64,
        /// Who holds them.
        holders: String,
    },
    /// What was written is not what was recorded; nothing was committed.
    #[error(
        "CL0177 table {table} was not restored as it was recorded ({detail}); nothing was changed"
    )]
    NotRestored {
        /// Which.
        table: String,
        /// What differs.
        detail: String,
    },
}

impl PostgresError {
    /// A copy that ended before its end.
    pub(super) fn cut_short(table: &str) -> Self {
        let detail = "its copy broke off".to_owned();
        Self::NotRestored {
            table: table.to_owned(),
            detail,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "CL0170",
            Self::Timeout { .. } => "CL0171",
            Self::Failed { .. } => "CL0172",
            Self::Lost { .. } => "CL0173",
            Self::Refused { .. } => "CL0174",
            Self::Changed { .. } => "CL0175",
            Self::Locked { .. } => "CL0176",
            Self::NotRestored { .. } => "CL0177",
        }
    }

    /// True when the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Lost { .. }
                | Self::Locked { .. }
        )
    }

    /// True when the application may yet put it right while it starts.
    pub(super) fn may_heal(&self) -> bool {
        self.is_retryable() || matches!(self, Self::Failed { .. })
    }
}

/// True when a lock was not had in time.
pub(super) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// True when the connection is gone rather than the request wrong.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed()
        || error.as_db_error().is_none()
        || matches!(error.code(), Some(code) if code == &SqlState::ADMIN_SHUTDOWN
            || code == &SqlState::CRASH_SHUTDOWN || code == &SqlState::CANNOT_CONNECT_NOW)
}

/// What the server said, without its detail, which may hold a row.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => {
            let hint = said
                .hint()
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            format!("{} {}{hint}", said.code().code(), said.message())
        }
        None => {
            use std::error::Error;
            let cause = error.source().map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}
