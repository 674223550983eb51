//! The process core, shared between the proxy's sessions and the shell that carries out what it decides.
//!
//! Everyone who touches the core does so under one short lock and never across an await. Whoever leaves work in its queue
//! wakes the shell; whoever waits for a hold or the gate to change waits on a counter, so that no change is missed. No
//! decision is taken here.

use std::{sync::Arc, time::Instant};

use cutline_protocol::{Moment, Process};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// A handle to the process core; cheap to clone.
#[derive(Clone)]
pub struct SharedProcess {
    inner: Arc<Inner>,
}

struct Inner {
    process: Mutex<Process>,
    origin: Instant,
    work: Notify,
    holds: watch::Sender<u64>,
    gate: watch::Sender<u64>,
}

impl SharedProcess {
    /// Shares `process`.
    #[must_use]
    pub fn new(process: Process) -> Self {
        let (holds, gate) = (watch::Sender::new(0), watch::Sender::new(0));
        let inner = Inner { process: Mutex::new(process), origin: Instant::now(), work: Notify::new(), holds, gate };
        Self { inner: Arc::new(inner) }
    }

    /// Uses the core under its lock; wakes the shell when that left something to do.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut Process, Moment) -> T) -> T {
        let mut process = self.inner.process.lock();
        let (before, now) = (process.poll_timeout(), self.now());
        let answer = use_it(&mut process, now);
        if process.has_output() || process.poll_timeout() != before {
            self.inner.work.notify_one();
        }
        answer
    }

    /// The present moment, counted from this handle's creation.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.inner.origin.elapsed())
    }

    /// The instant of a moment, for timers.
    #[must_use]
    pub fn instant_of(&self, moment: Moment) -> Instant {
        self.inner.origin + moment.0
    }

    /// A counter of changes of the holds: subscribe, ask the core, and if the answer is no, wait for a change.
    #[must_use]
    pub fn hold_changes(&self) -> watch::Receiver<u64> {
        self.inner.holds.subscribe()
    }

    /// A counter of changes of the gate, used the same way.
    #[must_use]
    pub fn gate_changes(&self) -> watch::Receiver<u64> {
        self.inner.gate.subscribe()
    }

    /// Returns when the core may have something to do.
    pub(crate) async fn work(&self) {
        self.inner.work.notified().await;
    }

    pub(crate) fn announce_holds(&self) {
        self.inner.holds.send_modify(|version| *version += 1);
    }

    pub(crate) fn announce_gate(&self) {
        self.inner.gate.send_modify(|version| *version += 1);
    }
}
