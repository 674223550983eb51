//! What can go wrong while a restore is planned or carried out.
//!
//! Before any state is touched an error ends the restore; afterwards the same error is only a reason to try again.

use std::{collections::BTreeSet, time::Duration};

use cutline_control::ControlError;
use cutline_model::{GroupId, SidecarId, TopicPartition};
use cutline_protocol::restore;
use cutline_store::StoreError;
use cutline_wire::{client::ClientError, marker::MarkerError};

use crate::{
    problem::{Code, INTERNAL, Problem},
    registry::LinkError,
    table::TableError,
};

/// A restore does not stand against these problems.
pub const NOT_FEASIBLE: Code = Code::new("CL0320", 409, "the restore cannot be done");
/// There is no such restore.
pub const NO_RESTORE: Code = Code::new("CL0321", 404, "no such restore");
/// State was touched already.
pub const TOO_LATE: Code = Code::new("CL0322", 409, "the restore can only go on");
/// The services could not be made to stand still.
pub const NOT_QUIET: Code = Code::new("CL0323", 409, "a service does not stand still");
/// A sidecar does not follow.
pub const NOT_FOLLOWED: Code = Code::new("CL0324", 409, "a sidecar does not follow");
/// A group does not become empty, or does not take its offsets.
pub const GROUP: Code = Code::new("CL0325", 409, "a group cannot be put back");

/// Why a step of a restore was not done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The plan does not hold.
    #[error("{}", list(.0))]
    NotFeasible(Vec<restore::Problem>),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] ClientError),
    /// The control topic.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fence marker, or what is appended to a table.
    #[error("a transaction of our own could not be written: {0}")]
    Marker(#[from] MarkerError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A sidecar.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The services do not stand still, or did not stay so.
    #[error(
        "the services could not be made to stand still: {0}; where an application hangs or has work in memory, stop it, leave its sidecar up, and restore again"
    )]
    NotQuiet(String),
    /// Sidecars have not applied a record.
    #[error(
        "{} did not acknowledge {what} within {waited:?}; see that they run and reach Kafka and this admin API, or evict them",
        names(.missing)
    )]
    NotApplied {
        /// What was to be applied.
        what: &'static str,
        /// Who has not.
        missing: BTreeSet<SidecarId>,
        /// How long they were given.
        waited: Duration,
    },
    /// A group has members still, or again.
    #[error(
        "the group {group} still has members ({members}) although its service is fenced; stop whoever they are, they are behind no sidecar"
    )]
    NotEmpty {
        /// Which.
        group: GroupId,
        /// Their ids.
        members: String,
    },
    /// What was committed is not what is read back.
    #[error("{group} has {found} on {partition} where {wanted} was committed")]
    OffsetsDiffer {
        /// Which group.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
        /// What it should have.
        wanted: String,
        /// What it has.
        found: String,
    },
    /// A group of the restored services joined after the plan was made.
    #[error("the group {0} began while the restore was prepared; run the restore again")]
    GroupSince(GroupId),
    /// A topic of the restored services became a table after the plan was made.
    #[error("a topic was made compacted while the restore was prepared; run the restore again")]
    TableSince,
    /// The user ended it.
    #[error("aborted on request")]
    Aborted,
    /// This admin API does not lead any more.
    #[error("another admin API leads now and goes on with this restore")]
    NotLeading,
    /// The journal is not this version's, or contradicts itself.
    #[error("the journal of this restore cannot be followed: {0}")]
    Journal(String),
}

impl RestoreError {
    /// As the REST interface answers it.
    #[must_use]
    pub fn problem(self) -> Problem {
        let detail = self.to_string();
        match self {
            Self::Store(error) => error.into(),
            Self::Kafka(error) => error.into(),
            Self::Control(error) => error.into(),
            Self::NotFeasible(_) => Problem::new(NOT_FEASIBLE, detail),
            Self::NotQuiet(_) => Problem::new(NOT_QUIET, detail),
            Self::Link(_) | Self::NotApplied { .. } => Problem::new(NOT_FOLLOWED, detail),
            Self::NotEmpty { .. }
            | Self::OffsetsDiffer { .. }
            | Self::GroupSince(_)
            | Self::TableSince => Problem::new(GROUP, detail),
            Self::Table(TableError::Kafka(error)) => error.into(),
            Self::Table(TableError::Store(error)) => error.into(),
            Self::Table(_) => Problem::new(INTERNAL, detail),
            Self::Marker(_) => Problem::new(crate::problem::KAFKA, detail),
            Self::Aborted | Self::NotLeading | Self::Journal(_) => Problem::new(INTERNAL, detail),
        }
    }
}

fn list(problems: &[restore::Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{} {problem}", problem.code()))
        .collect();
    lines.join("; ")
}

fn names(sidecars: &BTreeSet<SidecarId>) -> String {
    let names: Vec<String> = sidecars.iter().map(ToString::to_string).collect();
    names.join(", ")
}
