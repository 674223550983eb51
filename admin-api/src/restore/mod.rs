//! Restoring: services with their state, offsets and topics go back to a checkpoint, in place (1-protocol §6).
//!
//! The core judges the plan and says the next step; here facts are gathered and steps carried out, on the real Kafka,
//! store and sidecars. Every step is journaled in the store: whoever leads after a crash gives up what had touched
//! nothing and goes on with what had. One restore runs at a time, and no checkpoint beside it but its own.

mod append;
mod cut;
mod empty;
mod ends;
mod error;
mod gather;
mod groups;
mod lift;
mod live;
mod log;
mod put;
mod run;
mod scan;
mod stop;
mod stored;
mod tables;
mod timeline;
mod view;

use cutline_client::{RestorePlan, RestoreRequest, RestoreView};
use cutline_control::ControlState;
use cutline_model::Epoch;
use cutline_protocol::{
    mask::Masks,
    restore::{self, Facts, Plan},
};
use cutline_store::{JournalRecord, RestoreSummary};
use cutline_telemetry::{About, Span, as_now};
use cutline_wire::client::Metadata;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use crate::{
    app::App,
    busy::BusyGuard,
    problem::{INTERNAL, Problem},
};

pub use error::{GROUP, NO_RESTORE, NOT_FEASIBLE, NOT_FOLLOWED, NOT_QUIET, RestoreError, TOO_LATE};
pub use live::Restores;
pub use scan::Producers;

use gather::{Wanted, gather};
use run::{Run, Survey};
use scan::Scan;
use stored::Begun;

/// Characters of a restore's id: enough that no two are alike.
const ID_CHARS: usize = 12;
/// Journals read from the store at the same time.
const READS_MAX: usize = 16;

/// The masks in force, those of topics that were made again left out.
#[must_use]
pub fn masks_of(control: &ControlState, metadata: &Metadata) -> Masks {
    gather::masks_now(control, |topic| log::topic_id(metadata, topic))
}

/// Judges a restore and holds nothing.
///
/// # Errors
/// When the checkpoint cannot be used at all, or something cannot be found out.
pub async fn plan(app: &App, request: RestoreRequest) -> Result<RestorePlan, Problem> {
    let wanted = wanted(app, &request).await?;
    let mut scan = Scan::default();
    let facts = gather(app, &wanted, &mut scan)
        .await
        .map_err(RestoreError::problem)?;
    let mut shown = view::plan(&facts, &restore::plan(&facts));
    shown.timeline = app.control.state().borrow().timeline;
    Ok(shown)
}

/// Begins a restore; it goes on by itself from here.
///
/// # Errors
/// 409 when something is in progress or the plan does not hold; nothing was done then.
pub async fn start(app: App, request: RestoreRequest) -> Result<RestoreView, Problem> {
    // A task of its own: whoever asked may hang up between the journal's first record and its second.
    let begun = tokio::spawn(as_now(begin(app, request))).await;
    begun.unwrap_or_else(|error| Err(Problem::new(INTERNAL, error.to_string())))
}

async fn begin(app: App, request: RestoreRequest) -> Result<RestoreView, Problem> {
    app.leadership.check()?;
    let id = new_id();
    let guard = app.busy.begin_restore(&id)?;
    let wanted = wanted(&app, &request).await?;
    let mut scan = Scan::default();
    let facts = gather(&app, &wanted, &mut scan)
        .await
        .map_err(RestoreError::problem)?;
    let planned =
        restore::plan(&facts).map_err(|problems| RestoreError::NotFeasible(problems).problem())?;
    let trace = trace(&id, request.epoch, None);
    let mut begun = begun(&planned, &facts, &request);
    begun.trace = trace.traceparent();
    let first = stored::first_record(&id, request.epoch, &begun);
    app.repository.append_journal(&first).await?;
    let mut run = assemble(&app, guard, wanted, vec![first], trace)?;
    run.survey = Some(Survey { facts, scan });
    let view = get(&app, &id).await?;
    app.events.publish(
        "restore.planned",
        serde_json::json!({ "id": id, "epoch": request.epoch, "services": view.services }),
    );
    tokio::spawn(run.drive());
    Ok(view)
}

/// Takes up what an earlier leader left unfinished, as soon as this admin API leads. Called before it does, so that
/// nothing else can be begun first.
///
/// # Errors
/// When the store cannot be read, or a journal cannot be followed: its fence stays until it can.
pub async fn resume(app: &App) -> Result<(), Problem> {
    let unfinished = app.repository.restores().await?;
    for summary in unfinished
        .into_iter()
        .filter(|summary| !summary.last.finished)
    {
        let id = &summary.id;
        if app.restores.get(id).is_some() {
            continue;
        }
        let guard = app.busy.begin_restore(id)?;
        let records = app.repository.read_journal(id).await?;
        let request = RestoreRequest::of(summary.first.epoch);
        let wanted = wanted(app, &request).await?;
        let begun = records.first().map(stored::read_begun).transpose();
        let caller = begun.ok().flatten().and_then(|begun| begun.trace);
        let trace = trace(id, summary.first.epoch, caller.as_deref());
        let run = assemble(app, guard, wanted, records, trace)?;
        tracing::warn!(
            restore = id,
            step = summary.last.step,
            "an unfinished restore is taken up"
        );
        tokio::spawn(run.drive_when_leading());
    }
    Ok(())
}

