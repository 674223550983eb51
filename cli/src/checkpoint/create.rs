//! `cutline checkpoint create`: begins a checkpoint and, when asked, stays with it through its retries to its end.
//!
//! A failed attempt is followed by another under a new epoch, as long as the admin API has retries left; the wait follows.

use clap::Args;
use cutline_client::{CheckpointDetail, CheckpointRequest, CheckpointStatus};
use cutline_model::{Epoch, Mode};

use super::{standing, table};
use crate::{
    failure::Failure,
    page::Page,
    progress::Progress,
    session::Session,
    stage::Stage,
    table::{Column, Table},
};

/// How to take a checkpoint.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  cutline checkpoint create --wait\n  cutline checkpoint create --savepoint before-upgrade --wait"
)]
pub struct Arguments {
    /// Name it: a savepoint, which retention keeps
    #[arg(long, value_name = "NAME")]
    savepoint: Option<String>,
    /// How input is held: aligned, unaligned or synchronous; as configured when not given
    #[arg(long)]
    mode: Option<Mode>,
    /// Stay until it is COMPLETED or failed for good; exit 0 only when it is COMPLETED
    #[arg(long)]
    wait: bool,
}

/// Does it.
///
/// # Errors
/// When it is not begun or, with `--wait`, not COMPLETED.
pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let request = CheckpointRequest {
        mode: arguments.mode,
        savepoint: arguments.savepoint,
    };
    let answer = session.client.create_checkpoint(&request, None);
    let accepted = session.ask("create a checkpoint", answer).await?;
    if arguments.wait {
        return wait(session, accepted.epoch).await;
    }
    let mut table = Table::new([
        Column::Number("EPOCH"),
        Column::Word("STATUS"),
        Column::Word("MODE"),
        Column::Text("SAVEPOINT"),
    ]);
    let epoch = accepted.epoch;
    table.row([
        epoch.to_string(),
        accepted.status.to_string(),
        accepted.mode.to_string(),
        accepted.savepoint.clone().unwrap_or_default(),
    ]);
    session.screen.show(&accepted, &Page::new().table(table))?;
    session.screen.note(&format!(
        "begun, not done; it is when this says COMPLETED: cutline checkpoint describe {epoch}"
    ));
    Ok(())
}

async fn wait(session: &Session, first: Epoch) -> Result<(), Failure> {
    let mut progress = session.screen.progress();
    let detail = last_attempt(session, first, &mut progress).await?;
    drop(progress);
    let view = &detail.checkpoint;
    let page = Page::new().table(table(std::slice::from_ref(view)));
    session.screen.show(&detail, &page)?;
    if view.status == CheckpointStatus::Completed {
        return Ok(());
    }
    let reason = view.reason.as_deref().unwrap_or("no reason is known");
    let tried = if view.epoch == first {
        String::new()
    } else {
        format!(", the last attempt of the one begun as {first},")
    };
    let (epoch, status) = (view.epoch, view.status);
    Err(Failure::not_done(format!(
        "checkpoint {epoch}{tried} is {status}: {reason}"
    )))
}

/// The attempt after which no other follows, once it has ended.
async fn last_attempt(
    session: &Session,
    first: Epoch,
    progress: &mut Progress,
) -> Result<CheckpointDetail, Failure> {
    let mut epoch = first;
    loop {
        let what = format!("see the end of checkpoint {epoch}");
        let goes_on = format!(
            "it may go on: `cutline checkpoint describe {epoch}` shows it, `cutline checkpoint abort {epoch}` ends it"
        );
        let ask = || session.client.checkpoint(epoch);
        let asked = session.ask_patiently(&what, progress, ask).await;
        let detail = asked.map_err(|failure| failure.with_cure(goes_on.as_str()))?;
        let view = &detail.checkpoint;
        match (view.status, view.retried_as) {
            // Epochs only grow: what does not follow is no next attempt.
            (CheckpointStatus::Failed, Some(next)) if next > epoch => {
                let reason = view.reason.as_deref().unwrap_or("no reason is known");
                progress.happened(&format!(
                    "checkpoint {epoch} FAILED and is tried again as {next}: {reason}"
                ));
                epoch = next;
            }
            (CheckpointStatus::Triggered | CheckpointStatus::InProgress, _) => {
                progress.reaches(Stage::of_phase(view.phase.as_deref()), &standing(view));
                let paused = session.pause_between_polls(&what).await;
                paused.map_err(|failure| failure.with_cure(goes_on))?;
            }
            (
                CheckpointStatus::Completed | CheckpointStatus::Failed | CheckpointStatus::Deleting,
                _,
            ) => return Ok(detail),
        }
    }
}
