//! The state of this sidecar's process: fixed inside the pause, copied to the store afterwards, put back when fenced.
//!
//! A process may have several states; each is a section of its part, in the order they were given. The store is opened
//! when it is known where it is, and stays open.

use std::sync::Arc;

use cutline_model::{Epoch, Guarantee, PartRef, ProcessId};
use cutline_state::{Fixed, Provider, StateError};
use cutline_store::{Repository, StoreError, StoreSpec};
use tokio::sync::Mutex;

/// Why state could not be fixed, stored or put back.
#[derive(Debug, thiserror::Error)]
pub enum StatesError {
    /// A provider.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody has said where the store is.
    #[error(
        "the store is not known yet: the admin API has not been reached, and no --store was given"
    )]
    NoStore,
    /// The text that names a store is not one.
    #[error("the store {0:?} is not usable: {1}")]
    BadStore(String, String),
    /// Nothing is fixed for this epoch.
    #[error("no state is fixed for epoch {0}")]
    NothingFixed(Epoch),
}

/// What was fixed, waiting to be copied.
struct Fixture {
    epoch: Epoch,
    states: Vec<Box<dyn Fixed>>,
}

/// The states of one process.
pub struct StateKeeper {
    process: ProcessId,
    providers: Vec<Arc<dyn Provider>>,
    fixture: Mutex<Option<Fixture>>,
    repository: Mutex<Option<(String, Arc<Repository>)>>,
}

impl StateKeeper {
    /// Keeps the states of `process`; those that have nothing to record are left out.
    #[must_use]
    pub fn new(process: ProcessId, providers: Vec<Arc<dyn Provider>>) -> Self {
        let recorded =
            |provider: &Arc<dyn Provider>| provider.guarantee() != Guarantee::PositionsOnly;
        let providers = providers.into_iter().filter(recorded).collect();
        Self {
            process,
            providers,
            fixture: Mutex::new(None),
            repository: Mutex::new(None),
        }
    }

    /// True when there is anything to record.
    #[must_use]
    pub fn has_state(&self) -> bool {
        !self.providers.is_empty()
    }

    /// The providers' names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.providers
            .iter()
            .map(|provider| provider.name().to_owned())
            .collect()
    }

    /// Looks whether every state can be captured, and removes what an earlier run left.
    ///
    /// # Errors
    /// Names the provider and what is wrong with it.
    pub async fn probe(&self) -> Result<(), StatesError> {
        for provider in &self.providers {
            provider.probe().await?;
        }
        Ok(())
    }

    /// Opens the store at `spec`, unless it is the one that is open.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_store(&self, spec: &str) -> Result<(), StatesError> {
        let mut open = self.repository.lock().await;
        if open.as_ref().is_some_and(|(known, _)| known == spec) {
            return Ok(());
        }
        let parsed: StoreSpec = spec.parse().map_err(|error: StoreError| {
            StatesError::BadStore(spec.to_owned(), error.to_string())
        })?;
        let repository = Repository::open(parsed.open().await?).await?;
        *open = Some((spec.to_owned(), Arc::new(repository)));
        Ok(())
    }

    /// Fixes every state as it is now.
    ///
    /// # Errors
    /// When one of them cannot be fixed; then none is.
    pub async fn fix(&self, epoch: Epoch) -> Result<(), StatesError> {
        self.discard_all().await;
        let mut states = Vec::with_capacity(self.providers.len());
        for provider in &self.providers {
            states.push(provider.fix().await?);
        }
        *self.fixture.lock().await = Some(Fixture { epoch, states });
        Ok(())
    }

    /// Copies what was fixed for `epoch` into the store and lets go of it.
    ///
    /// # Errors
    /// When nothing is fixed, or a copy or the store fails.
    pub async fn store(&self, epoch: Epoch) -> Result<PartRef, StatesError> {
        let fixture = self
            .fixture
            .lock()
            .await
            .take()
            .filter(|fixture| fixture.epoch == epoch);
        let fixture = fixture.ok_or(StatesError::NothingFixed(epoch))?;
        let repository = self.repository().await?;
        let provider = self.names().join("+");
        let mut part = repository
            .part_writer(epoch, &self.process, &provider)
            .await?;
        for (section, state) in (0..).zip(fixture.states) {
            part.set_section(section);
            state.copy(&mut part).await?;
        }
        Ok(part.finish().await?)
    }

    /// Lets go of what was fixed for `epoch`.
    pub async fn discard(&self, epoch: Epoch) {
        let fixed = self
            .fixture
            .lock()
            .await
            .as_ref()
            .map(|fixture| fixture.epoch);
        if fixed == Some(epoch) {
            self.discard_all().await;
        }
    }

    async fn discard_all(&self) {
        let Some(fixture) = self.fixture.lock().await.take() else {
            return;
        };
        for state in fixture.states {
            if let Err(error) = state.discard().await {
                tracing::warn!(%error, "fixed state left behind; it is removed at the next start");
            }
        }
    }

    /// Puts every state back as it is in `part`, verified.
    ///
    /// # Errors
    /// Names what is missing, altered or in the way.
    pub async fn restore(&self, part: &PartRef) -> Result<(), StatesError> {
        let mut reader = self.repository().await?.part_reader(part).await?;
        for (section, provider) in (0..).zip(&self.providers) {
            reader.set_section(section);
            provider.restore(&mut reader).await?;
        }
        Ok(())
    }

    async fn repository(&self) -> Result<Arc<Repository>, StatesError> {
        let open = self.repository.lock().await;
        open.as_ref()
            .map(|(_, repository)| Arc::clone(repository))
            .ok_or(StatesError::NoStore)
    }
}
