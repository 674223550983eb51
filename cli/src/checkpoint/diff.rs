//! `cutline checkpoint diff`: how one checkpoint differs from another — positions, state, topics, membership.
//!
//! The comparison is made here, of what the admin API answers on each. State is compared by size, not by content.

use std::collections::BTreeMap;

use cutline_client::{CheckpointDetail, CheckpointStatus, PositionView};
use cutline_model::Epoch;
use serde::Serialize;

use crate::{
    failure::Failure,
    page::Page,
    quantity::{bytes_change, offset, time, whole_bytes},
    session::Session,
    table::{Column, Table},
};

/// How `to` differs from `from`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    from: Epoch,
    to: Epoch,
    /// From one trigger to the other.
    apart_ms: i64,
    /// A restore lies between when they differ.
    timelines: [u64; 2],
    positions: Vec<PositionChange>,
    processes: Vec<ProcessChange>,
    topics: Vec<TopicChange>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct PositionChange {
    group: String,
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: Option<i64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ProcessChange {
    process: String,
    /// Bytes of state; null where the process took no part.
    from_size: Option<u64>,
    to_size: Option<u64>,
}

/// A topic that was added, removed, recreated or grew; those that stayed are left out.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct TopicChange {
    topic: String,
    from_partitions: Option<i32>,
    to_partitions: Option<i32>,
    /// True when its id differs: it is another topic of the same name.
    recreated: bool,
}

/// Does it.
///
/// # Errors
/// When one of them cannot be read or has no manifest to compare.
pub async fn run(session: &Session, from: Epoch, to: Epoch) -> Result<(), Failure> {
    let (from, to) = (read(session, from).await?, read(session, to).await?);
    let difference = difference(&from, &to);
    let page = page(&difference, &from, &to);
    Ok(session.screen.show(&difference, &page)?)
}

async fn read(session: &Session, epoch: Epoch) -> Result<CheckpointDetail, Failure> {
    let what = format!("compare checkpoint {epoch}");
    let detail = session.ask(&what, session.client.checkpoint(epoch)).await?;
    let status = detail.checkpoint.status;
    if status != CheckpointStatus::Completed {
        let text = format!("checkpoint {epoch} cannot be compared: it is {status}");
        return Err(Failure::not_done(text)
            .with_cure("those that can: cutline checkpoint list --status completed"));
    }
    Ok(detail)
}

fn difference(from: &CheckpointDetail, to: &CheckpointDetail) -> Difference {
    let (a, b) = (&from.checkpoint, &to.checkpoint);
    Difference {
        from: a.epoch,
        to: b.epoch,
        apart_ms: b.started_at.as_millisecond() - a.started_at.as_millisecond(),
        timelines: [a.timeline.0, b.timeline.0],
        positions: positions(from, to),
        processes: processes(from, to),
        topics: topics(from, to),
    }
}

/// What stands under each key on either side.
fn both<K: Ord, V>(
    from: impl Iterator<Item = (K, V)>,
    to: impl Iterator<Item = (K, V)>,
) -> BTreeMap<K, (Option<V>, Option<V>)> {
    let mut sides: BTreeMap<K, (Option<V>, Option<V>)> = from
        .map(|(key, value)| (key, (Some(value), None)))
        .collect();
    for (key, value) in to {
        sides.entry(key).or_default().1 = Some(value);
    }
    sides
}

fn positions(from: &CheckpointDetail, to: &CheckpointDetail) -> Vec<PositionChange> {
    fn of(
        detail: &CheckpointDetail,
    ) -> impl Iterator<Item = ((&str, &str, i32), Option<i64>)> + '_ {
        let of_processes = detail.processes.iter().flat_map(|one| &one.positions);
        let all = of_processes.chain(&detail.idle_positions);
        all.map(|position: &PositionView| {
            let PositionView {
                group,
                topic,
                partition,
                offset,
            } = position;
            ((group.as_str(), topic.as_str(), *partition), *offset)
        })
    }
    let sides = both(of(from), of(to)).into_iter();
    sides
        .map(|((group, topic, partition), (from, to))| PositionChange {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partition,
            from: from.flatten(),
            to: to.flatten(),
        })
        .collect()
}

