//! The epoch in progress and the connected sidecars, as another admin API may show them: stored forms of their own.

use std::collections::BTreeMap;

use cutline_client::link::Uplink;
use cutline_model::{Epoch, Mode, Offset, Purpose, SidecarId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    coordination::RunningEpoch,
    registry::{Connected, Hello, SidecarStatus},
};

/// An epoch in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its number.
    pub epoch: Epoch,
    /// How input is held.
    pub mode: Mode,
    /// What it is for.
    pub purpose: Purpose,
    /// A savepoint's name.
    pub savepoint: Option<String>,
    /// When it was triggered.
    pub started_at: Timestamp,
    /// What the coordinator is doing; `None` before it began.
    pub phase: Option<String>,
    /// Its trace.
    #[serde(default)]
    pub trace_id: Option<String>,
}

impl From<&RunningEpoch> for Progress {
    fn from(running: &RunningEpoch) -> Self {
        Self {
            epoch: running.epoch,
            mode: running.mode,
            purpose: running.purpose,
            savepoint: running.savepoint.clone(),
            started_at: running.started_at,
            phase: running.phase.clone(),
            trace_id: running.trace.trace_id(),
        }
    }
}

/// A connected sidecar: what it said, in the form it said it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredSidecar {
    hello: Uplink,
    connected_at: Timestamp,
    status: Option<Uplink>,
    applied: Option<Offset>,
}

impl StoredSidecar {
    pub(super) fn of(connected: &Connected, deployment: &str) -> Self {
        Self {
            hello: connected.hello.clone().said(deployment),
            connected_at: connected.connected_at,
            status: connected.status.clone().map(SidecarStatus::said),
            applied: connected.applied,
        }
    }

    /// `None` when it is of another version.
    fn connected(self, deployment: &str) -> Option<Connected> {
        let hello = Hello::read(self.hello, deployment).ok()?;
        Some(Connected {
            hello,
            connected_at: self.connected_at,
            status: self.status.and_then(SidecarStatus::read),
            applied: self.applied,
        })
    }
}

/// Reads sidecars; what is no sidecar of this version is passed over.
pub(super) fn sidecars(
    stored: BTreeMap<String, String>,
    deployment: &str,
) -> BTreeMap<SidecarId, Connected> {
    let readable = stored.into_values().filter_map(|text| {
        let stored: StoredSidecar = serde_json::from_str(&text).ok()?;
        let connected = stored.connected(deployment)?;
        Some((connected.hello.sidecar.clone(), connected))
    });
    readable.collect()
}
