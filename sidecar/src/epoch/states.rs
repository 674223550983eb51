//! The state of this sidecar's process: fixed inside the pause, copied to the store afterwards, put back when fenced.
//!
//! A process has one provider, which may stand for several states. The store is opened when it is known where it is, and
//! stays open.

use std::sync::Arc;

use cutline_model::{Epoch, Guarantee, PartRef, ProcessId};
use cutline_state::{Fixed, Provider, StateError};
use cutline_store::{Observed, Repository, StoreBreakers, StoreError, StoreSpec, Watch};
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
    state: Box<dyn Fixed>,
}

/// The state of one process.
pub struct StateKeeper {
    process: ProcessId,
    provider: Arc<dyn Provider>,
    fixture: Mutex<Option<Fixture>>,
    store: Mutex<Store>,
}

/// The store that was named, and its repository once it could be opened.
struct Store {
    watch: Watch,
    spec: Option<String>,
    repository: Option<Arc<Repository>>,
    breakers: StoreBreakers,
}

impl StateKeeper {
    /// Keeps the state of `process` in a store behind `breakers`; `watch` is told of every request to it.
    #[must_use]
    pub fn new(
        process: ProcessId,
        provider: Arc<dyn Provider>,
        watch: Watch,
        breakers: StoreBreakers,
    ) -> Self {
        let store = Store {
            watch,
            spec: None,
            repository: None,
            breakers,
        };
        Self {
            process,
            provider,
            fixture: Mutex::new(None),
            store: Mutex::new(store),
        }
    }

    /// True when there is anything to record.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.provider.guarantee() != Guarantee::PositionsOnly
    }

    /// The names of the kinds of state there are.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self.has_state() {
            true => self.provider.name().split('+').map(str::to_owned).collect(),
            false => Vec::new(),
        }
    }

    /// Looks whether the state can be captured, and removes what an earlier run left.
    ///
    /// # Errors
    /// Names the state and what is wrong with it.
    pub async fn probe(&self) -> Result<(), StatesError> {
        Ok(self.provider.probe().await?)
    }

    /// Opens the store at `spec`, unless it is the one that is open. One that cannot be opened now is tried again when it
    /// is needed.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_store(&self, spec: &str) -> Result<(), StatesError> {
        let mut store = self.store.lock().await;
        if store.spec.as_deref() != Some(spec) {
            store.spec = Some(spec.to_owned());
            store.repository = None;
        }
        store.open().await.map(|_| ())
    }

    /// Looks whether the store takes anything.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check_store(&self) -> Result<(), StatesError> {
        Ok(self.repository().await?.check_writable().await?)
    }

    /// Fixes the state as it is now.
    ///
    /// # Errors
    /// When it cannot be fixed.
    pub async fn fix(&self, epoch: Epoch) -> Result<(), StatesError> {
        self.discard_all().await;
        let state = self.provider.fix().await?;
        *self.fixture.lock().await = Some(Fixture { epoch, state });
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
        let mut part = repository
            .part_writer(epoch, &self.process, self.provider.name())
            .await?;
        fixture.state.copy(&mut part).await?;
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
        if let Err(error) = fixture.state.discard().await {
            tracing::warn!(%error, "fixed state left behind; it is removed at the next start");
        }
    }

    /// Puts the state back as it is in `part`, verified.
    ///
    /// # Errors
    /// Names what is missing, altered or in the way.
    pub async fn restore(&self, part: &PartRef) -> Result<(), StatesError> {
        let mut reader = self.repository().await?.part_reader(part).await?;
        self.provider.restore(&mut reader).await?;
        cutline_crash::here("put the state back");
        Ok(())
    }

    async fn repository(&self) -> Result<Arc<Repository>, StatesError> {
        self.store.lock().await.open().await
    }
}

impl Store {
    async fn open(&mut self) -> Result<Arc<Repository>, StatesError> {
        if let Some(repository) = &self.repository {
            return Ok(Arc::clone(repository));
        }
        let spec = self.spec.as_deref().ok_or(StatesError::NoStore)?;
        let parsed: StoreSpec = spec.parse().map_err(|error: StoreError| {
            StatesError::BadStore(spec.to_owned(), error.to_string())
        })?;
        let objects = Observed::over(parsed.open().await?, Arc::clone(&self.watch));
        let objects = self.breakers.over(objects);
        let repository = Arc::new(Repository::open(objects).await?);
        self.repository = Some(Arc::clone(&repository));
        Ok(repository)
    }
}
