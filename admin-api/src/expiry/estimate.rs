//! Whether a checkpoint can be restored, and until when, from what it needs and how the logs stand. Arithmetic alone.
//!
//! Where it is not exact it errs towards too early: Kafka removes whole segments, never single records.

use std::time::Duration;

use cutline_client::{Restorable, RestorableState};
use cutline_protocol::restore::LAG_MARGIN_MS;
use cutline_wire::client::TopicConfig;
use jiff::Timestamp;

use super::{
    log::{Log, Logs},
    need::{Need, Position, Table},
};

/// What ends a checkpoint's time.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    /// When, in milliseconds; `None`: it has.
    at_ms: Option<i64>,
    partition: String,
    reason: String,
}

/// How a checkpoint stands at `now_ms`, to be warned of `margin` before its end.
#[must_use]
pub fn judge(need: &Need, logs: &Logs, now_ms: i64, margin: Duration) -> Restorable {
    let positions = need.positions.iter();
    let of_positions = positions.filter_map(|position| limit_of(need, position, logs, now_ms));
    let tables = need.tables.iter();
    let of_tables = tables.filter_map(|table| limit_of_table(need, table, logs));
    // `None`, which is now, comes before any time.
    let first = of_positions
        .chain(of_tables)
        .min_by_key(|limit| limit.at_ms);
    let Some(limit) = first else {
        return Restorable {
            state: RestorableState::Yes,
            expires_at: None,
            partition: None,
            reason: None,
        };
    };
    let margin_ms = i64::try_from(margin.as_millis()).unwrap_or(i64::MAX);
    let state = match limit.at_ms {
        None => RestorableState::No,
        Some(at) if at.saturating_sub(now_ms) < margin_ms => RestorableState::Expiring,
        Some(_) => RestorableState::Yes,
    };
    Restorable {
        state,
        expires_at: limit
            .at_ms
            .and_then(|at| Timestamp::from_millisecond(at).ok()),
        partition: Some(limit.partition),
        reason: Some(limit.reason),
    }
}

fn limit_of(need: &Need, position: &Position, logs: &Logs, now_ms: i64) -> Option<Limit> {
    let (topic, id) = &need.topics[position.topic];
    let partition = format!("{topic}-{}", position.partition);
    let gone = |reason: String| {
        Some(Limit {
            at_ms: None,
            partition: partition.clone(),
            reason,
        })
    };
    match logs.ids.get(topic) {
        None => return gone("the topic is not there any more".to_owned()),
        Some(now) if now != id => return gone("the topic was deleted and made again".to_owned()),
        Some(_) => {}
    }
    let log = logs.partitions.get(&need.partition(position))?;
    if log.start > position.offset {
        let (start, from) = (log.start, position.offset);
        return gone(format!("the log begins at {start}, and {from} is needed"));
    }
    if log.end < position.offset {
        let (end, from) = (log.end, position.offset);
        return gone(format!("the log was cut off at {end}, below {from}"));
    }
    let config = logs.configs.get(topic).filter(|config| config.deleted)?;
    let by_age = by_age(position, log, config);
    let by_size = by_size(position, log, config, now_ms);
    let (at_ms, reason) = by_age
        .into_iter()
        .chain(by_size)
        .min_by_key(|(at, _)| *at)?;
    Some(Limit {
        at_ms: Some(at_ms),
        partition,
        reason,
    })
}

fn by_age(position: &Position, log: &Log, config: &TopicConfig) -> Option<(i64, String)> {
    // Nothing stands there yet that could grow old.
    if log.end == position.offset {
        return None;
    }
    let keeps_ms = config.retention_ms?;
    let at = position.since_ms?.saturating_add(keeps_ms);
    Some((at, format!("retention.ms is {keeps_ms}")))
}

fn by_size(
    position: &Position,
    log: &Log,
    config: &TopicConfig,
    now_ms: i64,
) -> Option<(i64, String)> {
    let (keeps, bytes) = (config.retention_bytes?, log.bytes?);
    let span = log.end.0 - log.start.0;
    if span <= 0 {
        return None;
    }
    // Records are taken to be of one size.
    let each = bytes as f64 / span as f64;
    let above = each * (log.end.0 - position.offset.0) as f64;
    let left = keeps as f64 - above;
    let growth = each * log.growth.unwrap_or(0.0);
    let in_ms = if left <= 0.0 {
        0.0
    } else if growth > 0.0 {
        left / growth
    } else {
        return None;
    };
    // A cast of a float saturates.
    let at = now_ms.saturating_add(in_ms as i64);
    Some((at, format!("retention.bytes is {keeps}")))
}

