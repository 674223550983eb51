//! Transactions: whether this admin API may begin one, and whether their log survives the loss of a broker.
//!
//! A producer id is taken under a transactional id of its own: the coordinator's belongs to the epoch in progress.

use std::time::Duration;

use cutline_client::Finding;
use cutline_model::TopicName;
use cutline_wire::client::{ClientError, Metadata, TopicInfo};
use tokio::time::Instant;

use super::finding::{fail, ok, refused, warn};
use crate::app::App;

const USABLE: &str = "kafka.transactions";
const LOG: &str = "kafka.transaction-log";
const LOG_TOPIC: &str = "__transaction_state";
const MIN_ISR: &str = "min.insync.replicas";
const TIMEOUT_MS: i32 = 10_000;
/// How long is tried, within the time of a look; a cluster that starts answers so for a moment.
const TRY_FOR: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(200);

/// Looks at both.
pub async fn look(app: &App) -> Vec<Finding> {
    let id = format!("__cutline.{}.diagnosis", app.config.deployment);
    let usable = match take_producer_id(app, &id).await {
        Ok(()) => ok(USABLE, id, "a producer id is given"),
        Err(error) => refused(
            USABLE,
            id.clone(),
            &error,
            &format!("Write and Describe on TransactionalId {id} (better: prefixed __cutline.)"),
            "markers need transactions: see that enough brokers are up for transaction.state.log.replication.factor and transaction.state.log.min.isr, and that the coordinator of __transaction_state runs",
        ),
    };
    let mut found = vec![usable];
    // The topic is made with the first transactional id.
    if let Ok(metadata) = app.kafka.refresh_metadata().await {
        let topic = TopicName::from(LOG_TOPIC);
        let settings = app.kafka.topic_settings(&topic, &[MIN_ISR]).await;
        let min_isr = settings
            .ok()
            .and_then(|found| found.get(MIN_ISR)?.parse().ok());
        found.extend(judge_log(&metadata, min_isr.unwrap_or(1)));
    }
    found
}

async fn take_producer_id(app: &App, id: &str) -> Result<(), ClientError> {
    let until = Instant::now() + TRY_FOR;
    loop {
        let taken = async {
            let node = app.kafka.coordinator_of_transaction(id).await?;
            let taken = app
                .kafka
                .init_producer_id_once(Some(node), Some(id), TIMEOUT_MS);
            taken.await
        };
        match taken.await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn judge_log(metadata: &Metadata, min_isr: usize) -> Option<Finding> {
    let topic = metadata.topics.get(&TopicName::from(LOG_TOPIC))?;
    Some(judge_replicas(
        LOG,
        LOG_TOPIC,
        topic,
        metadata.brokers.len(),
        min_isr,
    ))
}

/// Whether a topic that everything depends on is written with the brokers there are, and survives the loss of one.
pub fn judge_replicas(
    id: &str,
    name: &str,
    topic: &TopicInfo,
    brokers: usize,
    min_isr: usize,
) -> Finding {
    let partitions = topic.partitions.values();
    let replicas = partitions
        .clone()
        .map(|one| one.replicas)
        .min()
        .unwrap_or(0);
    let behind = partitions.filter(|one| one.leader.is_none() || one.in_sync < min_isr);
    let behind = behind.count();
    let told = format!("{replicas} replicas, {min_isr} of which must be in sync");
    if behind > 0 {
        let what = format!("{behind} partitions cannot be written: {told}, and fewer are");
        return fail(
            id,
            name,
            what,
            format!("start the brokers that are down, or lower {MIN_ISR} of {name}"),
        );
    }
    if brokers > 1 && replicas < 2 {
        let what = format!(
            "one replica only, with {brokers} brokers: when its broker is down nothing goes on"
        );
        return warn(
            id,
            name,
            what,
            format!("raise its replication to 3 (kafka-reassign-partitions), and {MIN_ISR} to 2"),
        );
    }
    if replicas > 1 && min_isr < 2 {
        return warn(
            id,
            name,
            format!("{told}: what one broker alone has acknowledged is lost with it"),
            format!("set {MIN_ISR} of {name} to 2"),
        );
    }
    if replicas > 1 && min_isr >= replicas {
        return warn(
            id,
            name,
            format!("{told}: it cannot be written while any of them is down"),
            format!("set {MIN_ISR} of {name} below its number of replicas"),
        );
    }
    ok(id, name, told)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cutline_client::Verdict;
    use cutline_wire::client::PartitionInfo;

    use super::*;

    #[test]
    fn a_topic_that_everything_depends_on_must_survive_the_loss_of_a_broker() {
        let verdict = |replicas, in_sync, brokers, min_isr| {
            let partition = PartitionInfo {
                leader: Some(1),
                leader_epoch: 0,
                replicas,
                in_sync,
            };
            let topic = TopicInfo {
                id: [0; 16],
                is_internal: true,
                partitions: BTreeMap::from([(0, partition)]),
            };
            judge_replicas("x.y", "t", &topic, brokers, min_isr).verdict
        };
        assert_eq!(
            verdict(1, 1, 1, 1),
            Verdict::Ok,
            "nothing else can be had of one"
        );
        assert_eq!(verdict(3, 3, 3, 2), Verdict::Ok);
        assert_eq!(verdict(1, 1, 3, 1), Verdict::Warn, "one of several");
        assert_eq!(
            verdict(3, 3, 3, 1),
            Verdict::Warn,
            "may lose what it acknowledged"
        );
        assert_eq!(verdict(2, 2, 3, 2), Verdict::Warn, "stops with any of them");
        assert_eq!(verdict(3, 1, 3, 2), Verdict::Fail, "cannot be written");
    }
}
