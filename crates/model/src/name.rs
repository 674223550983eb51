//! Names and numbers of the parties: services, instances, processes, groups, epochs.
//!
//! All are newtypes so that one can never stand in for another. They promise ordering and display, nothing more.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

text_name! {
    /// An application with zero or more consumer groups; it stays a participant at zero instances.
    ServiceName
}
text_name! {
    /// One running copy of a service, with its own sidecar. Unique within its service.
    InstanceName
}
text_name! {
    /// A Kafka consumer group.
    GroupId
}
text_name! {
    /// A Kafka topic's name.
    TopicName
}
text_name! {
    /// What a sidecar is new under at each start; two runs of one instance never share it.
    Incarnation
}
number! {
    /// One attempt at a checkpoint. It only grows and is never reused.
    Epoch
}
number! {
    /// The number of a membership: processes, sidecars with incarnations, groups with assignments, topology.
    View
}
number! {
    /// What a restore starts; taken by conditional create. Zero is the time before any restore.
    Timeline
}

/// One sidecar: the instance of a service that it stands beside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SidecarId {
    /// The service.
    pub service: ServiceName,
    /// Its instance.
    pub instance: InstanceName,
}

impl SidecarId {
    /// The sidecar of `instance` of `service`.
    pub fn new(service: impl Into<ServiceName>, instance: impl Into<InstanceName>) -> Self {
        Self {
            service: service.into(),
            instance: instance.into(),
        }
    }
}

impl fmt::Display for SidecarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.instance)
    }
}

/// The unit whose state is recorded at one point (Chandy and Lamport's process): an instance, or a whole service
/// when its instances share one database (`instance` is then `None`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The service.
    pub service: ServiceName,
    /// The instance, when the state is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}/{instance}", self.service),
            None => write!(f, "{}", self.service),
        }
    }
}
