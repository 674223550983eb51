//! What the admin API finds when it looks at its surroundings, and who it takes the asker for.
//!
//! A finding says what was looked at, what was found, and what to do about it; nothing here looks.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How something that was looked at stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at, for a reason that is told.
    Skipped,
    /// It works, and may not be what is wanted.
    Warn,
    /// Something does not work, or will not.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Which look: an area and what was looked at, such as `kafka.transactions`; docs/cli.md has the list.
    pub id: String,
    /// What it is about: a broker, a topic, a sidecar.
    pub subject: String,
    /// How that stands.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// The area of its id: what stands before the dot.
    #[must_use]
    pub fn area(&self) -> &str {
        self.id.split('.').next().unwrap_or(&self.id)
    }
}

/// What an admin API finds when it looks at its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosisView {
    /// When it looked. Who asks again at once gets the same.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its version.
    pub version: String,
    /// Which deployment it is of.
    pub deployment: String,
    /// Whether it leads.
    pub leading: bool,
    /// Everything it looked at, by area.
    pub findings: Vec<Finding>,
}
