//! `cutline checkpoint prune`: deletes what retention does not keep, or shows what that would be.

use clap::Args;
use cutline_client::{PruneEntry, PruneReport, PruneRequest};

use crate::{
    failure::Failure,
    page::Page,
    quantity::{count, utc, whole_bytes},
    session::Session,
    table::{Column, Table},
};

/// How to prune.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only show what would be deleted, and why the rest is kept
    #[arg(long)]
    dry_run: bool,
}

/// Does it.
///
/// # Errors
/// When it is not done.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let request = PruneRequest {
        dry_run: arguments.dry_run,
    };
    let answer = session.client.prune(&request);
    let report = session.ask("prune checkpoints", answer).await?;
    Ok(session.screen.show(&report, &page(&report))?)
}

fn page(report: &PruneReport) -> Page {
    let (deleted, garbage) = if report.dry_run {
        ("Would be deleted", "would be collected")
    } else {
        ("Deleted", "collected")
    };
    let found = &report.garbage;
    let mut page = Page::new()
        .section(deleted, table(&report.deleted))
        .section("Kept", table(&report.kept))
        .line("")
        .line(format!(
            "{} {garbage}: {} in {}; {} in use, {} not in use and too young",
            if report.deleted.is_empty() {
                "nothing is to be deleted; garbage"
            } else {
                "garbage"
            },
            whole_bytes(found.bytes),
            count(usize::try_from(found.packs).unwrap_or(usize::MAX), "pack"),
            found.packs_kept,
            found.packs_young,
        ));
    if report.left > 0 {
        let left = count(report.left, "more checkpoint");
        page = page.line(format!("{left} to delete: run it again"));
    }
    page
}

fn table(entries: &[PruneEntry]) -> Table {
    let mut table = Table::new([
        Column::Number("EPOCH"),
        Column::Word("STATUS"),
        Column::Word("ENDED (UTC)"),
        Column::Number("STATE"),
        Column::Text("WHY"),
    ]);
    for entry in entries {
        let name = entry.savepoint.as_ref();
        let name = name.map_or_else(String::new, |name| format!("savepoint {name:?}: "));
        table.row([
            entry.epoch.to_string(),
            entry.status.to_string(),
            entry.completed_at.map(utc).unwrap_or_default(),
            whole_bytes(entry.state_size),
            format!("{name}{}", entry.reason),
        ]);
    }
    table
}
