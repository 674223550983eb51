//! The way back (1-protocol §6), decided without I/O: whether a restore may be, what it does, and its next step.
//!
//! [`plan`] judges [`Facts`] that a shell gathered and answers a [`Plan`] or every [`Problem`] it found. [`Journal`] says
//! what was done and what comes next, so that whoever goes on after a crash goes on alike. [`masks_of`] is the arithmetic
//! of what a restored world must not see; it is asked twice: for the plan up to the present end, and for good up to the
//! fence markers. Nothing here knows how a fence is written or a state put back.

mod check;
mod facts;
mod journal;
mod plan;
mod problem;
mod reach;
#[cfg(test)]
mod sample;
mod step;
mod table;

pub use facts::{Facts, GroupNow, MemberNow, PartitionNow, SidecarNow, TopicNow, Writers};
pub use journal::{Journal, OutOfOrder, Resumption};
pub use plan::{GroupTarget, Plan, StateTarget, group_targets, plan};
pub use problem::{Notice, Problem};
pub use reach::{Contamination, LIST_BYTES_MAX, changed, contaminated, holds, masks_of, scan_from};
pub use step::{Entry, Repairs, Step};
pub use table::{LAG_MARGIN_MS, Repair, Row, Seen, TableNow, repairs, touched_tables};
