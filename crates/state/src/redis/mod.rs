//! Keys of a Redis as state: those under a prefix, of every type, with their expiry.
//!
//! They are copied while the application is paused. Redis has no snapshot that a client could read later without
//! administering the server, so the pause grows with the state. It is shown as the checkpoint's `sync_ms`, limited, and
//! what does not fit is refused with the way out named. Writers outside the pause are noticed. Expiry continues from the
//! cut: what a key had left then it has after a restore.
//!
//! Not kept: how recently or often a key was used, functions, scripts and subscriptions.

mod address;
mod error;
mod keys;
mod link;
mod put;
mod record;
mod spool;
mod take;
mod value;

use async_trait::async_trait;
use cutline_model::{Guarantee, Scope};
use cutline_store::PartReader;

use crate::{Fixed, Provider, StateError, several::check_provider};
use address::Address;
pub use error::RedisError;
use keys::{Look, Scan};
use link::Link;

/// The provider of `redis:`.
#[derive(Clone, Debug)]
pub struct RedisState {
    address: Address,
}

impl RedisState {
    /// Reads `redis://[user[:password]@]host[:port]/[db]` and the options `prefix=…&scope=…`, where the prefix `*` is the
    /// whole database.
    ///
    /// # Errors
    /// In words, which repeat no secret.
    pub fn parse(body: &str, query: &str) -> Result<(Self, Scope), String> {
        let (address, scope) = Address::parse(body, query)?;
        Ok((Self { address }, scope))
    }

    async fn look(&self) -> Result<(), RedisError> {
        let link = Link::open(&self.address).await?;
        // All that a checkpoint needs is tried now, so that a missing permission is known before the first one.
        link.watch().await?;
        link.changed().await?;
        link.now_ms().await?;
        Look::at(&link, &[self.address.keys.prefix().into()])
            .next()
            .await?;
        let mut scan = Scan::default();
        let mut count = 0;
        while let Some(keys) = scan.next(&link, &self.address.keys).await? {
            count += keys.len();
            if count > take::KEYS_MAX {
                tracing::warn!(
                    server = self.address.server,
                    limit = take::KEYS_MAX,
                    "more keys than can be copied in a pause: checkpoints will fail"
                );
                break;
            }
        }
        tracing::info!(
            server = self.address.server,
            keys = count,
            "keys that checkpoints copy while the application is paused"
        );
        if let Some(policy) = &link.server.eviction {
            tracing::warn!(
                server = self.address.server,
                policy,
                "this Redis evicts keys when it is full; what it evicts is in no checkpoint"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Provider for RedisState {
    fn name(&self) -> &str {
        "redis"
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Consistent
    }

    async fn probe(&self) -> Result<(), StateError> {
        match self.look().await {
            // It may start after the sidecar.
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "redis cannot be looked at yet; checkpoints fail until it can");
                Ok(())
            }
            looked => looked.map_err(StateError::from),
        }
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        Ok(Box::new(take::take(&self.address).await?))
    }

    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError> {
        check_provider(part, self.name())?;
        put::restore(&self.address, part).await
    }
}
