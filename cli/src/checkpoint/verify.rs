//! `cutline checkpoint verify`: has all of a checkpoint read, and tells what does not fit.

use cutline_client::VerifyReport;
use cutline_model::Epoch;

use crate::{
    failure::Failure,
    page::Page,
    quantity::{count, whole_bytes},
    session::Session,
};

/// Does it.
///
/// # Errors
/// When it cannot be read, or is not whole.
pub async fn run(session: &Session, epoch: Epoch) -> Result<(), Failure> {
    let mut progress = session.screen.progress();
    progress.stands(&format!("checkpoint {epoch}: all of it is read"));
    let answer = session.client.verify_checkpoint(epoch);
    let what = format!("verify checkpoint {epoch}");
    let asked = session.ask(&what, answer).await;
    drop(progress);
    let report = asked?;
    session.screen.show(&report, &page(&report))?;
    if report.whole {
        return Ok(());
    }
    let problems = count(report.problems.len(), "problem");
    let text = format!("checkpoint {epoch} is not whole: {problems}");
    Err(Failure::not_done(text).with_cure("restore another: cutline checkpoint list"))
}

fn page(report: &VerifyReport) -> Page {
    let whole = if report.whole { "yes" } else { "no" };
    Page::new()
        .facts([
            ("epoch", report.epoch.to_string()),
            ("whole", whole.to_owned()),
            ("parts", report.parts.to_string()),
            ("chunks", report.chunks.to_string()),
            ("state", whole_bytes(report.state_bytes)),
        ])
        .list("Problems", &report.problems)
}
