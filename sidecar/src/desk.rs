//! The desk of a sidecar: answers what the admin API asks outside an epoch, and passes on what is about one.
//!
//! No answer waits for another: what takes long is done aside. What an epoch's messages mean is the core's to know.

use std::sync::Arc;

use cutline_client::link::{Downlink, Uplink};
use cutline_model::{PartitionOffset, TopicPartition};
use cutline_state::Hook;
use cutline_telemetry::{About, Span};
use tokio::sync::mpsc;

use crate::{
    epoch::{StateKeeper, Told},
    link::LinkEvent,
    proxy::Decide,
};

/// What it answers from and through.
pub(crate) struct Desk {
    pub(crate) core: Arc<Decide>,
    pub(crate) states: Arc<StateKeeper>,
    pub(crate) hook: Option<Arc<Hook>>,
    pub(crate) uplink: mpsc::Sender<Uplink>,
    /// Messages of an epoch; `None` when the link was lost.
    pub(crate) messages: mpsc::Sender<Option<Told>>,
    /// True when this sidecar has a store of its own and needs not the admin API's.
    pub(crate) own_store: bool,
}

impl Desk {
    /// Until nobody hears it any more.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<LinkEvent>) {
        while let Some(event) = events.recv().await {
            let passed = match event {
                LinkEvent::Connected { store } => {
                    self.open(store);
                    Ok(())
                }
                LinkEvent::Lost => self.messages.send(None).await,
                LinkEvent::Message(Downlink::Epoch { message, trace }) => {
                    self.messages.send(Some(Told { message, trace })).await
                }
                LinkEvent::Message(message) => {
                    self.answer(message);
                    Ok(())
                }
            };
            if passed.is_err() {
                return;
            }
        }
    }

    /// Opens the store aside: one that does not answer must not hold up what the admin API says next.
    fn open(&self, store: String) {
        tracing::info!(store, "welcomed by the admin API");
        if self.own_store || !self.states.has_state() {
            return;
        }
        let states = Arc::clone(&self.states);
        tokio::spawn(async move {
            if let Err(error) = states.open_store(&store).await {
                tracing::error!(%error, store, "the store the admin API names cannot be used here; give --store");
            }
        });
    }

    fn answer(&self, message: Downlink) {
        let (uplink, states, hook) = (
            self.uplink.clone(),
            Arc::clone(&self.states),
            self.hook.clone(),
        );
        match message {
            Downlink::AskDelivered {
                request,
                partitions,
            } => {
                let ends = self.delivered(partitions);
                tokio::spawn(async move { uplink.send(Uplink::Delivered { request, ends }).await });
            }
            Downlink::RestoreState {
                request,
                epoch,
                part,
                trace,
            } => {
                let about = About {
                    epoch: Some(epoch.0),
                    restore: None,
                };
                let span = Span::under(trace.as_deref(), "put state back", about);
                tokio::spawn(async move {
                    let restored = span.clone().done_by(states.restore(&part)).await;
                    let restored = restored.map_err(|error| error.to_string());
                    span.within(|| match &restored {
                        Ok(()) => {
                            tracing::info!(%epoch, bytes = part.state_bytes, "state put back and verified")
                        }
                        Err(error) => tracing::error!(%epoch, error, "state not put back"),
                    });
                    uplink
                        .send(Uplink::Done {
                            request,
                            error: restored.err(),
                        })
                        .await
                });
            }
            Downlink::ResumeHook { request, trace } => {
                let caller = trace.as_deref().map_or_else(Span::none, Span::of_caller);
                tokio::spawn(async move {
                    let resumed = match hook {
                        Some(hook) => caller
                            .around(hook.resume())
                            .await
                            .map(|_| ())
                            .map_err(|error| error.to_string()),
                        None => Ok(()),
                    };
                    uplink
                        .send(Uplink::Done {
                            request,
                            error: resumed.err(),
                        })
                        .await
                });
            }
            Downlink::Welcome { .. } | Downlink::Refused { .. } | Downlink::Epoch { .. } => {}
        }
    }

    fn delivered(&self, partitions: Vec<TopicPartition>) -> Vec<PartitionOffset> {
        let ends = self.core.with(|process, _| {
            let known = partitions.into_iter().filter_map(|partition| {
                let offset = process.inputs().delivered_end(&partition)?;
                Some(PartitionOffset { partition, offset })
            });
            known.collect()
        });
        ends.unwrap_or_default()
    }
}
