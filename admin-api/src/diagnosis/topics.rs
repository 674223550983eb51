//! Topics of the services: whether they keep their records for as long as checkpoints shall be restorable.

use std::collections::{BTreeMap, BTreeSet};

use cutline_client::{CheckpointStatus, Finding};
use cutline_model::TopicName;
use cutline_wire::client::TopicConfig;
use jiff::Timestamp;

use super::finding::{fail, ok, refused, skipped, warn};
use crate::{app::App, config::Channels, history::millis_between, routes::connected};

const RETENTION: &str = "topics.retention";
const COMPACTION: &str = "topics.compaction";
const MINUTE_MS: u64 = 60_000;

/// How long records are needed.
#[derive(Clone, Copy, Debug, Default)]
struct Needed {
    /// The age of the last completed checkpoint.
    last_ms: Option<u64>,
    /// How old a checkpoint may be and still be kept, where that is said.
    kept_ms: Option<u64>,
    /// Compacted topics are copied into the store.
    embedded: bool,
}

/// Looks at every topic that a service reads or writes.
pub async fn look(app: &App) -> Vec<Finding> {
    let state = app.control.state().borrow().clone();
    let mut topics: BTreeSet<TopicName> = state.outputs.values().flatten().cloned().collect();
    for sidecar in connected(app).await.into_values() {
        let reads = sidecar.status.into_iter().flat_map(|status| status.reads);
        topics.extend(reads.map(|partition| partition.topic));
    }
    if topics.is_empty() {
        return vec![skipped(
            RETENTION,
            "all",
            "no service reads or writes a topic yet",
        )];
    }
    let topics: Vec<TopicName> = topics.into_iter().collect();
    match app.kafka.topic_configs(&topics).await {
        Ok(configs) => judge(&configs, needed(app).await),
        Err(error) => {
            let right = "DescribeConfigs on every topic that services read or write";
            let cure = "see that Kafka is well";
            vec![refused(RETENTION, "all", &error, right, cure)]
        }
    }
}

async fn needed(app: &App) -> Needed {
    let views = app.history.all(app).await.unwrap_or_default();
    let mut completed = views.iter();
    let last = completed.find(|view| view.status == CheckpointStatus::Completed);
    let retention = &app.config.retention;
    let in_ms = |duration: std::time::Duration| u64::try_from(duration.as_millis());
    // With an interval, as many as are kept reach back so far.
    let interval = app.schedule.view().interval_ms;
    let by_count = interval.map(|ms| ms.saturating_mul(retention.keep_last as u64));
    let by_age = retention.max_age.and_then(|age| in_ms(age).ok());
    Needed {
        last_ms: last.map(|view| millis_between(view.started_at, Timestamp::now())),
        kept_ms: [by_count, by_age].into_iter().flatten().min(),
        embedded: app.config.checkpoint.channels == Channels::Embed,
    }
}

fn judge(configs: &BTreeMap<TopicName, TopicConfig>, needed: Needed) -> Vec<Finding> {
    let found = configs.iter().map(|(topic, config)| {
        if config.compacted {
            judge_compacted(topic, config, needed)
        } else {
            judge_retention(topic, config, needed)
        }
    });
    found.collect()
}

fn judge_retention(topic: &TopicName, config: &TopicConfig, needed: Needed) -> Finding {
    let keeps = config.retention_ms.and_then(|ms| u64::try_from(ms).ok());
    let cure = |ms: u64| {
        format!(
            "kafka-configs --alter --entity-type topics --entity-name {topic} --add-config retention.ms={}",
            ms.saturating_mul(2)
        )
    };
    let minutes = |ms: u64| ms.div_ceil(MINUTE_MS);
    match (keeps, needed.last_ms, needed.kept_ms) {
        (Some(keeps), Some(last), _) if keeps < last => fail(
            RETENTION,
            topic.as_str(),
            format!(
                "it keeps records for {} min, and the last checkpoint is {} min old: what it refers to may be gone, and then it cannot be restored",
                minutes(keeps),
                minutes(last)
            ),
            format!("take a checkpoint now; for the next time {}", cure(last)),
        ),
        (Some(keeps), _, Some(kept)) if keeps < kept => warn(
            RETENTION,
            topic.as_str(),
            format!(
                "it keeps records for {} min, and checkpoints are kept for {} min: older ones cannot be restored",
                minutes(keeps),
                minutes(kept)
            ),
            format!("{}, or keep fewer checkpoints", cure(kept)),
        ),
        _ => ok(RETENTION, topic.as_str(), "it keeps records long enough"),
    }
}

fn judge_compacted(topic: &TopicName, config: &TopicConfig, needed: Needed) -> Finding {
    let lag = u64::try_from(config.min_compaction_lag_ms).unwrap_or(0);
    let kept = needed.kept_ms.or(needed.last_ms).unwrap_or(0);
    if needed.embedded || (lag > 0 && lag >= kept) {
        return ok(COMPACTION, topic.as_str(), "its table can be put back");
    }
    warn(
        COMPACTION,
        topic.as_str(),
        format!(
            "it is compacted with min.compaction.lag.ms={lag}: the cleaner may remove what a checkpoint has, and then that cannot be restored (CL0317)"
        ),
        "set min.compaction.lag.ms above the age of the oldest checkpoint you want to go back to, or checkpoint.channels: embed",
    )
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;

    use super::*;

    fn verdict(config: TopicConfig, needed: Needed) -> Verdict {
        judge(&BTreeMap::from([("t".into(), config)]), needed)[0].verdict
    }

    #[test]
    fn records_must_stay_as_long_as_checkpoints_do() {
        let keeps = |ms| TopicConfig {
            retention_ms: ms,
            ..TopicConfig::default()
        };
        let needed = |last_ms, kept_ms| Needed {
            last_ms,
            kept_ms,
            embedded: false,
        };
        assert_eq!(verdict(keeps(None), needed(Some(9), Some(9))), Verdict::Ok);
        assert_eq!(verdict(keeps(Some(5)), needed(None, None)), Verdict::Ok);
        assert_eq!(
            verdict(keeps(Some(5)), needed(Some(9), None)),
            Verdict::Fail
        );
        assert_eq!(
            verdict(keeps(Some(5)), needed(Some(1), Some(9))),
            Verdict::Warn
        );
    }

    #[test]
    fn a_compacted_topic_needs_a_lag_or_a_copy() {
        let lag = |ms| TopicConfig {
            compacted: true,
            min_compaction_lag_ms: ms,
            ..TopicConfig::default()
        };
        let embedded = Needed {
            embedded: true,
            ..Needed::default()
        };
        assert_eq!(verdict(lag(0), Needed::default()), Verdict::Warn);
        assert_eq!(verdict(lag(60_000), Needed::default()), Verdict::Ok);
        assert_eq!(verdict(lag(0), embedded), Verdict::Ok);
    }
}
