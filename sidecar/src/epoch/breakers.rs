//! Whether this sidecar's part of a checkpoint could be had at all: the breakers of its store, its providers and its hook.
//!
//! Asked before an epoch is prepared, so that no application is held for an epoch that cannot be stored. The store and the
//! providers are tried aside when it is time to; a hook has nothing to be tried with but the next epoch.

use std::sync::Arc;

use cutline_breaker::{Breaker, Standing};
use cutline_store::StoreBreakers;

use super::{StateKeeper, StatesError};

/// The breakers of one sidecar. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Breakers {
    /// The store's.
    pub store: StoreBreakers,
    /// Of whole copies into the store: on a full disk something small can still be written.
    pub copies: Arc<Breaker>,
    /// The providers'.
    pub provider: Arc<Breaker>,
    /// The hook's.
    pub hook: Arc<Breaker>,
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            store: StoreBreakers::default(),
            copies: Arc::new(Breaker::new("writing to the store")),
            provider: Arc::new(Breaker::new("fixing or copying the state")),
            hook: Arc::new(Breaker::new("the hook")),
        }
    }
}

impl Breakers {
    /// How each stands, by the word that metrics have for it.
    #[must_use]
    pub fn standings(&self) -> [(&'static str, Standing); 3] {
        let store = match self.copies.standing() {
            Standing::Closed => self.store.standing(),
            not_closed => not_closed,
        };
        [
            ("store", store),
            ("provider", self.provider.standing()),
            ("hook", self.hook.standing()),
        ]
    }

    /// True when there is nothing to find out.
    #[must_use]
    pub fn are_closed(&self) -> bool {
        let mut all = self.standings().into_iter();
        all.all(|(_, standing)| standing == Standing::Closed)
    }

    /// Nothing when an epoch may begin. Whatever has been open for long enough is tried now.
    ///
    /// # Errors
    /// What stands against it, for people.
    pub async fn check(&self, states: &StateKeeper) -> Result<(), String> {
        // What nothing but the next epoch can try.
        for breaker in [&self.hook, &self.copies] {
            if breaker.standing() == Standing::Open
                && let Err(open) = breaker.ask()
            {
                return Err(open.to_string());
            }
        }
        if states.has_state() && self.provider.standing() != Standing::Closed {
            let permit = self.provider.ask().map_err(|open| open.to_string())?;
            match states.probe().await {
                Ok(()) => permit.succeeded(),
                Err(error) => {
                    permit.failed(&error);
                    return Err(error.to_string());
                }
            }
        }
        if states.has_state() && self.store.standing() != Standing::Closed {
            let checked = states.check_store().await;
            checked.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The state was fixed or copied, or was not: takes note of what that tells of the providers and of the store.
    pub fn note_state<T>(&self, done: &Result<T, StatesError>) {
        if let Ok(permit) = self.provider.ask() {
            match done {
                Ok(_) => permit.succeeded(),
                Err(StatesError::State(error)) => permit.failed(error),
                Err(_) => {}
            }
        }
        if let Ok(permit) = self.copies.ask() {
            match done {
                Ok(_) => permit.succeeded(),
                Err(StatesError::Store(error)) if error.is_outage() => permit.failed(error),
                Err(_) => {}
            }
        }
    }

    /// The hook answered, or did not.
    pub fn note_hook<T>(&self, done: &Result<T, String>) {
        let Ok(permit) = self.hook.ask() else { return };
        match done {
            Ok(_) => permit.succeeded(),
            Err(why) => permit.failed(why),
        }
    }
}
