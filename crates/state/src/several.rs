//! Several states of one process as one: each a section of the same part.

use std::sync::Arc;

use async_trait::async_trait;
use cutline_model::Guarantee;
use cutline_store::{PartReader, PartWriter};
use futures_util::future::try_join_all;

use crate::{Fixed, Provider, StateError};

/// The most states one process may have.
pub(crate) const STATES_MAX: usize = 16;

/// More than one state. They are fixed side by side and copied and restored one after another. All of the part is read and
/// verified before the first is touched, so that a damaged one leaves every state as it was.
#[derive(Clone, Debug)]
pub struct Several {
    name: String,
    providers: Vec<Arc<dyn Provider>>,
}

impl Several {
    /// These states, in this order: a part is restored by the same ones.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
        Self {
            name: names.join("+"),
            providers,
        }
    }

    fn sections(&self) -> impl Iterator<Item = (u32, &Arc<dyn Provider>)> {
        (0..).zip(&self.providers)
    }
}

#[async_trait]
impl Provider for Several {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Consistent
    }

    async fn probe(&self) -> Result<(), StateError> {
        for provider in &self.providers {
            provider.probe().await?;
        }
        Ok(())
    }

    async fn fix(&self) -> Result<Box<dyn Fixed>, StateError> {
        let fixed = try_join_all(self.providers.iter().map(|provider| provider.fix())).await?;
        Ok(Box::new(AllFixed(fixed)))
    }

    async fn restore(&self, part: &mut PartReader) -> Result<(), StateError> {
        if part.provider() != self.name {
            let (found, wanted) = (part.provider().to_owned(), self.name.clone());
            return Err(StateError::OtherProvider { found, wanted });
        }
        for (section, _) in self.sections() {
            part.set_section(section);
            while part.next_entry().await?.is_some() {
                while part.read().await?.is_some() {}
            }
        }
        for (section, provider) in self.sections() {
            part.set_section(section);
            provider.restore(part).await?;
        }
        Ok(())
    }
}

struct AllFixed(Vec<Box<dyn Fixed>>);

#[async_trait]
impl Fixed for AllFixed {
    async fn copy(self: Box<Self>, part: &mut PartWriter) -> Result<(), StateError> {
        for (section, fixed) in (0..).zip(self.0) {
            part.set_section(section);
            fixed.copy(part).await?;
        }
        Ok(())
    }

    async fn discard(self: Box<Self>) -> Result<(), StateError> {
        for fixed in self.0 {
            fixed.discard().await?;
        }
        Ok(())
    }
}

/// Fails unless the section of `part` that is to be read was made by `wanted`.
pub(crate) fn check_provider(part: &PartReader, wanted: &str) -> Result<(), StateError> {
    let made_by = part.provider().split('+').nth(part.section() as usize);
    match made_by == Some(wanted) {
        true => Ok(()),
        false => Err(StateError::OtherProvider {
            found: part.provider().to_owned(),
            wanted: wanted.to_owned(),
        }),
    }
}