/// One restore, with its journal.
///
/// # Errors
/// 404 when there is none of that id.
pub async fn get(app: &App, id: &str) -> Result<RestoreView, Problem> {
    let records = app.repository.read_journal(id).await;
    // An id that cannot be a key is nobody's.
    let records = records.unwrap_or_default();
    if records.is_empty() {
        let detail = format!("there is no restore {id}; GET /v1/restores lists those there are");
        return Err(Problem::new(NO_RESTORE, detail));
    }
    Ok(view::restore(&records, app.restores.get(id).as_ref()))
}

/// Every restore, newest first, without journals.
///
/// # Errors
/// When the store cannot be read.
pub async fn list(app: &App) -> Result<Vec<RestoreView>, Problem> {
    let all = app.repository.restores().await?.into_iter().rev();
    stream::iter(all)
        .map(|summary| listed(app, summary))
        .buffered(READS_MAX)
        .try_collect()
        .await
}

/// One that is over is read once.
async fn listed(app: &App, summary: RestoreSummary) -> Result<RestoreView, Problem> {
    if let Some(view) = app.restores.over(&summary.id) {
        return Ok(view);
    }
    let mut view = get(app, &summary.id).await?;
    view.journal.clear();
    if summary.last.finished {
        app.restores.remember(&view);
    }
    Ok(view)
}

/// Ends a restore that has touched nothing yet.
///
/// # Errors
/// 404 when there is none of that id; 409 when it is over or can only go on.
pub async fn abort(app: &App, id: &str) -> Result<RestoreView, Problem> {
    let view = get(app, id).await?;
    if view.status.is_final() {
        let detail = format!("restore {id} is {}; there is nothing to end", view.status);
        return Err(Problem::new(crate::problem::NOT_IN_PROGRESS, detail));
    }
    let records = app.repository.read_journal(id).await?;
    let may = stored::read(&records).is_ok_and(|read| read.journal.may_give_up());
    let Some(live) = app.restores.get(id).filter(|_| may) else {
        let detail = format!(
            "restore {id} has begun to put state back: ending it now would leave services between two worlds, so it only goes on; wait until it is COMPLETED, then restore another checkpoint"
        );
        return Err(Problem::new(TOO_LATE, detail));
    };
    live.abort();
    // An epoch of its own that is under way would be waited for.
    app.running.abort(None, "the restore was aborted");
    get(app, id).await
}

async fn wanted(app: &App, request: &RestoreRequest) -> Result<Wanted, Problem> {
    let manifest = app.repository.load(request.epoch).await?;
    let services = request.services.as_deref();
    Ok(Wanted::new(manifest, services, request.allow_contamination))
}

fn begun(planned: &Plan, facts: &Facts, request: &RestoreRequest) -> Begun {
    let mut begun = Begun::of(
        planned,
        request.safety_checkpoint,
        request.allow_contamination,
    );
    begun.contaminated = planned
        .contaminated
        .iter()
        .map(view::contamination)
        .collect();
    begun.warnings = view::warnings(planned);
    begun.members = groups::members(facts);
    begun
}

/// A run of the restore that `records` tell of, without what a plan knows.
fn assemble(
    app: &App,
    guard: BusyGuard,
    wanted: Wanted,
    records: Vec<JournalRecord>,
    trace: Span,
) -> Result<Run, Problem> {
    let read = stored::read(&records).map_err(RestoreError::problem)?;
    let first = &records[0];
    let id = first.restore.clone();
    let live = app.restores.begin(&id).ok_or_else(|| {
        let detail = format!("restore {id} runs already");
        Problem::new(crate::problem::RESTORE_IN_PROGRESS, detail)
    })?;
    Ok(Run {
        app: app.clone(),
        guard,
        live,
        epoch: first.epoch,
        started_at: first.at,
        id,
        wanted,
        begun: read.begun,
        journal: read.journal,
        masks: read.masks,
        survey: None,
        stillness: None,
        seq: records.len() as u64,
        beside: read.beside,
        doomed: None,
        trace,
        step: Span::none(),
    })
}

/// The trace of a restore: its own, a caller's, or the one that whoever ran it before had begun.
fn trace(id: &str, epoch: Epoch, before: Option<&str>) -> Span {
    let about = About {
        epoch: Some(epoch.0),
        restore: Some(id),
    };
    let trace = match before {
        Some(_) => Span::under(before, "restore taken up", about),
        None => Span::begin("restore", about),
    };
    trace.set("restore", id.to_owned());
    trace.set("epoch", i64::try_from(epoch.0).unwrap_or(i64::MAX));
    trace
}

fn new_id() -> String {
    let uuid = uuid::Uuid::new_v4().simple().to_string();
    // By the second first, so that ids sort as the restores began.
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    format!("{now}-{}", &uuid[..ID_CHARS])
}
