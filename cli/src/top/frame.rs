//! One frame: what was seen, in as many lines and columns as there are.
//!
//! It draws from top to bottom what matters most: who leads, how old the last checkpoint is, what is in progress, sidecars, events.

use cutline_client::{
    CheckpointStatus, CheckpointView, ProcessView, RestoreView, SidecarView, Spread,
};

use super::look::Seen;
use crate::{
    events,
    page::printable,
    quantity::{ms, whole_bytes, whole_ms},
    stage::Stage,
    table::{Column, Table},
};

const BAR_WIDTH: usize = 24;
/// A pause in parts, in a sidecar's row.
const SPLIT_WIDTH: usize = 16;
/// Rows that events have at least.
const EVENTS_MIN: usize = 3;
/// Rows of the heading of a section, with the space above it.
const HEADING: usize = 2;

/// The frame, of at most `height` lines of at most `width` characters.
pub fn frame(seen: &Seen, width: usize, height: usize) -> Vec<String> {
    let mut lines = vec![title(seen), last(seen), schedule(seen)];
    lines.extend(
        seen.silent
            .iter()
            .map(|why| format!("no answer now, asking again: {why}")),
    );
    lines.extend(running(seen));
    let left = height.saturating_sub(lines.len() + 2 * HEADING + EVENTS_MIN);
    lines.extend(sidecars(seen, width, left));
    let left = height.saturating_sub(lines.len() + HEADING);
    lines.extend(told(seen, left));
    lines.truncate(height);
    lines.iter().map(|line| cut(line, width)).collect()
}

fn cut(line: &str, width: usize) -> String {
    printable(line).chars().take(width).collect()
}

fn title(seen: &Seen) -> String {
    let at = seen.at.strftime("%H:%M:%SZ");
    let Some(admin) = &seen.admin else {
        return format!("cutline  {}  {at}", seen.place);
    };
    let deployment = admin.deployment.as_deref().unwrap_or("starting");
    let leads = if admin.leading { "leads" } else { "STANDS BY" };
    format!(
        "cutline  {deployment}  {}  {leads}  {}  {at}",
        seen.place, admin.version
    )
}

fn last(seen: &Seen) -> String {
    let Some(list) = &seen.checkpoints else {
        return "checkpoints: not known yet".to_owned();
    };
    let counts = list.counts;
    let all = format!("{} completed, {} failed", counts.completed, counts.failed);
    match &list.latest.completed {
        Some(view) => format!(
            "last checkpoint {}, {} old, pause {}, {}   ({all})",
            view.epoch,
            age(seen, view),
            ms(view.pause_ms_max),
            whole_bytes(view.state_size)
        ),
        None => format!("last checkpoint: NONE   ({all})"),
    }
}

