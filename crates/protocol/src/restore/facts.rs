//! What a shell has to find out before a restore can be judged: the checkpoint, and the world as it is now.
//!
//! Facts carry no judgement. What could not be found out is absent, and an absent fact never passes a check.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{
    GroupId, Offset, OffsetRange, RangeSet, Scope, ServiceName, SidecarId, TopicName,
    TopicPartition,
};

use super::TableNow;
use crate::{Cut, mask::Masks};

/// Everything a plan is made from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The checkpoint's cut.
    pub cut: Cut,
    /// The checkpoint's topics, by name, with Kafka's id of each.
    pub topics_then: BTreeMap<TopicName, String>,
    /// The masks in force when the checkpoint was taken, those of topics that were made again left out.
    pub masks_then: Masks,
    /// The cluster the checkpoint was taken on; empty where it was not known.
    pub cluster_then: String,
    /// The cluster as it is; empty where the broker does not tell.
    pub cluster_now: String,
    /// Why a part cannot be used, for every part that cannot.
    pub damaged: BTreeMap<cutline_model::ProcessId, String>,
    /// The services to restore.
    pub restored: BTreeSet<ServiceName>,
    /// The topics that matter, as they are now; one that does not exist is absent.
    pub topics_now: BTreeMap<TopicName, TopicNow>,
    /// The masks in force.
    pub masks_now: Masks,
    /// Topics ever produced to, by service, as known now.
    pub outputs_now: BTreeMap<ServiceName, BTreeSet<TopicName>>,
    /// Groups that matter, as they are now: those of every service known.
    pub groups_now: BTreeMap<GroupId, GroupNow>,
    /// Sidecars that run and are connected.
    pub sidecars: BTreeMap<SidecarId, SidecarNow>,
    /// Sidecars that are registered and cannot be spoken to.
    pub away: BTreeSet<SidecarId>,
    /// Who wrote what where it matters: from [`super::scan_from`] to the present end.
    pub writers: BTreeMap<TopicPartition, Writers>,
    /// The compacted partitions that something was appended to outside the cut: see [`super::touched_tables`].
    pub tables: BTreeMap<TopicPartition, TableNow>,
    /// When the checkpoint was triggered, in milliseconds since 1970.
    pub cut_ms: i64,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
    /// Groups of no service that read what may be masked, with how far.
    pub outside_readers: BTreeMap<GroupId, BTreeMap<TopicPartition, Offset>>,
    /// Go on although unrestored groups saw what will be rolled back.
    pub allow_contaminated: bool,
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicNow {
    /// Kafka's id of it.
    pub id: String,
    /// True when only the last record of each key is kept.
    pub compacted: bool,
    /// Its partitions.
    pub partitions: BTreeMap<i32, PartitionNow>,
}

/// A partition as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionNow {
    /// The first offset still in the log.
    pub log_start: Offset,
    /// The high watermark.
    pub end: Offset,
    /// Where the leader epoch ends, as far as the present leader knows, under which the checkpoint listed the
    /// partition's end. `None` where no epoch was listed.
    pub epoch_end: Option<Offset>,
}

/// A group as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNow {
    /// Whose it is.
    pub service: ServiceName,
    /// Its members.
    pub members: Vec<MemberNow>,
    /// What it has committed.
    pub committed: BTreeMap<TopicPartition, Offset>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberNow {
    /// Kafka's id of it.
    pub id: String,
    /// The sidecar it joined through; `None` when no connected sidecar knows it.
    pub sidecar: Option<SidecarId>,
    /// True when it keeps its assignment over a restart (static membership).
    pub is_static: bool,
    /// What is assigned to it.
    pub partitions: BTreeSet<TopicPartition>,
}

/// A sidecar as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SidecarNow {
    /// Whose state is one state.
    pub scope: Scope,
    /// True when it has state.
    pub has_state: bool,
    /// Where the delivered prefix ends, by partition, in this run.
    pub delivered: BTreeMap<TopicPartition, Offset>,
}

/// Who wrote the data batches of one partition, told by their headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// The services known by their producer ids.
    pub by: BTreeMap<ServiceName, RangeSet>,
    /// Producer ids of no service.
    pub outside: RangeSet,
    /// Batches without a producer id.
    pub anonymous: RangeSet,
    /// Control batches: no data, and nobody's.
    pub control: RangeSet,
}

impl Writers {
    /// Every data batch.
    #[must_use]
    pub fn data(&self) -> RangeSet {
        let mut all = self.outside.clone();
        all.union(&self.anonymous);
        self.by.values().for_each(|set| all.union(set));
        all
    }

    /// Every data batch that carries the producer id of another than `service`, or none.
    #[must_use]
    pub fn not_by(&self, service: &ServiceName) -> RangeSet {
        let mut all = self.data();
        if let Some(own) = self.by.get(service) {
            all.subtract(own);
        }
        all
    }

    /// What carries a producer id and is of none of `services`.
    #[must_use]
    pub fn known_others(&self, services: &BTreeSet<ServiceName>) -> RangeSet {
        let mut all = self.outside.clone();
        for (_, set) in self.by.iter().filter(|(s, _)| !services.contains(*s)) {
            all.union(set);
        }
        all
    }

    /// What lies inside `range`.
    #[must_use]
    pub fn within(&self, range: OffsetRange) -> Self {
        Self {
            by: self
                .by
                .iter()
                .map(|(s, set)| (s.clone(), set.intersect(range)))
                .collect(),
            outside: self.outside.intersect(range),
            anonymous: self.anonymous.intersect(range),
            control: self.control.intersect(range),
        }
    }
}

impl Facts {
    /// Every topic the restored services ever produced to, by service: what the checkpoint knew and what is known now.
    #[must_use]
    pub fn restored_outputs(&self) -> BTreeMap<ServiceName, BTreeSet<TopicName>> {
        let of = |service: &ServiceName| {
            let then = self.cut.outputs.get(service).into_iter().flatten();
            let now = self.outputs_now.get(service).into_iter().flatten();
            then.chain(now).cloned().collect::<BTreeSet<_>>()
        };
        self.restored.iter().map(|s| (s.clone(), of(s))).collect()
    }

    /// Services that are not restored and ever produced to `topic`.
    pub fn other_writers<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> impl Iterator<Item = &'a ServiceName> {
        let all = self.cut.outputs.iter().chain(&self.outputs_now);
        all.filter(|(service, topics)| !self.restored.contains(*service) && topics.contains(topic))
            .map(|(service, _)| service)
    }

    /// Every partition there is now of the topics the restored services ever produced to.
    #[must_use]
    pub fn restored_partitions(&self) -> BTreeSet<TopicPartition> {
        let topics: BTreeSet<TopicName> = self.restored_outputs().into_values().flatten().collect();
        let partitions = topics.iter().flat_map(|topic| {
            let now = self.topics_now.get(topic).into_iter();
            now.flat_map(|now| now.partitions.keys())
                .map(|&index| TopicPartition::new(topic.clone(), index))
        });
        partitions.collect()
    }

    /// The partition as it is.
    #[must_use]
    pub fn partition_now(&self, partition: &TopicPartition) -> Option<&PartitionNow> {
        let topic = self.topics_now.get(&partition.topic)?;
        topic.partitions.get(&partition.partition)
    }
}
