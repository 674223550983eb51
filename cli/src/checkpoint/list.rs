//! `cutline checkpoint list`: every checkpoint in a row, and how they were on the whole.

use clap::{Args, ValueEnum};
use cutline_client::{CheckpointList, CheckpointQuery, CheckpointStatus, Spread};

use super::table;
use crate::{
    failure::Failure,
    page::Page,
    quantity::{bytes, ms},
    session::Session,
    table::{Column, Table},
};

/// Which checkpoints to show.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only those that stand so
    #[arg(long)]
    status: Option<Status>,
    /// At most so many; the admin API shows 50 when not given
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only those before this epoch: the next page
    #[arg(long, value_name = "EPOCH")]
    before: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Triggered,
    InProgress,
    Completed,
    Failed,
    Deleting,
}

impl From<Status> for CheckpointStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Triggered => Self::Triggered,
            Status::InProgress => Self::InProgress,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Deleting => Self::Deleting,
        }
    }
}

/// Does it.
///
/// # Errors
/// When there is no answer.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let query = CheckpointQuery {
        status: arguments.status.map(Into::into),
        limit: arguments.limit,
        before: arguments.before,
    };
    let answer = session.client.checkpoints(&query);
    let list = session.ask("list checkpoints", answer).await?;
    if list.counts.total == 0 {
        let hint = "no checkpoint was taken yet: cutline checkpoint create --wait";
        session.screen.note(hint);
    }
    Ok(session.screen.show(&list, &page(&list))?)
}

fn page(list: &CheckpointList) -> Page {
    let counts = &list.counts;
    Page::new()
        .table(table(&list.history))
        .section("Completed checkpoints", summary(list))
        .line("")
        .line(format!(
            "{} in all: {} completed, {} failed, {} in progress; {} restored",
            counts.total, counts.completed, counts.failed, counts.in_progress, counts.restored
        ))
}

fn summary(list: &CheckpointList) -> Table {
    let mut table = Table::new([
        Column::Word(""),
        Column::Number("MIN"),
        Column::Number("AVG"),
        Column::Number("P50"),
        Column::Number("P99"),
        Column::Number("MAX"),
    ]);
    if list.counts.completed == 0 {
        return table;
    }
    let mut row = |name: &str, spread: &Spread, unit: fn(f64) -> String| {
        table.row([
            name.to_owned(),
            unit(spread.min),
            unit(spread.avg),
            unit(spread.p50),
            unit(spread.p99),
            unit(spread.max),
        ]);
    };
    row("duration", &list.summary.duration_ms, ms);
    row("pause", &list.summary.pause_ms, ms);
    row("state", &list.summary.state_size, bytes);
    row("uploaded", &list.summary.bytes_uploaded, bytes);
    table
}
