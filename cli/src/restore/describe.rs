//! `cutline restore describe`: everything known of one restore.

use cutline_client::{RestoreJournalEntry, RestoreView};

use super::plan::contaminated;
use crate::{
    failure::Failure,
    page::Page,
    quantity::{time, whole_bytes, whole_ms},
    session::Session,
    table::{Column, Table},
};

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session, id: &str) -> Result<(), Failure> {
    let answer = session.client.restore(id);
    let what = format!("describe restore {id}");
    let view = session.ask(&what, answer).await?;
    Ok(session.screen.show(&view, &page(&view))?)
}

/// The restore for people.
pub fn page(view: &RestoreView) -> Page {
    let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
    Page::new()
        .facts([
            ("restore", view.id.clone()),
            ("checkpoint", view.epoch.to_string()),
            ("status", view.status.to_string()),
            ("step", view.step.clone()),
            ("reason", view.reason.clone().unwrap_or_default()),
            ("services", view.services.join(", ")),
            ("started", time(view.started_at)),
            ("ended", view.completed_at.map(time).unwrap_or_default()),
            ("duration", whole_ms(view.duration_ms)),
            ("state put back", whole_bytes(view.state_size)),
            ("masked offsets", view.masked_offsets.to_string()),
            (
                "safety checkpoint",
                number(view.safety_epoch.map(|epoch| epoch.0)),
            ),
            ("timeline", number(view.timeline.map(|timeline| timeline.0))),
        ])
        .section("Steps", steps(&view.journal))
        .section(
            "Unrestored groups that have read what is masked",
            contaminated(&view.contaminated),
        )
        .list("Warnings", &view.warnings)
}

fn steps(journal: &[RestoreJournalEntry]) -> Table {
    let mut table = Table::new([
        Column::Number("SEQ"),
        Column::Word("AT"),
        Column::Number("AFTER"),
        Column::Text("STEP"),
    ]);
    let begin = journal.first().map(|entry| entry.at);
    for entry in journal {
        let since = begin.map_or(0, |begin| {
            entry.at.as_millisecond() - begin.as_millisecond()
        });
        table.row([
            entry.seq.to_string(),
            time(entry.at),
            whole_ms(u64::try_from(since).unwrap_or(0)),
            entry.step.clone(),
        ]);
    }
    table
}