fn limit_of_table(need: &Need, table: &Table, logs: &Logs) -> Option<Limit> {
    let (topic, _) = &need.topics[table.topic];
    let now = logs.configs.get(topic)?;
    let lag_ms = table.lag_ms.min(now.min_compaction_lag_ms);
    let at = need
        .cut_ms
        .saturating_add(lag_ms)
        .saturating_sub(LAG_MARGIN_MS);
    Some(Limit {
        at_ms: Some(at),
        partition: topic.to_string(),
        reason: format!(
            "min.compaction.lag.ms is {lag_ms}: after that, values that were replaced since the cut may be gone"
        ),
    })
}

#[cfg(test)]
mod tests {
    use cutline_model::{Offset, TopicPartition};

    use super::*;

    const CUT: i64 = 1_000_000;
    const HOUR: Duration = Duration::from_secs(3_600);

    fn need(offset: i64, since_ms: Option<i64>) -> Need {
        Need {
            cut_ms: CUT,
            topics: vec![("t".into(), "id".to_owned())],
            positions: vec![Position {
                topic: 0,
                partition: 0,
                offset: Offset(offset),
                since_ms,
            }],
            tables: Vec::new(),
        }
    }

    fn logs(start: i64, end: i64, config: TopicConfig) -> Logs {
        let log = Log {
            start: Offset(start),
            end: Offset(end),
            bytes: Some(1_000),
            growth: Some(0.001),
        };
        let mut logs = Logs::default();
        logs.ids.insert("t".into(), "id".to_owned());
        logs.configs.insert("t".into(), config);
        logs.partitions.insert(TopicPartition::new("t", 0), log);
        logs
    }

    fn keeps_ms(retention_ms: i64) -> TopicConfig {
        TopicConfig {
            deleted: true,
            retention_ms: Some(retention_ms),
            ..TopicConfig::default()
        }
    }

    fn state(need: &Need, logs: &Logs, now_ms: i64) -> (RestorableState, Option<i64>) {
        let found = judge(need, logs, now_ms, HOUR);
        let at = found.expires_at.map(|at| at.as_millisecond());
        (found.state, at)
    }

    #[test]
    fn age_is_counted_from_the_record_at_the_position() {
        let logs = logs(0, 100, keeps_ms(10 * 3_600_000));
        let (yes, soon) = (RestorableState::Yes, RestorableState::Expiring);
        let backlog = need(10, Some(CUT - 5 * 3_600_000));
        let at = CUT + 5 * 3_600_000;
        assert_eq!(state(&backlog, &logs, CUT), (yes, Some(at)));
        assert_eq!(state(&backlog, &logs, at - 3_600_000), (yes, Some(at)));
        assert_eq!(state(&backlog, &logs, at - 3_599_999), (soon, Some(at)));
        assert_eq!(state(&need(10, None), &logs, CUT), (yes, None));
        assert_eq!(state(&need(100, Some(CUT)), &logs, CUT), (yes, None));
    }

    #[test]
    fn what_is_gone_cannot_be_restored_and_the_edge_can() {
        let config = TopicConfig::default();
        let no = (RestorableState::No, None);
        let yes = (RestorableState::Yes, None);
        assert_eq!(
            state(&need(10, None), &logs(10, 20, config.clone()), CUT),
            yes
        );
        assert_eq!(
            state(&need(10, None), &logs(11, 20, config.clone()), CUT),
            no
        );
        assert_eq!(state(&need(10, None), &logs(0, 9, config.clone()), CUT), no);
        let mut other = logs(0, 20, config);
        other.ids.insert("t".into(), "another".to_owned());
        assert_eq!(state(&need(10, None), &other, CUT), no);
        other.ids.clear();
        assert_eq!(state(&need(10, None), &other, CUT), no);
    }

    #[test]
    fn size_runs_out_as_the_log_grows() {
        let config = TopicConfig {
            deleted: true,
            retention_bytes: Some(600),
            ..TopicConfig::default()
        };
        // 10 bytes a record, 50 of them above the position, one a second: 100 bytes are left for 10 s.
        let logs = logs(0, 100, config);
        let soon = RestorableState::Expiring;
        assert_eq!(
            state(&need(50, None), &logs, CUT),
            (soon, Some(CUT + 10_000))
        );
        assert_eq!(state(&need(10, None), &logs, CUT), (soon, Some(CUT)));
    }

    #[test]
    fn a_table_is_relied_on_for_its_compaction_lag() {
        let mut need = need(100, Some(CUT));
        need.tables.push(Table {
            topic: 0,
            lag_ms: 86_400_000,
        });
        let config = TopicConfig {
            compacted: true,
            min_compaction_lag_ms: 7_200_000,
            ..TopicConfig::default()
        };
        let at = CUT + 7_200_000 - LAG_MARGIN_MS;
        assert_eq!(
            state(&need, &logs(0, 100, config), CUT),
            (RestorableState::Yes, Some(at))
        );
    }
}
