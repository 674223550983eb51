//! Who reads and writes what, as the broker and the control topic say; which partitions need a barrier.
//!
//! Pure graph work over names: it knows neither offsets nor epochs.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{GroupId, ServiceName, TopicName, TopicPartition};

/// One member of a group and what is assigned to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberAssignment {
    /// Kafka's member id.
    pub member: String,
    /// Its partitions.
    pub partitions: BTreeSet<TopicPartition>,
}

/// A group as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAssignment {
    /// The group.
    pub group: GroupId,
    /// True when all members are on one epoch or generation and none is reconciling.
    pub stable: bool,
    /// Its members.
    pub members: BTreeSet<MemberAssignment>,
}

/// Groups and partition counts, read at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Every group asked for.
    pub groups: BTreeMap<GroupId, GroupAssignment>,
    /// Partition counts of every topic asked for; a topic that does not exist is absent.
    pub partitions: BTreeMap<TopicName, i32>,
}

impl Topology {
    /// Every partition of `topics`.
    pub fn partitions_of<'a>(
        &'a self,
        topics: impl IntoIterator<Item = &'a TopicName>,
    ) -> impl Iterator<Item = TopicPartition> {
        topics.into_iter().flat_map(|topic| {
            let count = self.partitions.get(topic).copied().unwrap_or(0);
            (0..count).map(|partition| TopicPartition::new(topic.clone(), partition))
        })
    }
}

/// The topics whose partitions an aligned checkpoint puts a barrier on: those read but with no known writer, and those
/// on a cycle. In doubt, a barrier.
#[must_use]
pub fn barrier_topics(
    reads: &BTreeMap<ServiceName, BTreeSet<TopicName>>,
    writes: &BTreeMap<ServiceName, BTreeSet<TopicName>>,
) -> BTreeSet<TopicName> {
    let written: BTreeSet<&TopicName> = writes.values().flatten().collect();
    let read: BTreeSet<&TopicName> = reads.values().flatten().collect();
    read.into_iter()
        .filter(|topic| !written.contains(topic) || on_cycle(topic, reads, writes))
        .cloned()
        .collect()
}

/// True when something read from `topic` can come back to it.
fn on_cycle(
    topic: &TopicName,
    reads: &BTreeMap<ServiceName, BTreeSet<TopicName>>,
    writes: &BTreeMap<ServiceName, BTreeSet<TopicName>>,
) -> bool {
    let mut reached: BTreeSet<&TopicName> = BTreeSet::new();
    let mut frontier = vec![topic];
    while let Some(from) = frontier.pop() {
        for (service, _) in reads.iter().filter(|(_, topics)| topics.contains(from)) {
            for to in writes.get(service).into_iter().flatten() {
                if to == topic {
                    return true;
                }
                if reached.insert(to) {
                    frontier.push(to);
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &[&str])]) -> BTreeMap<ServiceName, BTreeSet<TopicName>> {
        pairs
            .iter()
            .map(|(service, topics)| {
                (
                    (*service).into(),
                    topics.iter().map(|&t| t.into()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn sources_and_cycles_get_a_barrier_and_chains_do_not() {
        let reads = map(&[
            ("a", &["orders", "to-a"]),
            ("b", &["to-b"]),
            ("c", &["done"]),
        ]);
        let writes = map(&[("a", &["to-b"]), ("b", &["to-a", "done"])]);
        let topics: Vec<String> = barrier_topics(&reads, &writes)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(topics, ["orders", "to-a", "to-b"]);
    }
}
