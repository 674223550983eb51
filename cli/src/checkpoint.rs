//! `cutline checkpoint`: its verbs, and a checkpoint as one row.
//!
//! Each verb that has something to show is a file of its own; what is a question and an answer stands here.

mod create;
mod describe;
mod diff;
mod list;
mod prune;
mod verify;

use clap::{Subcommand, ValueEnum};
use cutline_client::{CheckpointStatus, CheckpointView, Restorable, RestorableState};
use cutline_model::Epoch;
use serde_json::json;

use crate::{
    completions,
    confirm::confirm,
    failure::Failure,
    page::Page,
    quantity::{ms, utc, whole_bytes, whole_ms},
    session::Session,
    table::{Column, Table},
};

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take a checkpoint
    Create(create::Arguments),
    /// Show every checkpoint, newest first
    List(list::Arguments),
    /// Show all that is known of a checkpoint
    Describe {
        /// The checkpoint
        #[arg(add = completions::epochs())]
        epoch: u64,
    },
    /// Show all that is known of the last checkpoint
    #[command(after_long_help = "Examples:\n  cutline checkpoint latest -o json | jq .epoch")]
    Latest {
        /// The last one that stands so
        #[arg(long, value_name = "STATUS", default_value = "completed")]
        status: Ended,
    },
    /// Delete a checkpoint
    Delete {
        /// The checkpoint
        #[arg(add = completions::epochs())]
        epoch: u64,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
    /// Delete what retention does not keep
    Prune(prune::Arguments),
    /// Read all of a checkpoint; exits 0 only when it is whole
    Verify {
        /// The checkpoint
        #[arg(add = completions::epochs())]
        epoch: u64,
    },
    /// Compare two checkpoints
    Diff {
        /// The one to compare from
        #[arg(value_name = "A", add = completions::epochs())]
        from: u64,
        /// The one to compare to
        #[arg(value_name = "B", add = completions::epochs())]
        to: u64,
    },
    /// End a checkpoint that is in progress
    Abort {
        /// The checkpoint
        #[arg(add = completions::epochs())]
        epoch: u64,
    },
}

/// How a checkpoint may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ended {
    /// It can be restored
    Completed,
    /// It counts for nothing
    Failed,
}

/// Does it.
///
/// # Errors
/// When it is not done.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(arguments) => create::run(session, arguments).await,
        Verb::List(arguments) => list::run(session, &arguments).await,
        Verb::Describe { epoch } => describe::run(session, Epoch(epoch)).await,
        Verb::Latest { status } => describe::latest(session, status).await,
        Verb::Delete { epoch, yes } => delete(session, Epoch(epoch), yes).await,
        Verb::Prune(arguments) => prune::run(session, &arguments).await,
        Verb::Verify { epoch } => verify::run(session, Epoch(epoch)).await,
        Verb::Diff { from, to } => diff::run(session, Epoch(from), Epoch(to)).await,
        Verb::Abort { epoch } => abort(session, Epoch(epoch)).await,
    }
}

async fn delete(session: &Session, epoch: Epoch, yes: bool) -> Result<(), Failure> {
    let what = format!("delete checkpoint {epoch}");
    confirm(session, &what, &epoch.to_string(), yes)?;
    let deleted = session.client.delete_checkpoint(epoch);
    session.ask(&what, deleted).await?;
    let page = Page::new().line(format!("checkpoint {epoch} is deleted"));
    let answer = json!({ "epoch": epoch, "deleted": true });
    Ok(session.screen.show(&answer, &page)?)
}

async fn abort(session: &Session, epoch: Epoch) -> Result<(), Failure> {
    let what = format!("abort checkpoint {epoch}");
    let answer = session.client.abort_checkpoint(epoch);
    let mut detail = session.ask(&what, answer).await?;
    let mut progress = session.screen.progress();
    // The admin API may answer before the abort has come through.
    while !detail.checkpoint.status.is_final() {
        progress.stands(&standing(&detail.checkpoint));
        session.pause_between_polls(&what).await?;
        let ask = || session.client.checkpoint(epoch);
        detail = session.ask_patiently(&what, &mut progress, ask).await?;
    }
    drop(progress);
    let page = Page::new().table(table(std::slice::from_ref(&detail.checkpoint)));
    session.screen.show(&detail, &page)?;
    if detail.checkpoint.status == CheckpointStatus::Completed {
        let late = format!("checkpoint {epoch} was not aborted: it COMPLETED first");
        return Err(Failure::not_done(late).with_cure(format!(
            "to be rid of it: cutline checkpoint delete {epoch}"
        )));
    }
    Ok(())
}

/// Where a checkpoint stands, in a few words.
fn standing(view: &CheckpointView) -> String {
    let phase = view.phase.as_deref();
    let phase = phase.map_or_else(String::new, |phase| format!(", {phase}"));
    format!("checkpoint {}: {}{phase}", view.epoch, view.status)
}

/// One row for each.
fn table(views: &[CheckpointView]) -> Table {
    let mut table = Table::new([
        Column::Number("EPOCH"),
        Column::Word("STATUS"),
        Column::Word("MODE"),
        Column::Word("STARTED (UTC)"),
        Column::Number("DURATION"),
        Column::Number("PAUSE"),
        Column::Number("STATE"),
        Column::Text("NOTE"),
    ]);
    for view in views {
        let (pause, state) = if view.status == CheckpointStatus::Completed {
            (ms(view.pause_ms_max), whole_bytes(view.state_size))
        } else {
            Default::default()
        };
        table.row([
            view.epoch.to_string(),
            view.status.to_string(),
            view.mode.to_string(),
            utc(view.started_at),
            whole_ms(view.duration_ms),
            pause,
            state,
            note(view),
        ]);
    }
    table
}

/// What is particular about a checkpoint: its name, what it is doing, why it failed and what followed.
fn note(view: &CheckpointView) -> String {
    let name = view
        .savepoint
        .as_ref()
        .map(|name| format!("savepoint {name:?}"));
    let next = view.retried_as.map(|next| format!("retried as {next}"));
    let limit = view.restorable.as_ref().map(restorable);
    let parts = [name, view.phase.clone(), next, view.reason.clone(), limit];
    let told = parts.into_iter().flatten().filter(|part| !part.is_empty());
    told.collect::<Vec<_>>().join("; ")
}

/// For how long a checkpoint can be restored, where that is worth a word.
fn restorable(restorable: &Restorable) -> String {
    let Restorable {
        state,
        expires_at,
        partition,
        reason,
    } = restorable;
    let why = match (partition, reason) {
        (Some(partition), Some(reason)) => format!(" ({partition}: {reason})"),
        (None, Some(reason)) => format!(" ({reason})"),
        _ => String::new(),
    };
    match (state, expires_at) {
        (RestorableState::Yes, _) => String::new(),
        (RestorableState::Expiring, Some(at)) => {
            format!("can be restored until about {}{why}", utc(*at))
        }
        (RestorableState::Expiring, None) => format!("can soon not be restored any more{why}"),
        (RestorableState::No, _) => format!("cannot be restored any more{why}"),
    }
}
