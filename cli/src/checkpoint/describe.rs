//! `cutline checkpoint describe`: everything known of one checkpoint.

use cutline_client::{CheckpointDetail, CheckpointStatus, CheckpointView, ProcessView};
use cutline_model::{Epoch, Guarantee};

use super::Ended;
use crate::{
    failure::Failure,
    page::Page,
    quantity::{ms, offset, time, whole_bytes, whole_ms},
    session::Session,
    sidecars::{capture_word, scope_word},
    table::{Column, Table},
};

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session, epoch: Epoch) -> Result<(), Failure> {
    let answer = session.client.checkpoint(epoch);
    let what = format!("describe checkpoint {epoch}");
    let detail = session.ask(&what, answer).await?;
    Ok(session.screen.show(&detail, &page(&detail))?)
}

/// Shows the last one that ended so.
///
/// # Errors
/// When there is none, or no answer.
pub async fn latest(session: &Session, status: Ended) -> Result<(), Failure> {
    let status = match status {
        Ended::Completed => CheckpointStatus::Completed,
        Ended::Failed => CheckpointStatus::Failed,
    };
    let answer = session.client.latest_checkpoint(status);
    let what = format!("describe the last checkpoint that is {status}");
    let detail = session.ask(&what, answer).await?;
    Ok(session.screen.show(&detail, &page(&detail))?)
}

fn page(detail: &CheckpointDetail) -> Page {
    facts(detail)
        .section("Processes", processes(&detail.processes))
        .section("Pauses", pauses(&detail.processes))
        .section("Positions", positions(detail))
        .section("Markers", markers(&detail.processes))
        .section("Barriers and ends", ends(detail))
        .section("Topics", topics(detail))
}

fn facts(detail: &CheckpointDetail) -> Page {
    let view: &CheckpointView = &detail.checkpoint;
    let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
    let guarantee = detail.guarantee.map(guarantee_word).unwrap_or_default();
    Page::new().facts([
        ("epoch", view.epoch.to_string()),
        ("status", view.status.to_string()),
        ("phase", view.phase.clone().unwrap_or_default()),
        ("reason", view.reason.clone().unwrap_or_default()),
        ("retried as", number(view.retried_as.map(|epoch| epoch.0))),
        ("savepoint", view.savepoint.clone().unwrap_or_default()),
        ("mode", view.mode.to_string()),
        ("guarantee", guarantee.to_owned()),
        ("started", time(view.started_at)),
        ("ended", view.completed_at.map(time).unwrap_or_default()),
        ("duration", whole_ms(view.duration_ms)),
        ("longest pause", ms(view.pause_ms_max)),
        ("state", whole_bytes(view.state_size)),
        ("uploaded", whole_bytes(view.bytes_uploaded)),
        ("restorable", restorable_words(view)),
        ("view", detail.view.to_string()),
        ("timeline", view.timeline.to_string()),
        ("kafka cluster", detail.kafka_cluster_id.clone()),
    ])
}

/// Whether it can be restored, until when, and what ends it.
fn restorable_words(view: &CheckpointView) -> String {
    let Some(restorable) = &view.restorable else {
        return String::new();
    };
    let until = restorable.expires_at.map(time);
    let until = until.map(|at| format!("until about {at}"));
    let word = Some(restorable.state.to_string());
    let parts = [
        word,
        until,
        restorable.partition.clone(),
        restorable.reason.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn processes(processes: &[ProcessView]) -> Table {
    let mut table = Table::new([
        Column::Word("PROCESS"),
        Column::Word("SCOPE"),
        Column::Word("CAPTURE"),
        Column::Word("GUARANTEE"),
        Column::Word("CUT"),
        Column::Number("STATE"),
        Column::Number("UPLOADED"),
        Column::Text("PROVIDER"),
        Column::Text("SIDECARS"),
    ]);
    for process in processes {
        table.row([
            process.process.clone(),
            scope_word(process.scope).to_owned(),
            capture_word(process.capture).to_owned(),
            guarantee_word(process.guarantee).to_owned(),
            if process.unaligned {
                "unaligned"
            } else {
                "aligned"
            }
            .to_owned(),
            whole_bytes(process.state_size),
            whole_bytes(process.bytes_uploaded),
            process
                .provider
                .clone()
                .unwrap_or_else(|| "none".to_owned()),
            process.sidecars.join(" "),
        ]);
    }
    table
}

fn pauses(processes: &[ProcessView]) -> Table {
    let mut table = Table::new([
        Column::Word("PROCESS"),
        Column::Number("DELAY"),
        Column::Number("ALIGNMENT"),
        Column::Number("QUIESCE"),
        Column::Number("SYNC"),
        Column::Number("MARK"),
        Column::Number("PAUSE"),
        Column::Number("ASYNC"),
    ]);
    for process in processes {
        table.row([
            process.process.clone(),
            ms(process.start_delay_ms),
            ms(process.alignment_ms),
            ms(process.quiesce_ms),
            ms(process.sync_ms),
            ms(process.mark_ms),
            ms(process.pause_ms),
            ms(process.async_ms),
        ]);
    }
    table
}

fn positions(detail: &CheckpointDetail) -> Table {
    let mut table = Table::new([
        Column::Word("GROUP"),
        Column::Word("PARTITION"),
        Column::Number("OFFSET"),
        Column::Word("PROCESS"),
    ]);
    let of_processes = detail.processes.iter().flat_map(|process| {
        let positions = process.positions.iter();
        positions.map(|position| (position, process.process.as_str()))
    });
    let idle = detail.idle_positions.iter().map(|position| (position, ""));
    for (position, process) in of_processes.chain(idle) {
        table.row([
            position.group.clone(),
            format!("{}-{}", position.topic, position.partition),
            offset(position.offset),
            process.to_owned(),
        ]);
    }
    table
}

fn markers(processes: &[ProcessView]) -> Table {
    let mut table = Table::new([
        Column::Word("SIDECAR"),
        Column::Word("PARTITION"),
        Column::Number("OFFSET"),
        Column::Word("LATE"),
    ]);
    for process in processes {
        for marker in &process.markers {
            table.row([
                format!("{}/{}", process.service, marker.instance),
                format!("{}-{}", marker.topic, marker.partition),
                marker.offset.to_string(),
                if marker.late { "late" } else { "" }.to_owned(),
            ]);
        }
    }
    table
}

fn ends(detail: &CheckpointDetail) -> Table {
    let mut table = Table::new([
        Column::Word("PARTITION"),
        Column::Number("BARRIER"),
        Column::Number("END"),
    ]);
    let mut partitions = std::collections::BTreeMap::<_, (String, String)>::new();
    for barrier in &detail.barriers {
        let row = partitions.entry((&barrier.topic, barrier.partition));
        row.or_default().0 = barrier.offset.to_string();
    }
    for end in &detail.ends {
        let row = partitions.entry((&end.topic, end.partition));
        row.or_default().1 = end.offset.to_string();
    }
    for ((topic, partition), (barrier, end)) in partitions {
        table.row([format!("{topic}-{partition}"), barrier, end]);
    }
    table
}

fn topics(detail: &CheckpointDetail) -> Table {
    let mut table = Table::new([
        Column::Word("TOPIC"),
        Column::Number("PARTITIONS"),
        Column::Word("ID"),
    ]);
    for topic in &detail.topics {
        table.row([
            topic.name.clone(),
            topic.partitions.to_string(),
            topic.id.clone(),
        ]);
    }
    table
}

fn guarantee_word(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::Consistent => "consistent",
        Guarantee::PositionsOnly => "positions-only",
    }
}
