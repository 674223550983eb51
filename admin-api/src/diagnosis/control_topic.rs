//! The control topic: whether it is what Cutline made, or what somebody else made of it.

use std::collections::BTreeMap;

use cutline_client::Finding;
use cutline_control::topic_name;
use cutline_model::TopicName;
use cutline_wire::client::TopicInfo;

use super::{
    finding::{fail, ok, refused},
    transactions::judge_replicas,
};
use crate::app::App;

const ID: &str = "control.topic";
const REPLICAS: &str = "control.replicas";
const FRESH: &str = "control.fresh";
const CLEANUP: &str = "cleanup.policy";
const MIN_ISR: &str = "min.insync.replicas";

/// Looks at it.
pub async fn look(app: &App) -> Vec<Finding> {
    let name = topic_name(&app.config.deployment);
    let topic = TopicName::from(name.as_str());
    let right = format!("Describe and DescribeConfigs on Topic {name}");
    let cure = "see that Kafka is well";
    let metadata = match app.kafka.refresh_metadata().await {
        Ok(metadata) => metadata,
        Err(error) => return vec![refused(ID, name, &error, &right, cure)],
    };
    let Some(info) = metadata.topics.get(&topic) else {
        return vec![fail(
            ID,
            name.clone(),
            "it is gone, or this admin API may not see it",
            format!(
                "if it was deleted, masks and fences are lost with it (docs/limits.md): stop the applications, restart the admin APIs, which make it anew, then the sidecars; if ACLs hide it, allow the admin API's user Describe, Read and Write on Topic {name}"
            ),
        )];
    };
    let mut found = vec![judge_fresh(&name, app.control.staleness().as_millis())];
    match app.kafka.topic_settings(&topic, &[CLEANUP, MIN_ISR]).await {
        Ok(settings) => {
            found.push(judge(&name, info, &settings));
            let min_isr = settings.get(MIN_ISR).and_then(|value| value.parse().ok());
            let (brokers, min_isr) = (metadata.brokers.len(), min_isr.unwrap_or(1));
            found.push(judge_replicas(REPLICAS, &name, info, brokers, min_isr));
        }
        Err(error) => found.push(refused(ID, name, &error, &right, cure)),
    }
    found
}

fn judge(name: &str, topic: &TopicInfo, settings: &BTreeMap<String, String>) -> Finding {
    let partitions = topic.partitions.len();
    if partitions != 1 {
        return fail(
            ID,
            name,
            format!(
                "it has {partitions} partitions, and must have one: what is written to the others is read by nobody"
            ),
            "somebody else made or grew it: stop admin APIs and sidecars, delete it, and let the admin API make it; masks in force are lost with it (docs/limits.md)",
        );
    }
    let policy = settings.get(CLEANUP).map_or("", String::as_str);
    if policy != "compact" {
        return fail(
            ID,
            name,
            format!("its {CLEANUP} is {policy:?}: registrations, masks and fences in it expire"),
            format!(
                "kafka-configs --alter --entity-type topics --entity-name {name} --add-config {CLEANUP}=compact"
            ),
        );
    }
    ok(ID, name, "one partition, compacted")
}

fn judge_fresh(name: &str, stale_ms: u128) -> Finding {
    const STALE_MS_MAX: u128 = 10_000;
    if stale_ms <= STALE_MS_MAX {
        return ok(FRESH, name, "read to its end");
    }
    fail(
        FRESH,
        name,
        format!(
            "it was not read to its end for {} s; sidecars stop forwarding when it is the same for them",
            stale_ms / 1_000
        ),
        "see that the leader of its partition runs and is reached, and that ACLs allow Read on it",
    )
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;
    use cutline_wire::client::PartitionInfo;

    use super::*;

    fn judged(partitions: i32, policy: &str) -> Finding {
        let info = PartitionInfo {
            leader: Some(1),
            leader_epoch: 0,
            replicas: 1,
            in_sync: 1,
        };
        let topic = TopicInfo {
            id: [0; 16],
            is_internal: false,
            partitions: (0..partitions).map(|index| (index, info)).collect(),
        };
        let settings = BTreeMap::from([(CLEANUP.to_owned(), policy.to_owned())]);
        judge("__cutline.x", &topic, &settings)
    }

    #[test]
    fn one_that_somebody_else_made_is_found_out() {
        assert_eq!(judged(1, "compact").verdict, Verdict::Ok);
        for (partitions, policy, cure) in [
            (3, "compact", "delete it"),
            (1, "delete", "cleanup.policy=compact"),
            (1, "compact,delete", "cleanup.policy=compact"),
        ] {
            let found = judged(partitions, policy);
            assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
            assert!(found.cure.as_ref().unwrap().contains(cure), "{found:?}");
        }
    }
}
