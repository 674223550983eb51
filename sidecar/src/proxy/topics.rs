//! The names of topics that requests call by id.
//!
//! Learned from every metadata response that passes; what is not known is asked of the cluster by whoever has a client.

use std::{collections::HashMap, sync::Arc};

use cutline_model::TopicName;
use cutline_wire::fetch::TopicKey;
use kafka_protocol::messages::MetadataResponse;
use parking_lot::RwLock;

/// Topic ids remembered; a cluster has fewer topics than this.
pub const TOPICS_MAX: usize = 200_000;

/// Topic names by id.
#[derive(Debug, Default)]
pub struct Topics(RwLock<HashMap<[u8; 16], TopicName>>);

impl Topics {
    /// Remembers one topic.
    pub fn learn(&self, id: [u8; 16], name: &TopicName) {
        let known = self.0.read().get(&id).is_some_and(|known| known == name);
        if known || id == [0; 16] {
            return;
        }
        let mut topics = self.0.write();
        if topics.len() < TOPICS_MAX {
            topics.insert(id, name.clone());
        }
    }

    /// Remembers what a metadata response says.
    pub fn learn_all(&self, response: &MetadataResponse) {
        for topic in &response.topics {
            if let Some(name) = &topic.name {
                self.learn(topic.topic_id.into_bytes(), &TopicName::from(name.as_str()));
            }
        }
    }

    /// The topic's name, if it is known.
    #[must_use]
    pub fn name(&self, key: &TopicKey) -> Option<TopicName> {
        match key {
            TopicKey::Name(name) => Some(TopicName::from(&**name)),
            TopicKey::Id(id) => self.0.read().get(id).cloned(),
        }
    }
}

/// Shared between all connections.
pub type SharedTopics = Arc<Topics>;