fn age(seen: &Seen, view: &CheckpointView) -> String {
    let ms = seen.at.as_millisecond() - view.started_at.as_millisecond();
    let seconds = u64::try_from(ms / 1_000).unwrap_or(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

fn schedule(seen: &Seen) -> String {
    let Some(schedule) = &seen.schedule else {
        return String::new();
    };
    let Some(interval) = schedule.interval_ms else {
        return "schedule: off".to_owned();
    };
    let next = schedule.next_at.map_or_else(String::new, |at| {
        let left = (at.as_second() - seen.at.as_second()).max(0);
        format!(", next in {left} s")
    });
    let failures = match schedule.failures {
        0 => String::new(),
        failures => format!(", {failures} FAILED IN A ROW"),
    };
    let interval = whole_ms(interval);
    format!(
        "schedule: every {interval}, {}{next}{failures}",
        schedule.mode
    )
}

/// What is in progress: a checkpoint, a restore, or nothing.
fn running(seen: &Seen) -> Vec<String> {
    let checkpoints = seen.checkpoints.iter().flat_map(|list| &list.history);
    let open = |view: &&CheckpointView| {
        matches!(
            view.status,
            CheckpointStatus::Triggered | CheckpointStatus::InProgress
        )
    };
    let mut lines = Vec::new();
    if let Some(view) = checkpoints.into_iter().find(open) {
        let phase = view.phase.as_deref().unwrap_or("Preparing");
        let bar = Stage::of_phase(Some(phase)).bar(BAR_WIDTH);
        let duration = whole_ms(view.duration_ms);
        lines.push(format!(
            "CHECKPOINT {}  {bar}  {phase}  {duration}",
            view.epoch
        ));
    }
    if let Some(view) = &seen.restore {
        lines.extend(restore(view));
    }
    if lines.is_empty() {
        return lines;
    }
    lines.insert(0, String::new());
    lines
}

fn restore(view: &RestoreView) -> Vec<String> {
    let bar = Stage::of_step(&view.step).bar(BAR_WIDTH);
    let duration = whole_ms(view.duration_ms);
    let mut lines = vec![format!(
        "RESTORE {} to {}  {bar}  {}  {duration}",
        view.id, view.epoch, view.step
    )];
    let services = view.services.join(" ");
    lines.push(match &view.reason {
        Some(reason) => format!("  WAITS: {reason}"),
        None => format!("  {}: {services}", view.status),
    });
    lines
}

/// The sidecars in at most `rows` rows; those that are not well come first.
fn sidecars(seen: &Seen, width: usize, rows: usize) -> Vec<String> {
    let mut sorted: Vec<&SidecarView> = seen.sidecars.iter().collect();
    sorted.sort_by_key(|view| std::cmp::Reverse(view.state));
    let mut table = Table::new([
        Column::Word("SIDECAR"),
        Column::Word("STANDS"),
        Column::Number("CONN"),
        Column::Number("READS"),
        Column::Number("PAUSE"),
        Column::Number("P99"),
        Column::Word("WHERE IT WENT"),
    ]);
    // One row is the table's heading, one may say what is left out.
    let shown = sorted.len().min(rows.saturating_sub(2));
    for sidecar in &sorted[..shown] {
        let process = seen.last.iter().find(|process| {
            let name = format!("{}/{}", sidecar.service, sidecar.instance);
            process.sidecars.contains(&name)
        });
        let pauses = process.and_then(|process| seen.pauses.get(&process.process));
        table.row([
            format!("{}/{}", sidecar.service, sidecar.instance),
            sidecar.state.to_string(),
            sidecar.app_connections.to_string(),
            sidecar.reads.len().to_string(),
            process.map_or_else(String::new, |process| ms(process.pause_ms)),
            pauses.map_or_else(String::new, |all| ms(Spread::of(all.clone()).p99)),
            process.map_or_else(String::new, split),
        ]);
    }
    let legend = "pause: a aligning, q quiescing, s state, m marking";
    let mut lines = vec![
        String::new(),
        format!("SIDECARS {}   {legend}", sorted.len()),
    ];
    if !table.is_empty() {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        lines.extend(table.render(Some(width)).lines().map(str::to_owned));
    }
    if shown < sorted.len() {
        lines.push(format!("and {} more", sorted.len() - shown));
    }
    lines
}

/// A pause as a bar of letters, each for its share.
fn split(process: &ProcessView) -> String {
    let parts = [
        ('a', process.alignment_ms),
        ('q', process.quiesce_ms),
        ('s', process.sync_ms),
        ('m', process.mark_ms),
    ];
    let all: f64 = parts.iter().map(|(_, ms)| ms.max(0.0)).sum();
    if all <= 0.0 {
        return String::new();
    }
    let letters = parts.iter().map(|(letter, ms)| {
        let share = (ms.max(0.0) / all * SPLIT_WIDTH as f64).round() as usize;
        letter.to_string().repeat(share.min(SPLIT_WIDTH))
    });
    letters.collect()
}

/// The last events in at most `rows` rows.
fn told(seen: &Seen, rows: usize) -> Vec<String> {
    let skipped = seen.events.len().saturating_sub(rows);
    let mut lines = vec![String::new(), "EVENTS".to_owned()];
    let last = seen.events.iter().skip(skipped);
    lines.extend(last.map(|event| {
        let line = events::line(event);
        // The day is known; the space is not enough for it.
        line.get(11..).unwrap_or(&line).to_owned()
    }));
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use cutline_client::Event;
    use serde_json::json;

    use super::*;

    fn sidecar(instance: u32, state: &str) -> SidecarView {
        serde_json::from_value(json!({
            "service": "bank-a", "instance": instance.to_string(), "incarnation": "i", "state": state,
            "scope": "instance", "capture": "commit", "providers": [], "app_connections": 4,
            "groups": [], "reads": ["transfers-0"], "writes": [],
        }))
        .unwrap()
    }

    fn seen(sidecars: u32) -> Seen {
        let process: ProcessView = serde_json::from_value(json!({
            "process": "bank-a/0", "service": "bank-a", "instance": "0", "sidecars": ["bank-a/0"],
            "capture": "commit", "scope": "instance", "guarantee": "consistent", "unaligned": false,
            "start_delay_ms": 1.0, "alignment_ms": 4.0, "quiesce_ms": 8.0, "sync_ms": 0.0, "mark_ms": 4.0,
            "async_ms": 60.0, "pause_ms": 16.0, "state_size": 1, "bytes_uploaded": 1,
            "positions": [], "markers": [],
        }))
        .unwrap();
        let event = |number: u32| Event {
            id: format!("a-{number}"),
            at: "2026-03-04T05:06:07Z".parse().unwrap(),
            kind: "checkpoint.phase".to_owned(),
            data: json!({ "epoch": number }),
        };
        Seen {
            place: "http://127.0.0.1:7070".to_owned(),
            at: "2026-03-04T05:06:19Z".parse().unwrap(),
            silent: None,
            admin: None,
            checkpoints: None,
            schedule: None,
            restore: None,
            sidecars: (0..sidecars)
                .map(|instance| sidecar(instance, "connected"))
                .collect(),
            pauses: BTreeMap::from([("bank-a/0".to_owned(), vec![16.0, 20.0])]),
            last: vec![process],
            events: (0..50).map(event).collect::<VecDeque<_>>(),
        }
    }

    #[test]
    fn a_frame_never_outgrows_its_terminal_and_always_has_events() {
        for (sidecars, width, height) in [(0, 80, 24), (3, 80, 24), (500, 80, 24), (3, 44, 12)] {
            let lines = frame(&seen(sidecars), width, height);
            assert!(lines.len() <= height, "{sidecars}: {lines:#?}");
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:#?}"
            );
            assert!(
                lines.last().unwrap().contains("epoch=49"),
                "{sidecars}: {lines:#?}"
            );
        }
    }

    #[test]
    fn a_pause_is_split_by_where_it_went_and_trouble_comes_first() {
        let mut seen = seen(2);
        seen.sidecars.push(sidecar(9, "lost"));
        let lines = frame(&seen, 80, 24);
        let rows: Vec<&String> = lines
            .iter()
            .filter(|line| line.starts_with("bank-a/"))
            .collect();
        assert!(rows[0].contains("bank-a/9  lost"), "{lines:#?}");
        let row = rows
            .iter()
            .find(|line| line.starts_with("bank-a/0"))
            .unwrap();
        assert!(
            row.contains("aaaaqqqqqqqqmmmm") && row.contains("20.0 ms"),
            "{row}"
        );
    }
}
