//! Providers: how the state of an application is captured and put back, and the hook that pauses it.
//!
//! A [`Provider`] fixes the state within the pause, copies it into a part of the store afterwards, and restores it in
//! place. [`Hook`] is the application's own side of it over HTTP. The crate knows nothing of Kafka but the offsets a hook
//! names, and nothing of epochs.

mod directory;
mod error;
mod glob;
mod hook;
mod hook_state;
mod nothing;
mod pattern;
mod postgres;
mod provider;
mod redis;
mod scan;
mod several;
mod spec;
mod staging;
mod unpack;

pub use directory::Directory;
pub use error::StateError;
pub use hook::{Hook, HookLimits, SnapshotStream};
pub use hook_state::HookState;
pub use nothing::Nothing;
pub use pattern::Pattern;
pub use postgres::{Postgres, PostgresError};
pub use provider::{Fixed, Provider};
pub use redis::{RedisError, RedisState};
pub use several::Several;
pub use spec::{StateSpec, parse_state_spec, parse_state_specs};
