//! Why a restore may not be, and what its user has to know although it may.
//!
//! Data, each with a stable code and a sentence that says what to do: how it is shown is a shell's business.

use cutline_model::{
    GroupId, InstanceName, Offset, ProcessId, Scope, ServiceName, SidecarId, TopicName,
    TopicPartition,
};

use super::Contamination;

/// Why a restore may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing was asked for.
    #[error("no service is to be restored: name at least one that the checkpoint has")]
    Nothing,
    /// The checkpoint does not know the service.
    #[error(
        "the checkpoint has no service {0}: leave it out, or use a checkpoint taken since it exists"
    )]
    UnknownService(ServiceName),
    /// The checkpoint is of another cluster.
    #[error(
        "the checkpoint was taken on Kafka cluster {was}, this is {is}: restore where it was taken"
    )]
    OtherCluster {
        /// The checkpoint's.
        was: String,
        /// This one's.
        is: String,
    },
    /// A part cannot be used.
    #[error("the state of {process} cannot be used: {detail}; use another checkpoint")]
    PartDamaged {
        /// Whose.
        process: ProcessId,
        /// What is wrong with it.
        detail: String,
    },
    /// The topic is gone.
    #[error("the topic {0} no longer exists: use a checkpoint that does not need it")]
    TopicGone(TopicName),
    /// The topic is another one by the same name.
    #[error(
        "the topic {topic} was deleted and made again (id {was}, now {is}): its records are gone, use a checkpoint taken since"
    )]
    TopicMadeAgain {
        /// Which.
        topic: TopicName,
        /// Its id in the checkpoint.
        was: String,
        /// Its id now.
        is: String,
    },
    /// The partition did not answer.
    #[error("{0} could not be looked at: see that it has a leader, then try again")]
    Unavailable(TopicPartition),
    /// Retention took what would be read again.
    #[error(
        "{group} would read {partition} again from {position}, but its log starts at {log_start}: retention has removed what lies between, use a later checkpoint"
    )]
    Gap {
        /// Who would read.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
        /// c(g,p).
        position: Offset,
        /// What is left starts here.
        log_start: Offset,
    },
    /// The log lost records that belong to the cut.
    #[error(
        "the log of {partition} was cut off at {end} by an unclean leader election, the checkpoint needs it up to {needed}: use an earlier checkpoint"
    )]
    Truncated {
        /// Where.
        partition: TopicPartition,
        /// The cut needs everything below.
        needed: Offset,
        /// What survived ends here.
        end: Offset,
    },
    /// A member would go on reading while its group is put back.
    #[error(
        "member {member} of {group} is behind no connected sidecar: stop it, or put it behind a sidecar"
    )]
    OutsideMember {
        /// The group.
        group: GroupId,
        /// Kafka's id of the member.
        member: String,
    },
    /// Nobody is there to put the state back.
    #[error(
        "{0} has state in the checkpoint but no connected sidecar to put it back: start its sidecar (the application may stay down)"
    )]
    NoSidecar(ProcessId),
    /// State of single instances cannot go to others.
    #[error(
        "{service} runs an instance {instance} that has no state in the checkpoint: stop it, or use a checkpoint that has it"
    )]
    UnknownInstance {
        /// The service.
        service: ServiceName,
        /// Its instance.
        instance: InstanceName,
    },
    /// An instance reads other partitions than its state belongs to.
    #[error(
        "{sidecar} had other partitions of {group} in the checkpoint ({then}) than now ({now}): bring back that assignment (static membership keeps it), or stop the applications and leave their sidecars up"
    )]
    OtherAssignment {
        /// The instance.
        sidecar: SidecarId,
        /// The group.
        group: GroupId,
        /// Its partitions then.
        then: String,
        /// Its partitions now.
        now: String,
    },
    /// The sidecars were set up anew.
    #[error(
        "{service} has scope {is} now and had {was} in the checkpoint: start its sidecars with the scope it had"
    )]
    OtherScope {
        /// The service.
        service: ServiceName,
        /// Then.
        was: &'static str,
        /// Now.
        is: &'static str,
    },
    /// Somebody who is not restored has seen what will be rolled back.
    #[error("{0}; restore that service too, or allow contaminated readers")]
    Contaminated(Contamination),
    /// The restored state has seen what another restore rolled back since, or has not seen what came back.
    #[error(
        "the state of {group} in the checkpoint and {partition} as it is now do not fit from {from} on, because {writer} was restored in between: restore {writer} too"
    )]
    OtherHistory {
        /// The restored group.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
        /// The first offset that differs.
        from: Offset,
        /// Who was restored.
        writer: ServiceName,
    },
    /// It cannot be told which records to take away.
    #[error(
        "{partition} is written by restored services and by others ({others}), and holds records without a producer id from {from} on: nobody can tell whose they are; let producers be idempotent, or restore the other writers too"
    )]
    NotTold {
        /// Where.
        partition: TopicPartition,
        /// Who else writes.
        others: String,
        /// The first record without.
        from: Offset,
    },
    /// What masked records replaced may be gone.
    #[error(
        "{partition} is compacted, and the cleaner may have removed values that records rolled back here have replaced: min.compaction.lag.ms of {topic} guarantees {lag_ms} ms and the checkpoint is {age_ms} ms old; set it to more than the age of the oldest checkpoint you want to go back to and take a new one, or take checkpoints with checkpoint.channels: embed",
        topic = partition.topic
    )]
    CleanerAhead {
        /// Where.
        partition: TopicPartition,
        /// What the lag was and is at least.
        lag_ms: i64,
        /// How old the checkpoint is.
        age_ms: i64,
    },
    /// Others write to the table too.
    #[error(
        "{partition} is compacted and written by others than the restored services too ({others}): what they write meanwhile would be overwritten; restore them too, or stop them and take a checkpoint after their last record"
    )]
    TableShared {
        /// Where.
        partition: TopicPartition,
        /// Who else writes.
        others: String,
    },
    /// A sidecar that cannot be spoken to would not follow.
    #[error(
        "the sidecar {0} is registered but not connected: start it, or evict it when it is gone for good"
    )]
    SidecarAway(SidecarId),
    /// A list would not fit in the control topic.
    #[error(
        "the {what} of this restore would take up to {bytes} bytes in the control topic, more than the limit of {limit}: restore fewer services at once, or the other writers of shared topics too"
    )]
    TooLarge {
        /// Which list.
        what: &'static str,
        /// How large it may become.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl Problem {
    /// The stable code that docs/error-codes.md explains.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nothing => "CL0300",
            Self::UnknownService(_) => "CL0301",
            Self::OtherCluster { .. } => "CL0302",
            Self::PartDamaged { .. } => "CL0303",
            Self::TopicGone(_) => "CL0304",
            Self::TopicMadeAgain { .. } => "CL0305",
            Self::Unavailable(_) => "CL0306",
            Self::Gap { .. } => "CL0307",
            Self::Truncated { .. } => "CL0308",
            Self::OutsideMember { .. } => "CL0309",
            Self::NoSidecar(_) => "CL0310",
            Self::UnknownInstance { .. } => "CL0311",
            Self::OtherAssignment { .. } => "CL0312",
            Self::OtherScope { .. } => "CL0313",
            Self::Contaminated(_) => "CL0314",
            Self::OtherHistory { .. } => "CL0315",
            Self::NotTold { .. } => "CL0316",
            Self::CleanerAhead { .. } => "CL0317",
            Self::TooLarge { .. } => "CL0318",
            Self::SidecarAway(_) => "CL0319",
            Self::TableShared { .. } => "CL0326",
        }
    }
}

