//! One thing at a time: a checkpoint or a restore, never both, never two.
//!
//! Whoever begins gets a guard; while it lives, others are told what is in progress.

use std::sync::Arc;

use cutline_model::Epoch;
use parking_lot::Mutex;

use crate::problem::{CHECKPOINT_IN_PROGRESS, Problem, RESTORE_IN_PROGRESS};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Checkpoint(Option<Epoch>),
    Restore(String),
}

/// What is in progress. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<Mutex<Option<Work>>>);

/// The right to work; it ends when this is dropped.
#[derive(Debug)]
pub struct BusyGuard(Busy);

impl Busy {
    /// Begins a checkpoint.
    ///
    /// # Errors
    /// 409 while anything is in progress.
    pub fn begin_checkpoint(&self) -> Result<BusyGuard, Problem> {
        self.begin(Work::Checkpoint(None))
    }

    /// Begins the restore `id`, or goes on with it.
    ///
    /// # Errors
    /// 409 while anything is in progress.
    pub fn begin_restore(&self, id: &str) -> Result<BusyGuard, Problem> {
        self.begin(Work::Restore(id.to_owned()))
    }

    /// The restore in progress.
    #[must_use]
    pub fn restore(&self) -> Option<String> {
        match &*self.0.lock() {
            Some(Work::Restore(id)) => Some(id.clone()),
            _ => None,
        }
    }

    fn begin(&self, work: Work) -> Result<BusyGuard, Problem> {
        let mut held = self.0.lock();
        match &*held {
            None => {
                *held = Some(work);
                Ok(BusyGuard(self.clone()))
            }
            Some(Work::Checkpoint(epoch)) => {
                let which = epoch.map_or_else(String::new, |epoch| format!(" {epoch}"));
                let detail = format!(
                    "checkpoint{which} is in progress; wait until it has ended, or abort it"
                );
                Err(Problem::new(CHECKPOINT_IN_PROGRESS, detail))
            }
            Some(Work::Restore(id)) => {
                let detail =
                    format!("restore {id} is in progress; wait until it has ended, or abort it");
                Err(Problem::new(RESTORE_IN_PROGRESS, detail))
            }
        }
    }
}

impl BusyGuard {
    /// Notes which epoch a checkpoint has now, for those who are refused meanwhile.
    pub fn note_epoch(&self, epoch: Epoch) {
        if let Some(Work::Checkpoint(noted)) = &mut *self.0.0.lock() {
            *noted = Some(epoch);
        }
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_what_is_in_progress() {
        let busy = Busy::default();
        let guard = busy.begin_checkpoint().unwrap();
        guard.note_epoch(Epoch(7));
        let refused = busy.begin_restore("r1").unwrap_err();
        assert_eq!(refused.code, CHECKPOINT_IN_PROGRESS);
        assert!(
            refused.detail.contains("checkpoint 7"),
            "{}",
            refused.detail
        );
        drop(guard);
        let _restore = busy.begin_restore("r1").unwrap();
        assert_eq!(
            busy.begin_checkpoint().unwrap_err().code,
            RESTORE_IN_PROGRESS
        );
        assert_eq!(busy.restore().as_deref(), Some("r1"));
    }
}
