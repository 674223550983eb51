//! The epoch in progress, as others may look at it and end it; and which attempt followed which.

use std::{collections::BTreeMap, sync::Arc};

use cutline_model::{Epoch, Mode, Purpose};
use cutline_telemetry::{About, Span};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::EpochRequest;

/// Attempts whose successor is remembered; older ones were looked at long ago.
const SUCCESSORS_MAX: usize = 1_024;

/// The epoch in progress.
#[derive(Clone, Debug)]
pub struct RunningEpoch {
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
    pub trace: Span,
    abort: Arc<watch::Sender<Option<String>>>,
}

impl RunningEpoch {
    /// Changes to the reason when somebody ends it.
    #[must_use]
    pub fn aborted(&self) -> watch::Receiver<Option<String>> {
        self.abort.subscribe()
    }
}

/// The slot for the epoch in progress. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    current: Option<RunningEpoch>,
    successors: BTreeMap<Epoch, Epoch>,
}

impl Running {
    /// `epoch` is in progress from now on.
    pub fn begin(
        &self,
        epoch: Epoch,
        request: &EpochRequest,
        started_at: Timestamp,
    ) -> RunningEpoch {
        let running = RunningEpoch {
            epoch,
            mode: request.mode,
            purpose: request.purpose,
            savepoint: request.savepoint.clone(),
            started_at,
            phase: None,
            trace: trace(epoch, request),
            abort: Arc::new(watch::Sender::new(None)),
        };
        self.0.lock().current = Some(running.clone());
        running
    }

    /// `next` is another attempt at `failed`: from one moment to the next the one is over and the other in progress.
    pub fn follow(
        &self,
        failed: Epoch,
        next: Epoch,
        request: &EpochRequest,
        started_at: Timestamp,
    ) -> RunningEpoch {
        let mut slot = self.0.lock();
        slot.successors.insert(failed, next);
        if slot.successors.len() > SUCCESSORS_MAX {
            slot.successors.pop_first();
        }
        drop(slot);
        self.begin(next, request, started_at)
    }

    /// Nothing is in progress any more.
    pub fn end(&self) {
        self.0.lock().current = None;
    }

    /// The epoch in progress.
    #[must_use]
    pub fn current(&self) -> Option<RunningEpoch> {
        self.0.lock().current.clone()
    }

    /// The attempt that followed `failed`.
    #[must_use]
    pub fn successor(&self, failed: Epoch) -> Option<Epoch> {
        self.0.lock().successors.get(&failed).copied()
    }

    /// Notes what the coordinator of `epoch` is doing. True when that is news.
    pub fn note_phase(&self, epoch: Epoch, phase: &str) -> bool {
        let mut slot = self.0.lock();
        let current = slot.current.as_mut();
        let Some(current) = current.filter(|current| current.epoch == epoch) else {
            return false;
        };
        if current.phase.as_deref() == Some(phase) {
            return false;
        }
        current.phase = Some(phase.to_owned());
        true
    }

    /// Ends `epoch`, or whatever is in progress, for `reason`. False when it is not in progress.
    pub fn abort(&self, epoch: Option<Epoch>, reason: &str) -> bool {
        let slot = self.0.lock();
        let current = slot.current.as_ref();
        let Some(current) = current.filter(|c| epoch.is_none_or(|epoch| epoch == c.epoch)) else {
            return false;
        };
        current.abort.send_replace(Some(reason.to_owned()));
        true
    }
}

/// A trace of its own, or a part of whoever began it: a caller that sent its own, or a restore.
fn trace(epoch: Epoch, request: &EpochRequest) -> Span {
    let about = About {
        epoch: Some(epoch.0),
        restore: None,
    };
    let trace = Span::begin("checkpoint", about);
    trace.set("epoch", i64::try_from(epoch.0).unwrap_or(i64::MAX));
    trace.set("mode", request.mode.to_string());
    let purpose = match request.purpose {
        Purpose::Checkpoint => "checkpoint",
        Purpose::Safety => "safety",
        Purpose::Stop => "stop",
    };
    trace.set("purpose", purpose);
    if let Some(name) = &request.savepoint {
        trace.set("savepoint", name.clone());
    }
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_epoch_in_progress_can_be_ended() {
        let running = Running::default();
        let request = EpochRequest::checkpoint(Mode::Aligned, None);
        let first = running.begin(Epoch(1), &request, Timestamp::UNIX_EPOCH);
        assert!(!running.abort(Some(Epoch(2)), "no"));
        let second = running.follow(Epoch(1), Epoch(2), &request, Timestamp::UNIX_EPOCH);
        assert!(!running.abort(Some(Epoch(1)), "no"));
        assert!(running.abort(Some(Epoch(2)), "enough"));
        assert_eq!(*first.aborted().borrow(), None);
        assert_eq!(second.aborted().borrow().as_deref(), Some("enough"));
        assert_eq!(running.successor(Epoch(1)), Some(Epoch(2)));
        running.end();
        assert!(!running.abort(None, "no"));
    }
}
