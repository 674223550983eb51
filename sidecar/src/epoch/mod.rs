//! The epoch's shell: everything the process core asks for, carried out on Kafka, the hook, the state and the store.
//!
//! It holds no rule: a turn waits for one thing, feeds one input, drains the core's queue, and starts whatever that asked
//! for. Each thing started reports back as an input, so the core never waits for any of them.

mod breakers;
mod look;
mod mark;
mod shell;
mod states;
mod trace;
mod transactions;

pub use breakers::Breakers;
pub use mark::Markers;
pub use shell::{Shell, ShellParts, Told};
pub use states::{StateKeeper, StatesError};
pub use transactions::Transactions;