fn processes(from: &CheckpointDetail, to: &CheckpointDetail) -> Vec<ProcessChange> {
    let of = |detail: &CheckpointDetail| {
        let sizes = detail.processes.iter();
        sizes
            .map(|one| (one.process.clone(), one.state_size))
            .collect::<Vec<_>>()
    };
    let sides = both(of(from).into_iter(), of(to).into_iter()).into_iter();
    sides
        .map(|(process, (from_size, to_size))| ProcessChange {
            process,
            from_size,
            to_size,
        })
        .collect()
}

fn topics(from: &CheckpointDetail, to: &CheckpointDetail) -> Vec<TopicChange> {
    let sides = both(
        from.topics.iter().map(|topic| (&topic.name, topic)),
        to.topics.iter().map(|topic| (&topic.name, topic)),
    );
    let changed = sides.into_iter().filter(|(_, (from, to))| from != to);
    changed
        .map(|(name, (from, to))| TopicChange {
            topic: name.clone(),
            from_partitions: from.map(|topic| topic.partitions),
            to_partitions: to.map(|topic| topic.partitions),
            recreated: matches!((from, to), (Some(from), Some(to)) if from.id != to.id),
        })
        .collect()
}

fn page(difference: &Difference, from: &CheckpointDetail, to: &CheckpointDetail) -> Page {
    let describe = |detail: &CheckpointDetail| {
        let view = &detail.checkpoint;
        let (epoch, timeline) = (view.epoch, view.timeline);
        let (at, mode) = (time(view.started_at), view.mode);
        format!("checkpoint {epoch}, {at}, {mode}, timeline {timeline}")
    };
    let mut page = Page::new().facts([("A", describe(from)), ("B", describe(to))]);
    if difference.timelines[0] != difference.timelines[1] {
        page = page.line("A restore lies between them.");
    }
    page.section("Positions", position_table(&difference.positions))
        .section("State", process_table(&difference.processes))
        .section("Topics that differ", topic_table(&difference.topics))
}

fn position_table(changes: &[PositionChange]) -> Table {
    let mut table = Table::new([
        Column::Word("GROUP"),
        Column::Word("PARTITION"),
        Column::Number("A"),
        Column::Number("B"),
        Column::Number("MOVED"),
    ]);
    for change in changes {
        let moved = change.from.zip(change.to).map(|(from, to)| to - from);
        table.row([
            change.group.clone(),
            format!("{}-{}", change.topic, change.partition),
            offset(change.from),
            offset(change.to),
            moved.map_or_else(String::new, |moved| format!("{moved:+}")),
        ]);
    }
    table
}

fn process_table(changes: &[ProcessChange]) -> Table {
    let mut table = Table::new([
        Column::Word("PROCESS"),
        Column::Number("A"),
        Column::Number("B"),
        Column::Number("CHANGE"),
    ]);
    let size = |size: Option<u64>| size.map_or_else(|| "absent".to_owned(), whole_bytes);
    for change in changes {
        let sizes = change.from_size.zip(change.to_size);
        table.row([
            change.process.clone(),
            size(change.from_size),
            size(change.to_size),
            sizes.map_or_else(String::new, |(from, to)| bytes_change(from, to)),
        ]);
    }
    table
}

fn topic_table(changes: &[TopicChange]) -> Table {
    let mut table = Table::new([
        Column::Word("TOPIC"),
        Column::Number("PARTITIONS A"),
        Column::Number("PARTITIONS B"),
        Column::Word("NOTE"),
    ]);
    let partitions = |of: Option<i32>| of.map_or_else(|| "absent".to_owned(), |n| n.to_string());
    for change in changes {
        table.row([
            change.topic.clone(),
            partitions(change.from_partitions),
            partitions(change.to_partitions),
            if change.recreated { "recreated" } else { "" }.to_owned(),
        ]);
    }
    table
}
