//! Restores that run in this process: how to end one, and what keeps it from getting on; and those that are over, as lists show them.
//!
//! What was reached stands in the store's journal; here is only what is lost without harm.

use std::{collections::BTreeMap, sync::Arc};

use cutline_client::RestoreView;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Restores that are over and remembered.
const OVER_MAX: usize = 10_000;

/// The restores of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Restores {
    running: Arc<Mutex<BTreeMap<String, Live>>>,
    over: Arc<Mutex<BTreeMap<String, RestoreView>>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Live {
    abort: Arc<watch::Sender<bool>>,
    obstacle: Arc<Mutex<Option<String>>>,
}

/// Takes it from the list when it is over.
#[derive(Debug)]
pub struct LiveGuard {
    restores: Restores,
    id: String,
    /// The restore.
    pub live: Live,
}

impl Restores {
    /// The restore `id` runs from now on; `None` when it runs already.
    #[must_use]
    pub fn begin(&self, id: &str) -> Option<LiveGuard> {
        let live = Live {
            abort: Arc::new(watch::Sender::new(false)),
            obstacle: Arc::default(),
        };
        let mut running = self.running.lock();
        if running.contains_key(id) {
            return None;
        }
        running.insert(id.to_owned(), live.clone());
        drop(running);
        Some(LiveGuard {
            restores: self.clone(),
            id: id.to_owned(),
            live,
        })
    }

    /// The restore `id`, when it runs here.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Live> {
        self.running.lock().get(id).cloned()
    }

    /// The restore `id` as a list shows it, when it is over and was looked at before.
    #[must_use]
    pub fn over(&self, id: &str) -> Option<RestoreView> {
        self.over.lock().get(id).cloned()
    }

    /// Remembers a restore that is over: it does not change any more.
    pub fn remember(&self, view: &RestoreView) {
        let mut over = self.over.lock();
        over.insert(view.id.clone(), view.clone());
        if over.len() > OVER_MAX {
            over.pop_first();
        }
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.restores.running.lock().remove(&self.id);
    }
}

impl Live {
    /// Asks it to be given up.
    pub fn abort(&self) {
        self.abort.send_replace(true);
    }

    /// True when it was asked to be given up.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        *self.abort.borrow()
    }

    /// Notes what keeps it from getting on.
    pub fn note(&self, obstacle: Option<String>) {
        *self.obstacle.lock() = obstacle;
    }

    /// What keeps it from getting on.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        self.obstacle.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_runs_once_at_a_time() {
        let restores = Restores::default();
        let guard = restores.begin("r").unwrap();
        assert!(restores.begin("r").is_none());
        restores.get("r").unwrap().abort();
        assert!(guard.live.is_aborted());
        drop(guard);
        assert!(restores.get("r").is_none());
        assert!(!restores.begin("r").unwrap().live.is_aborted());
    }
}
