//! `cutline restore create`: begins a restore and, when asked, stays with it to its end.

use std::io::IsTerminal;

use clap::{Args, builder::NonEmptyStringValueParser};
use cutline_client::{AdminError, RestoreAnswer, RestoreRequest, RestoreStatus, RestoreView};
use cutline_model::Epoch;

use super::{describe, plan, standing, table};
use crate::{
    completions, confirm::confirm, failure::Failure, page::Page, progress::Progress,
    session::Session, stage::Stage,
};

/// How to put services back.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  cutline restore create 42 --wait\n  cutline restore create 42 --services orders,payments --wait --yes\n\nOn a terminal the deployment's name has to be typed first; elsewhere nothing is asked."
)]
pub struct Arguments {
    /// The checkpoint
    #[arg(add = completions::epochs())]
    epoch: u64,
    /// Only these services; all of the checkpoint's when not given
    #[arg(long, value_delimiter = ',', value_name = "A,B", value_parser = NonEmptyStringValueParser::new())]
    services: Option<Vec<String>>,
    /// Take no checkpoint of the present state first: this restore cannot be undone then
    #[arg(long)]
    no_safety_checkpoint: bool,
    /// Go on although services that are not restored have read what will be masked
    #[arg(long)]
    allow_contaminated: bool,
    /// Stay until it has ended; exit 0 only when it is COMPLETED
    #[arg(long)]
    wait: bool,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
}

/// Does it.
///
/// # Errors
/// When it is not begun or, with `--wait`, not COMPLETED.
pub async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let epoch = Epoch(arguments.epoch);
    let request = RestoreRequest {
        epoch,
        services: arguments.services.clone(),
        dry_run: false,
        safety_checkpoint: !arguments.no_safety_checkpoint,
        allow_contamination: arguments.allow_contaminated,
    };
    asked_for(session, &arguments, &request).await?;
    let what = format!("restore checkpoint {epoch}");
    let answer = session.client.create_restore(&request, None);
    let asked = session.ask(&what, answer).await;
    let begun = match asked.map_err(|failure| hinted(failure, epoch))? {
        RestoreAnswer::Started(view) => *view,
        RestoreAnswer::Plan(plan) => {
            plan::show(session, &plan)?;
            return Err(Failure::not_done(format!(
                "the admin API planned a restore of checkpoint {epoch} and began none"
            )));
        }
    };
    if arguments.wait {
        return wait(session, begun).await;
    }
    let page = Page::new().table(table(std::slice::from_ref(&begun)));
    session.screen.show(&begun, &page)?;
    session.screen.note(&format!(
        "begun, not done; it is when this says COMPLETED: cutline restore describe {}",
        begun.id
    ));
    Ok(())
}

/// Goes on when a person, if one sits at a terminal, types the deployment's name: it is what tells one installation from another.
async fn asked_for(
    session: &Session,
    arguments: &Arguments,
    request: &RestoreRequest,
) -> Result<(), Failure> {
    if arguments.yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let (epoch, told) = (request.epoch, session.client.whoami().await);
    // Without its name the epoch has to do; whatever is wrong with the admin API is said by what follows.
    let deployment = told.ok().and_then(|view| view.deployment);
    let word = deployment.unwrap_or_else(|| epoch.to_string());
    let services = match &request.services {
        Some(services) => services.join(", "),
        None => "every service".to_owned(),
    };
    let what = format!("put {services} back to checkpoint {epoch}, in place");
    confirm(session, &what, &word, arguments.yes)
}

/// A restore that is refused has a plan that says all that stands against it.
fn hinted(failure: Failure, epoch: Epoch) -> Failure {
    let refused = matches!(
        &failure,
        Failure::Admin { error: AdminError::Problem { details, .. }, .. }
            if matches!(details.status, 409 | 422)
    );
    if !refused {
        return failure;
    }
    failure.with_cure(format!(
        "`cutline restore plan {epoch}` shows everything that stands against it"
    ))
}

async fn wait(session: &Session, begun: RestoreView) -> Result<(), Failure> {
    let mut progress = session.screen.progress();
    let view = ended(session, begun, &mut progress).await?;
    drop(progress);
    session.screen.show(&view, &describe::page(&view))?;
    if view.status == RestoreStatus::Completed {
        return Ok(());
    }
    let reason = view.reason.as_deref().unwrap_or("no reason is known");
    let (id, status) = (&view.id, view.status);
    Err(
        Failure::not_done(format!("restore {id} is {status}: {reason}"))
            .with_cure("nothing was put back"),
    )
}

/// The restore, once it has ended.
async fn ended(
    session: &Session,
    mut view: RestoreView,
    progress: &mut Progress,
) -> Result<RestoreView, Failure> {
    let id = view.id.clone();
    let what = format!("see the end of restore {id}");
    let goes_on = format!(
        "it may go on: `cutline restore describe {id}` shows it, `cutline restore abort {id}` ends it while nothing is put back"
    );
    while !view.status.is_final() {
        progress.reaches(Stage::of_step(&view.step), &standing(&view));
        let next = async {
            session.pause_between_polls(&what).await?;
            let ask = || session.client.restore(&id);
            session.ask_patiently(&what, progress, ask).await
        };
        view = next
            .await
            .map_err(|failure| failure.with_cure(goes_on.as_str()))?;
    }
    progress.stands(&standing(&view));
    // The first answer may have been the last, and only the detail has the journal.
    let ask = || session.client.restore(&id);
    session.ask_patiently(&what, progress, ask).await
}
