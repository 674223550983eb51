//! The control topic `__cutline.<deployment>`: one partition, compacted, what every safety decision on the data path rests on
//! (1-protocol: interposition).
//!
//! [`Record`] is what is written, [`ControlState`] what it all comes to, [`ControlTopic`] the connection that appends, tails
//! and says how fresh it is. Nothing here decides: who may write what, and what follows from it, is the callers'.

mod librdkafka;
mod record;
mod state;
mod topic;

pub use librdkafka::{Librdkafka, config};
pub use record::{Fence, Hold, Masked, Record, RecordError, Registered, topic_name};
pub use state::{ControlState, SidecarEntry};
pub use topic::{ControlError, ControlOptions, ControlTopic};
