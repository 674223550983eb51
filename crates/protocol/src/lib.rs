//! The protocol of Cutline without any I/O: decisions only.
//!
//! A shell (the sidecar, the admin API, the simulation) feeds inputs and carries out outputs. The contract, as with quinn-proto:
//!
//! - `handle_*` takes one input and, where time matters, the current [`Moment`]; it never blocks and never fails on
//!   input that is merely late, doubled or out of order.
//! - `poll_output` is drained until `None` after each input; `poll_timeout` says when [`Process::handle_timeout`] or
//!   [`Coordinator::handle_timeout`] wants to be called.
//! - Nothing here reads a clock, a socket or randomness, spawns, or iterates over a hash map: the same inputs give the
//!   same outputs, which is what the seeded simulation in `tests/` rests on.
//!
//! Where things are: [`Process`] is one sidecar's part of a process in one epoch, including what it decides on the data
//! path ([`input`](Inputs), [`output`](Outputs)); [`Coordinator`] is one epoch over all of them; [`Cut`] is what they
//! agreed on and the arithmetic that a manifest must satisfy; [`mask`] and [`restore`] are the way back.
//!
//! Why the cut is consistent is argued in `docs/protocol.md`; each rule has a test of its name in `tests/paper.rs`.

mod batch;
mod coordinator;
mod cut;
mod inherited;
mod input;
pub mod mask;
mod moment;
mod output;
mod process;
pub mod restore;
mod rules;
mod topology;

pub use batch::{Batch, Control, Delivery, Verdict};
pub use coordinator::{
    Coordinator, CoordinatorConfig, CoordinatorOutput, EpochOutcome, IdleOffsets, IdleService,
    ManifestAnswer, Registration, ViewSnapshot,
};
pub use cut::{Cut, End, ProcessPart, SidecarPart, Violation};
pub use inherited::{Began, Inherited};
pub use input::{Aborted, ConnId, Finished, Inputs};
pub use moment::Moment;
pub use output::{Admission, Outputs, ProduceAnswer, ProduceIntent, Ticket};
pub use process::{Committed, MarkPair, Process, ProcessConfig, ProcessOutput};
pub use rules::Rules;
pub use topology::{GroupAssignment, MemberAssignment, Topology};
