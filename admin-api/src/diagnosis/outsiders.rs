//! Who goes to Kafka past the sidecars: members of the services' groups, and producers to topics that services write.

use std::collections::{BTreeMap, BTreeSet};

use cutline_client::Finding;
use cutline_model::{GroupId, ServiceName, TopicName, TopicPartition};
use cutline_wire::client::{ActiveProducer, Member};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::finding::{fail, ok, refused, skipped, warn};
use crate::{
    app::App,
    routes::{connected, knows_sidecars, owners},
};

const MEMBERS: &str = "traffic.members";
const PRODUCERS: &str = "traffic.producers";
/// Groups asked about at the same time.
const QUESTIONS_MAX: usize = 16;
/// Partitions looked at; what a whole topic does shows in the first of them.
const PARTITIONS_MAX: usize = 1_000;
/// A producer that last appended longer ago is gone, or was replaced.
const RECENT_MS: i64 = 10 * 60 * 1_000;

/// Looks for members behind no sidecar.
pub async fn members(app: &App) -> Vec<Finding> {
    if !knows_sidecars(app).await {
        let why = "this admin API does not lead, and no Redis tells who is connected: ask the one that leads";
        return vec![skipped(MEMBERS, "all", why)];
    }
    let state = app.control.state().borrow().clone();
    let groups = state.groups.values().flatten().cloned();
    let groups: BTreeSet<GroupId> = groups.collect();
    let described: Vec<_> = stream::iter(groups)
        .map(|group| async move {
            let described = app.kafka.describe_group(&group).await;
            (group, described)
        })
        .buffered(QUESTIONS_MAX)
        .collect()
        .await;
    // Asked after the groups: who joined meanwhile is known by now.
    let owners = owners(&connected(app).await);
    let mut found = Vec::new();
    for (group, described) in described {
        found.push(match described {
            Ok(state) => {
                let outside = |member: &&Member| {
                    let key = (group.clone(), member.id.clone());
                    !owners.contains_key(&key)
                };
                let outside: Vec<&Member> = state.members.iter().filter(outside).collect();
                judge_members(group.as_str(), state.members.len(), &outside)
            }
            Err(error) => {
                let right = format!("Describe on Group {group}");
                let cure = "see that its coordinator runs";
                refused(MEMBERS, group.to_string(), &error, &right, cure)
            }
        });
    }
    found
}

fn judge_members(group: &str, members: usize, outside: &[&Member]) -> Finding {
    if outside.is_empty() {
        return ok(
            MEMBERS,
            group,
            format!("{members} members, each behind a sidecar"),
        );
    }
    let named: Vec<String> = outside
        .iter()
        .map(|member| format!("{} at {}", member.client_id, member.host))
        .collect();
    fail(
        MEMBERS,
        group,
        format!(
            "{} of {members} members are behind no sidecar ({}): every checkpoint fails",
            outside.len(),
            named.join(", ")
        ),
        "give them bootstrap.servers of a sidecar of the service, or stop them; a network policy that lets only sidecars reach the brokers keeps it so",
    )
}

/// Looks for producers behind no sidecar on topics that services write.
pub async fn producers(app: &App) -> Vec<Finding> {
    let state = app.control.state().borrow().clone();
    let Ok(metadata) = app.kafka.refresh_metadata().await else {
        return vec![skipped(PRODUCERS, "all", "Kafka is out of reach")];
    };
    let topics: BTreeSet<&TopicName> = state.outputs.values().flatten().collect();
    let partitions = topics
        .iter()
        .flat_map(|topic| metadata.partitions_of(topic));
    let partitions: Vec<TopicPartition> = partitions.take(PARTITIONS_MAX).collect();
    if partitions.is_empty() {
        return vec![skipped(
            PRODUCERS,
            "all",
            "no service has written to a topic yet",
        )];
    }
    match app.kafka.describe_producers(&partitions).await {
        Ok(active) => judge_producers(&active, &state.producers, Timestamp::now()),
        Err(error) => {
            let right = "Read on the topics that services write";
            let cure = "see that the leaders of these topics run";
            vec![refused(PRODUCERS, "all", &error, right, cure)]
        }
    }
}

fn judge_producers(
    active: &BTreeMap<TopicPartition, Vec<ActiveProducer>>,
    known: &BTreeMap<ServiceName, BTreeMap<i64, Option<String>>>,
    now: Timestamp,
) -> Vec<Finding> {
    let known: BTreeSet<i64> = known.values().flat_map(BTreeMap::keys).copied().collect();
    let mut topics = BTreeMap::<&TopicName, BTreeSet<i64>>::new();
    for (partition, producers) in active {
        let outside = topics.entry(&partition.topic).or_default();
        let strangers = producers.iter().filter(|one| {
            // Markers of sidecars and coordinator carry no sequence.
            one.last_sequence >= 0
                && now.as_millisecond() - one.last_timestamp < RECENT_MS
                && !known.contains(&one.producer.producer_id)
        });
        outside.extend(strangers.map(|one| one.producer.producer_id));
    }
    let judged = topics.into_iter().map(|(topic, strangers)| {
        if strangers.is_empty() {
            return ok(PRODUCERS, topic.as_str(), "every producer it knows is behind a sidecar");
        }
        let ids: Vec<String> = strangers.iter().map(ToString::to_string).collect();
        warn(
            PRODUCERS,
            topic.as_str(),
            format!(
                "producers behind no sidecar wrote to it within ten minutes (producer ids {}): what they write is in no service's part of a cut, and stays when services are rolled back",
                ids.join(", ")
            ),
            "give them bootstrap.servers of a sidecar, or a topic of their own",
        )
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;
    use cutline_model::MarkerId;

    use super::*;

    fn producer(producer_id: i64, last_sequence: i32, last_timestamp: i64) -> ActiveProducer {
        ActiveProducer {
            producer: MarkerId {
                producer_id,
                producer_epoch: 0,
            },
            last_timestamp,
            last_sequence,
            transaction_start: None,
        }
    }

    #[test]
    fn a_producer_that_nobody_registered_is_found_and_markers_are_not() {
        let now: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        let now_ms = now.as_millisecond();
        let known = BTreeMap::from([(ServiceName::from("a"), BTreeMap::from([(4, None)]))]);
        let verdict = |one| {
            let active = BTreeMap::from([(TopicPartition::new("t", 0), vec![one])]);
            judge_producers(&active, &known, now)[0].verdict
        };
        assert_eq!(
            verdict(producer(4, 7, now_ms)),
            Verdict::Ok,
            "behind a sidecar"
        );
        assert_eq!(verdict(producer(5, -1, now_ms)), Verdict::Ok, "a marker's");
        assert_eq!(
            verdict(producer(5, 7, now_ms - RECENT_MS)),
            Verdict::Ok,
            "gone"
        );
        assert_eq!(verdict(producer(5, 7, now_ms)), Verdict::Warn);
    }

    #[test]
    fn a_member_outside_is_named_by_client_and_place() {
        let member = Member {
            id: "m".to_owned(),
            client_id: "tool".to_owned(),
            host: "10.0.0.9".to_owned(),
            instance_id: None,
            assignment: BTreeSet::new(),
            epoch: None,
            reconciling: false,
        };
        let found = judge_members("g", 2, &[&member]);
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.what.contains("tool at 10.0.0.9"), "{found:?}");
        assert_eq!(judge_members("g", 2, &[]).verdict, Verdict::Ok);
    }
}
