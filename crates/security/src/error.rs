//! What is wrong with security settings: which one, and what to do. Nothing secret is ever part of it.

use cutline_tls::TlsError;

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// One that means nothing, is not known, or does not fit to another.
    #[error("CL0600 kafka.{name}: {reason}")]
    Setting {
        /// The setting, without the group.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or a key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl SecurityError {
    pub(crate) fn setting(name: &str, reason: impl Into<String>) -> Self {
        Self::Setting {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}
