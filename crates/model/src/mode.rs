//! How a checkpoint is taken and how a process's state is captured.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How input is held for a cut (1-protocol: taking a checkpoint).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each input partition is held at its first marker or barrier while the others go on.
    #[default]
    Aligned,
    /// All input is held where it is at *go* or at the first marker (Chandy and Lamport as published).
    Unaligned,
    /// No markers: all processes hold and record, ends are listed, all release.
    Synchronous,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aligned => "aligned",
            Self::Unaligned => "unaligned",
            Self::Synchronous => "synchronous",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "aligned" => Ok(Self::Aligned),
            "unaligned" => Ok(Self::Unaligned),
            "synchronous" => Ok(Self::Synchronous),
            other => Err(format!(
                "unknown mode {other:?}: use aligned, unaligned or synchronous"
            )),
        }
    }
}

/// Whose state is recorded at one point.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every instance's state is its own.
    #[default]
    Instance,
    /// All instances of the service share one state.
    Service,
}

/// How a sidecar learns that what was delivered is finished.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Every group has committed past what was delivered; no code in the application.
    #[default]
    Commit,
    /// The application's HTTP hook pauses it and answers its positions.
    Hook,
}

/// What a process's part of a checkpoint is good for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// State, inputs and outputs are of one point.
    #[default]
    Consistent,
    /// Positions and outputs are of one point; no state was recorded (`--state none`).
    PositionsOnly,
}