/// What a user has to know of a restore that may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Notice {
    /// The partition came after the checkpoint.
    #[error(
        "{0} was added since the checkpoint: everything the restored services wrote there is rolled back"
    )]
    PartitionAdded(TopicPartition),
    /// The group had no position.
    #[error(
        "{group} had no position on {partition}: its committed offset is deleted, auto.offset.reset decides where it begins"
    )]
    NoPosition {
        /// The group.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
    },
    /// The group came after the checkpoint.
    #[error("the group {0} began since the checkpoint: its committed offsets are deleted")]
    GroupSince(GroupId),
    /// No instance runs.
    #[error(
        "{0} has no sidecar running: its offsets are restored, it has no state in the checkpoint"
    )]
    Idle(ServiceName),
    /// Who will have which partition cannot be told.
    #[error(
        "{0} keeps state by instance and has no member now: see that each instance is assigned the partitions it had"
    )]
    AssignmentUnknown(GroupId),
    /// A restart may shuffle partitions.
    #[error(
        "{0} keeps state by instance without static membership: a restarted member may be assigned other partitions than its state belongs to"
    )]
    NotStatic(GroupId),
    /// Somebody saw it and it was allowed.
    #[error("{0}, which was allowed")]
    Contaminated(Contamination),
    /// A group of no service read on.
    #[error(
        "the group {group} is behind no sidecar and has read {partition} up to {delivered}: it has seen, and goes on seeing, records that are rolled back"
    )]
    OutsideReader {
        /// The group.
        group: GroupId,
        /// Where.
        partition: TopicPartition,
        /// How far.
        delivered: Offset,
    },
}

/// The word for a scope.
pub(super) fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Instance => "instance",
        Scope::Service => "service",
    }
}
