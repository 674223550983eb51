//! Looks at the application's transactions where the proxy alone cannot know: those begun before this sidecar, and those
//! whose application is gone.
//!
//! Done while an epoch is prepared, outside any pause. What an answer means is the core's word.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cutline_control::ControlTopic;
use cutline_model::ServiceName;
use cutline_protocol::{Began, Inherited};
use cutline_wire::client::{Client, ClientError};
use kafka_protocol::ResponseError;
use tokio::sync::Mutex;

use crate::proxy::Decide;

/// The look at one sidecar's transactions.
pub struct Transactions {
    client: Client,
    control: Arc<ControlTopic>,
    service: ServiceName,
    core: Arc<Decide>,
    inherited: Mutex<Inherited>,
}

impl Transactions {
    /// For an application of `service`.
    #[must_use]
    pub fn new(
        client: Client,
        control: Arc<ControlTopic>,
        service: ServiceName,
        core: Arc<Decide>,
    ) -> Self {
        Self {
            client,
            control,
            service,
            core,
            inherited: Mutex::new(Inherited::default()),
        }
    }

    /// Says whether nothing stands against a checkpoint, as far as transactions go that the proxy did not see begin or end.
    ///
    /// # Errors
    /// What stands against it, in words.
    pub async fn check(&self) -> Result<(), String> {
        self.end_those_of_the_gone().await;
        let mut inherited = self.inherited.lock().await;
        let looked = if inherited.is_unknown() {
            self.look_first(&mut inherited).await
        } else {
            self.look_again(&mut inherited).await
        };
        looked.map_err(|error| format!("open transactions cannot be listed: {error}"))?;
        match inherited.first() {
            None => Ok(()),
            Some(id) => Err(format!(
                "a transaction of {id:?} was open when this sidecar started and still is: commit or abort it, or wait for its timeout"
            )),
        }
    }

    async fn look_first(&self, inherited: &mut Inherited) -> Result<(), ClientError> {
        let producers = {
            let state = self.control.state();
            let state = state.borrow();
            state
                .producers
                .get(&self.service)
                .cloned()
                .unwrap_or_default()
        };
        let mut open = BTreeMap::new();
        if let Some(id) = producers.values().flatten().next() {
            // The list leaves out what we may not see and does not say so; asked for one by its id, the broker does.
            self.began(id).await?;
            for (id, producer) in self.client.open_transactions().await? {
                if !producers.contains_key(&producer) {
                    continue;
                }
                if let Some(began) = self.began(&id).await? {
                    open.insert(id, began);
                }
            }
        }
        // Asked after the broker was: what began through this sidecar meanwhile is known here.
        let own = self
            .core
            .with(|process, _| process.outputs().open_transactions().clone());
        inherited.found(open, &own.unwrap_or_default());
        Ok(())
    }

    async fn look_again(&self, inherited: &mut Inherited) -> Result<(), ClientError> {
        for id in inherited.ids() {
            inherited.looked(&id, self.began(&id).await?);
        }
        Ok(())
    }

    /// An application that died within a transaction will not end it; the broker does, after its timeout.
    async fn end_those_of_the_gone(&self) {
        let left = self
            .core
            .with(|process, _| process.outputs().abandoned_transactions().cloned());
        let mut over = BTreeSet::new();
        for id in left.flatten().unwrap_or_default() {
            // What cannot be asked counts as open.
            if matches!(self.began(&id).await, Ok(None)) {
                over.insert(id);
            }
        }
        if !over.is_empty() {
            self.core
                .with(|process, now| process.handle_abandoned_ended(now, &over));
        }
    }

    /// When the open transaction of `id` began; `None` where there is none.
    async fn began(&self, id: &str) -> Result<Option<Began>, ClientError> {
        match self.client.describe_transaction(id).await {
            Ok(info) => Ok(info.is_open().then_some(info.began_ms)),
            // Expired and forgotten.
            Err(error) if error.kafka() == Some(ResponseError::TransactionalIdNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
