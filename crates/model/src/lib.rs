//! The shared words of Cutline: names, numbers and ranges that every other crate speaks with.
//!
//! Nothing here does I/O, knows time or holds a rule of the protocol. Types that are sent or stored derive serde;
//! their JSON form is part of the wire between sidecar and admin API and of the manifest, so it changes only with a version.

mod marker;
mod message;
mod mode;
mod name;
mod offset;
mod range;

pub use marker::MarkerId;
pub use message::{
    Closing, FromSidecar, GroupMembers, InputPartition, Limits, PartRef, PartitionOffset,
    PartitionRanges, Position, PreparedSidecar, Purpose, Report, Role, Timings, ToSidecar,
};
pub use mode::{Capture, Guarantee, Mode, Scope};
pub use name::{
    Epoch, GroupId, Incarnation, InstanceName, ProcessId, ServiceName, SidecarId, Timeline,
    TopicName, View,
};
pub use offset::{Offset, TopicPartition};
pub use range::{OffsetRange, RangeSet};
