//! The sidecar's share of a checkpoint, as the trace of the checkpoint shows it.
//!
//! It follows what passes through the shell and tells it on; nothing is decided by it. What began and ended inside the core
//! is drawn from the durations of the report.

use std::time::{Duration, SystemTime};

use cutline_model::{Closing, Epoch, FromSidecar, SidecarId, Timings, ToSidecar};
use cutline_telemetry::{About, Span};
use parking_lot::Mutex;

/// The share in the present epoch. Its lock is held for moments, by the shell's one loop.
pub(super) struct EpochTrace {
    sidecar: SidecarId,
    share: Mutex<Option<Share>>,
}

struct Share {
    epoch: Epoch,
    whole: Span,
    went_at: SystemTime,
    gate: Option<Span>,
}

impl EpochTrace {
    /// The shares of `sidecar`.
    pub(super) fn of(sidecar: SidecarId) -> Self {
        Self {
            sidecar,
            share: Mutex::new(None),
        }
    }

    /// The coordinator has said something, as a part of `caller`.
    pub(super) fn told(&self, message: &ToSidecar, caller: Option<&str>) {
        let mut share = self.share.lock();
        match message {
            ToSidecar::Prepare { epoch, .. } => {
                if let Some(left) = share.take() {
                    left.end("given up");
                }
                *share = Some(self.begin(*epoch, caller));
            }
            ToSidecar::Go { epoch } => {
                if let Some(share) = of_epoch(&mut share, *epoch) {
                    share.went_at = SystemTime::now();
                }
            }
            ToSidecar::Close { epoch, closing } => {
                if of_epoch(&mut share, *epoch).is_none() {
                    return;
                }
                if let Some(over) = share.take() {
                    over.end(match closing {
                        Closing::Committed => "completed",
                        Closing::Failed { .. } => "failed",
                    });
                }
            }
            _ => {}
        }
    }

    /// The coordinator is out of reach.
    pub(super) fn lost(&self) {
        if let Some(left) = self.share.lock().take() {
            left.end("lost");
        }
    }

    /// This sidecar says something to the coordinator.
    pub(super) fn said(&self, message: &FromSidecar) {
        let mut share = self.share.lock();
        let Some(share) = of_epoch(&mut share, message.epoch()) else {
            return;
        };
        match message {
            FromSidecar::Reported { report, .. } => share.reported(&report.timings),
            FromSidecar::Declined { reason, .. } => share.whole.fail(reason),
            _ => {}
        }
    }

    /// The application's Produces wait, or do not any more.
    pub(super) fn gate(&self, closed: bool) {
        let mut share = self.share.lock();
        let Some(share) = share.as_mut() else { return };
        match (closed, share.gate.take()) {
            (true, None) => share.gate = Some(share.whole.child("gate")),
            (true, standing) => share.gate = standing,
            (false, Some(standing)) => standing.end(),
            (false, None) => {}
        }
    }

    /// The share in `epoch`; none where it is over or was never traced.
    pub(super) fn whole(&self, epoch: Epoch) -> Span {
        let mut share = self.share.lock();
        of_epoch(&mut share, epoch).map_or_else(Span::none, |share| share.whole.clone())
    }

    fn begin(&self, epoch: Epoch, caller: Option<&str>) -> Share {
        let about = About {
            epoch: Some(epoch.0),
            restore: None,
        };
        let whole = Span::under(caller, "take part", about);
        whole.set("epoch", i64::try_from(epoch.0).unwrap_or(i64::MAX));
        whole.set("sidecar", self.sidecar.to_string());
        Share {
            epoch,
            whole,
            went_at: SystemTime::now(),
            gate: None,
        }
    }
}

fn of_epoch(share: &mut Option<Share>, epoch: Epoch) -> Option<&mut Share> {
    share.as_mut().filter(|share| share.epoch == epoch)
}

impl Share {
    /// Holding, alignment and quiescence are the core's; it says how long they took, one after the other.
    fn reported(&self, timings: &Timings) {
        let held_at = self.went_at + milliseconds(timings.start_delay_ms);
        let pause = self.whole.child_at("pause", held_at);
        let mut at = held_at;
        for (name, took) in [
            ("alignment", timings.alignment_ms),
            ("quiesce", timings.quiesce_ms),
        ] {
            let part = pause.child_at(name, at);
            at += milliseconds(took);
            part.end_at(at);
        }
        pause.end_at(held_at + milliseconds(timings.pause_ms));
    }

    fn end(self, outcome: &'static str) {
        if let Some(gate) = self.gate {
            gate.end();
        }
        self.whole.set("outcome", outcome);
        self.whole.end();
    }
}

fn milliseconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count / 1_000.0).unwrap_or_default()
}
