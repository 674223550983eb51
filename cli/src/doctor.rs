//! `cutline doctor`: what is wrong, one thing after the other, and what to do about it.
//!
//! First this side looks: whether the address leads to an admin API, whether the token is taken, whether versions and clocks agree.
//! Then the admin API tells what it finds around itself. Nothing is changed.

mod page;
mod reach;

use clap::Args;
use cutline_client::{DiagnosisView, Finding, Verdict};
use serde::Serialize;

use crate::{failure::Failure, quantity::count, session::Session};

/// What counts.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Exit with 1 for warnings too
    #[arg(long)]
    strict: bool,
    /// Name everything that was looked at, not only what is wrong
    #[arg(long)]
    all: bool,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Where the admin API is, or should be.
    admin: String,
    /// The context that says so, if any.
    context: Option<String>,
    /// The deployment, when the admin API told.
    deployment: Option<String>,
    counts: Counts,
    findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    ok: usize,
    skipped: usize,
    warn: usize,
    fail: usize,
}

impl Counts {
    fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            *match finding.verdict {
                Verdict::Ok => &mut counts.ok,
                Verdict::Skipped => &mut counts.skipped,
                Verdict::Warn => &mut counts.warn,
                Verdict::Fail => &mut counts.fail,
            } += 1;
        }
        counts
    }
}

/// Does it.
///
/// # Errors
/// When something fails or, with `--strict`, is warned of.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let mut progress = session.screen.progress();
    progress.stands(&format!("{}: is it reached?", session.client.address()));
    let (mut findings, reached) = reach::look(session).await;
    let mut diagnosis = None;
    if reached {
        progress.stands("the admin API looks around itself");
        match session.client.diagnosis().await {
            Ok(told) => diagnosis = Some(told),
            Err(error) => findings.push(reach::not_told(&error)),
        }
    }
    drop(progress);
    let report = report(session, findings, diagnosis);
    let page = page::page(&report, arguments.all, session.screen.width());
    session.screen.show(&report, &page)?;
    judge(&report.counts, arguments.strict)
}

fn report(
    session: &Session,
    mut findings: Vec<Finding>,
    diagnosis: Option<DiagnosisView>,
) -> Report {
    let deployment = diagnosis.as_ref().map(|told| told.deployment.clone());
    if let Some(told) = diagnosis {
        findings.push(reach::judge_version(&told.version));
        findings.extend(told.findings);
    }
    Report {
        admin: session.client.address().to_owned(),
        context: session.context().map(str::to_owned),
        deployment: deployment.filter(|name| !name.is_empty()),
        counts: Counts::of(&findings),
        findings,
    }
}

fn judge(counts: &Counts, strict: bool) -> Result<(), Failure> {
    if counts.fail > 0 {
        let things = count(counts.fail, "thing");
        return Err(Failure::not_done(format!("{things} must be put right")));
    }
    if strict && counts.warn > 0 {
        let warnings = count(counts.warn, "warning");
        return Err(Failure::not_done(format!("{warnings}, and --strict")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_fail_unless_it_is_strict() {
        let counts = |warn, fail| Counts {
            warn,
            fail,
            ..Counts::default()
        };
        assert!(judge(&counts(0, 0), true).is_ok());
        assert!(judge(&counts(1, 0), false).is_ok());
        assert!(judge(&counts(1, 0), true).is_err());
        assert!(judge(&counts(0, 1), false).is_err());
    }
}
