//! The contract between a sidecar and whatever holds its application's state.
//!
//! A provider fixes the state inside the pause, copies what it fixed afterwards, and puts a copy back in place. What a
//! state means it does not know.

use std::fmt;

use async_trait::async_trait;
use cutline_model::Guarantee;
use cutline_store::{PartReader, PartWriter};

use crate::StateError;

/// Captures the state of one process and puts it back.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// The name a part carries, so that only the same kind restores it.
    fn name(&self) -> &str;

    /// What a part of this provider is good for. [`Guarantee::PositionsOnly`]: there is no state, store no part.
    fn guarantee(&self) -> Guarantee;

    /// Looks, at start, whether the state can be captured at all, and removes what a run before left behind.
    async fn probe(&self) -> Result<(), StateError>;

    /// Fixes the state as it is now. The application is paused meanwhile: short, and nothing may wait for the store.
    /// Dropping the future leaves at most what [`probe`](Self::probe) removes.
    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError>;

    /// Replaces the state in place by the one in `part` and verifies it. The application is fenced meanwhile. Nothing is
    /// changed for good before all of `part` was read and verified (a database's transaction does as well as reading it
    /// beforehand); broken off, it is repaired by doing it again.
    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError>;
}

/// State as it was at one point, while the application goes on. Dropping it is discarding it, as far as that can be
/// done without waiting.
#[async_trait]
pub trait Fixed: Send {
    /// Streams the state into a part and lets go of it, also when that fails.
    async fn copy(self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError>;

    /// Lets go of it.
    async fn discard(self: Box<Self>) -> Result<(), StateError>;
}
