//! The right that a request needs, for whoever has to grant it.

use std::fmt;

use cutline_model::{GroupId, TopicName};
use kafka_protocol::ResponseError;

/// One right, as Kafka's ACLs spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// The operation.
    pub operation: &'static str,
    /// On what.
    pub resource: Resource,
}

/// What a right is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A group.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
    /// The cluster.
    Cluster,
}

impl Acl {
    /// On a topic.
    pub fn topic(operation: &'static str, topic: &TopicName) -> Self {
        Self::on(operation, Resource::Topic(topic.to_string()))
    }

    /// On a group.
    pub fn group(operation: &'static str, group: &GroupId) -> Self {
        Self::on(operation, Resource::Group(group.to_string()))
    }

    /// On a transactional id.
    pub fn transactional_id(operation: &'static str, id: &str) -> Self {
        Self::on(operation, Resource::TransactionalId(id.to_owned()))
    }

    /// On the cluster.
    #[must_use]
    pub fn cluster(operation: &'static str) -> Self {
        Self::on(operation, Resource::Cluster)
    }

    fn on(operation: &'static str, resource: Resource) -> Self {
        Self {
            operation,
            resource,
        }
    }

    /// True when a broker says with `error` that this right is missing.
    #[must_use]
    pub fn is_missed_by(&self, error: ResponseError) -> bool {
        let missed = match self.resource {
            Resource::Topic(_) => ResponseError::TopicAuthorizationFailed,
            Resource::Group(_) => ResponseError::GroupAuthorizationFailed,
            Resource::TransactionalId(_) => ResponseError::TransactionalIdAuthorizationFailed,
            Resource::Cluster => ResponseError::ClusterAuthorizationFailed,
        };
        error == missed
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation;
        match &self.resource {
            Resource::Topic(name) => write!(f, "{operation} on topic {name}"),
            Resource::Group(name) => write!(f, "{operation} on group {name}"),
            Resource::TransactionalId(id) => write!(f, "{operation} on transactional id {id}"),
            Resource::Cluster => write!(f, "{operation} on the cluster"),
        }
    }
}
