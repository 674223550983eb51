//! `cutline restore`: its verbs, and a restore as one row.

mod create;
mod describe;
mod plan;

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use cutline_client::{RestoreStatus, RestoreView};
use cutline_model::Epoch;

use crate::{
    completions,
    failure::Failure,
    page::Page,
    quantity::{utc, whole_ms},
    session::Session,
    table::{Column, Table},
};

/// What to do with restores.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what a restore would do, and do nothing; exits 0 only when it could be done
    #[command(
        after_long_help = "Examples:\n  cutline restore plan 42\n  cutline restore plan 42 --services orders,payments"
    )]
    Plan {
        /// The checkpoint
        #[arg(add = completions::epochs())]
        epoch: u64,
        /// Only these services; all of the checkpoint's when not given
        #[arg(long, value_delimiter = ',', value_name = "A,B", value_parser = NonEmptyStringValueParser::new())]
        services: Option<Vec<String>>,
    },
    /// Put services back to a checkpoint, in place
    Create(create::Arguments),
    /// Show all that is known of a restore
    Describe {
        /// The restore
        #[arg(add = completions::restores())]
        id: String,
    },
    /// Show every restore, newest first
    List,
    /// End a restore that has put nothing back yet
    Abort {
        /// The restore
        #[arg(add = completions::restores())]
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// When it is not done.
pub async fn run(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Plan { epoch, services } => plan::run(session, Epoch(epoch), services).await,
        Verb::Create(arguments) => create::run(session, arguments).await,
        Verb::Describe { id } => describe::run(session, &id).await,
        Verb::List => list(session).await,
        Verb::Abort { id } => abort(session, &id).await,
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let answer = session.client.restores();
    let restores = session.ask("list restores", answer).await?;
    if restores.is_empty() {
        session.screen.note("nothing was restored yet");
    }
    let page = Page::new().table(table(&restores));
    Ok(session.screen.show(&restores, &page)?)
}

async fn abort(session: &Session, id: &str) -> Result<(), Failure> {
    let what = format!("abort restore {id}");
    let answer = session.client.abort_restore(id);
    let mut view = session.ask(&what, answer).await?;
    let mut progress = session.screen.progress();
    // What was stopped has to be let go before it is ABORTED.
    while !view.status.is_final() {
        progress.stands(&standing(&view));
        session.pause_between_polls(&what).await?;
        let ask = || session.client.restore(id);
        view = session.ask_patiently(&what, &mut progress, ask).await?;
    }
    drop(progress);
    let page = Page::new().table(table(std::slice::from_ref(&view)));
    session.screen.show(&view, &page)?;
    if view.status == RestoreStatus::Aborted {
        return Ok(());
    }
    let status = view.status;
    Err(Failure::not_done(format!(
        "restore {id} was not aborted: it is {status}"
    )))
}

/// Where a restore stands, in a few words.
fn standing(view: &RestoreView) -> String {
    let reason = view.reason.as_deref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!(
        "restore {}: {}, {}{reason}",
        view.id, view.status, view.step
    )
}

/// One row for each.
fn table(views: &[RestoreView]) -> Table {
    let mut table = Table::new([
        Column::Word("ID"),
        Column::Number("EPOCH"),
        Column::Word("STATUS"),
        Column::Word("STARTED (UTC)"),
        Column::Number("DURATION"),
        Column::Number("SAFETY"),
        Column::Text("SERVICES"),
        Column::Text("NOTE"),
    ]);
    for view in views {
        let safety = view.safety_epoch.map(|epoch| epoch.to_string());
        let note = view.reason.clone().unwrap_or_else(|| {
            let step = Some(&view.step).filter(|_| !view.status.is_final());
            step.cloned().unwrap_or_default()
        });
        table.row([
            view.id.clone(),
            view.epoch.to_string(),
            view.status.to_string(),
            utc(view.started_at),
            whole_ms(view.duration_ms),
            safety.unwrap_or_default(),
            view.services.join(" "),
            note,
        ]);
    }
    table
}
