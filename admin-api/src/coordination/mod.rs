//! Coordination: one epoch at a time, from the claim in the store to its manifest, or to the record that it failed.
//!
//! The protocol's coordinator decides; here its outputs are carried out and its inputs are brought in. Checkpoints and
//! restores take epochs the same way, through [`run_epoch`], holding the one guard there is.

mod barriers;
mod broker;
mod channels;
mod claim;
mod decision;
mod driver;
mod manifest;
mod pace;
mod running;
mod tables;
mod view;

pub mod checkpoint;
pub mod eviction;
pub mod forget;
pub mod keys;
pub mod recovery;
pub mod retention;
pub mod schedule;

use std::collections::BTreeSet;

use cutline_model::{Epoch, Mode, Purpose, ServiceName};
use cutline_protocol::Cut;
use cutline_store::Manifest;
use jiff::Timestamp;

use crate::{app::App, busy::BusyGuard, problem::Problem};

pub use barriers::Barriers;
pub use claim::{claim, owner};
pub use manifest::pause_ms_max;
pub use pace::Blackout;
pub use running::{Running, RunningEpoch};

/// What an epoch is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRequest {
    /// Whether the processes of `stopped` go on afterwards.
    pub purpose: Purpose,
    /// The services that `purpose` applies to; all others take a plain checkpoint.
    pub stopped: BTreeSet<ServiceName>,
    /// How input is held.
    pub mode: Mode,
    /// A savepoint's name.
    pub savepoint: Option<String>,
}

impl EpochRequest {
    /// A plain checkpoint of everything.
    #[must_use]
    pub fn checkpoint(mode: Mode, savepoint: Option<String>) -> Self {
        Self {
            purpose: Purpose::Checkpoint,
            stopped: BTreeSet::new(),
            mode,
            savepoint,
        }
    }
}

/// How an epoch ended.
#[derive(Clone, Debug)]
pub struct EpochEnd {
    /// Its number.
    pub epoch: Epoch,
    /// How it came out.
    pub outcome: EpochResult,
}

/// How an epoch came out.
#[derive(Clone, Debug)]
pub enum EpochResult {
    /// It was agreed on.
    Completed {
        /// What was agreed on.
        cut: Box<Cut>,
        /// What stands in the store; `None` when nothing was recorded ([`Purpose::Stop`]).
        manifest: Option<Box<Manifest>>,
    },
    /// It counts for nothing.
    Failed {
        /// Why, for people.
        reason: String,
        /// True when the user or this program's end ended it: nobody wants another attempt.
        aborted: bool,
    },
}

/// Runs one epoch to its end: no retries. `guard` is the proof that nothing else is in progress.
///
/// # Errors
/// When no epoch could be claimed. Everything that happens afterwards is an [`EpochResult`].
pub async fn run_epoch(
    app: &App,
    guard: &BusyGuard,
    request: &EpochRequest,
) -> Result<EpochEnd, Problem> {
    let started_at = Timestamp::now();
    let epoch = claim(app).await?;
    let running = app.running.begin(epoch, request, started_at);
    guard.note_epoch(epoch);
    let outcome = driver::drive(app, &running, request).await;
    app.running.end();
    Ok(EpochEnd { epoch, outcome })
}
