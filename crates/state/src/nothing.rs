//! No state: the process is rebuilt from its input, or has none worth keeping.

use async_trait::async_trait;
use cutline_model::Guarantee;
use cutline_store::{PartReader, PartWriter};

use crate::{Fixed, Provider, StateError};

/// The provider of `none`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl Provider for Nothing {
    fn name(&self) -> &str {
        "none"
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::PositionsOnly
    }

    async fn probe(&self) -> Result<(), StateError> {
        Ok(())
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        Ok(Box::new(Self))
    }

    async fn restore(&self, _part: &mut PartReader) -> Result<(), StateError> {
        Ok(())
    }
}

#[async_trait]
impl Fixed for Nothing {
    async fn copy(self: Box<Self>, _part: &mut PartWriter) -> Result<(), StateError> {
        Ok(())
    }

    async fn discard(self: Box<Self>) -> Result<(), StateError> {
        Ok(())
    }
}
