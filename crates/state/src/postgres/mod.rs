//! Tables in PostgreSQL as state.
//!
//! Inside the pause one snapshot is exported and the tables are locked against being dropped or emptied: milliseconds,
//! whatever their size. Afterwards they are copied under that snapshot, several at a time, rows ordered by their key so
//! that what did not change gives the same bytes as before. A restore is one transaction: it empties, fills and reads
//! back every table, and commits only what is, byte for byte, what was recorded. No password is ever shown.

mod address;
mod catalog;
mod copy;
mod error;
mod fixed;
mod load;
mod name;
mod order;
mod passfile;
mod restore;
mod selection;
mod session;
mod triggers;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use cutline_model::{Guarantee, Scope};
use cutline_store::PartReader;
use tokio::sync::Mutex;

pub use error::PostgresError;

use crate::{Fixed, Provider, StateError, several::check_provider};
use address::Address;
use selection::Selection;
use session::Session;

/// The provider of `postgres://…`.
#[derive(Clone)]
pub struct Postgres {
    shared: Arc<Shared>,
}

/// What a provider and the snapshots it fixed have in common.
struct Shared {
    address: Address,
    selection: Selection,
    /// A session that waits for the next pause, so that nobody has to be let in during one.
    warm: Mutex<Option<Session>>,
}

impl Postgres {
    /// Reads `postgres://user:password@host:port/database?tables=a,b&schema=s&scope=service`.
    ///
    /// # Errors
    /// In words, never with what may be secret.
    pub fn parse(spec: &str) -> Result<(Self, Scope), String> {
        let parsed = address::parse(spec)?;
        let shared = Shared {
            address: parsed.address,
            selection: parsed.selection,
            warm: Mutex::new(None),
        };
        let shared = Arc::new(shared);
        Ok((Self { shared }, parsed.scope))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shared.address.shown();
        f.debug_tuple("Postgres").field(&shown).finish()
    }
}

#[async_trait]
impl Provider for Postgres {
    fn name(&self) -> &str {
        "postgres"
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Consistent
    }

    async fn probe(&self) -> Result<(), StateError> {
        match fixed::look(&self.shared).await {
            Ok(()) => Ok(()),
            // The application may bring its database or its tables up later than its sidecar starts.
            Err(error) if error.may_heal() => {
                tracing::warn!(%error, "no checkpoint succeeds until this is put right");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        Ok(Box::new(fixed::fix(&self.shared).await?))
    }

    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError> {
        check_provider(part, self.name())?;
        restore::restore(&self.shared, part).await
    }
}
