//! How checkpoints go: whether they are scheduled, whether they complete, and how old the last one is.

use cutline_client::{CheckpointStatus, CheckpointView, Finding};
use jiff::Timestamp;

use super::finding::{fail, ok, warn};
use crate::{app::App, history::millis_between};

const SCHEDULE: &str = "checkpoints.schedule";
const RECENT: &str = "checkpoints.recent";
/// So many failures in a row are no accident.
const FAILURES_MAX: usize = 3;
/// So many intervals may pass until a checkpoint is old.
const INTERVALS_MAX: u64 = 3;
/// How old the last checkpoint may be when none is scheduled: a day.
const AGE_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// Reasons told at most.
const REASONS_MAX: usize = 3;

/// Looks at schedule and history.
pub async fn look(app: &App) -> Vec<Finding> {
    let interval = app.schedule.view().interval_ms;
    let mut found = vec![judge_schedule(interval)];
    match app.history.all(app).await {
        Ok(views) => found.push(judge_recent(&views, interval, Timestamp::now())),
        Err(problem) => found.push(fail(
            RECENT,
            "history",
            problem.to_string(),
            "see what is said of the store",
        )),
    }
    found
}

fn judge_schedule(interval_ms: Option<u64>) -> Finding {
    match interval_ms {
        Some(ms) => ok(
            SCHEDULE,
            "schedule",
            format!("every {} s", ms.div_ceil(1_000)),
        ),
        None => warn(
            SCHEDULE,
            "schedule",
            "none: a checkpoint is taken only when somebody asks for it",
            "set checkpoint.interval in the admin API's configuration, or for now `cutline schedule set --interval 5m`",
        ),
    }
}

/// `views` are newest first.
fn judge_recent(views: &[CheckpointView], interval_ms: Option<u64>, now: Timestamp) -> Finding {
    let ended = views.iter().filter(|view| view.status.is_final());
    let failed: Vec<&CheckpointView> = ended
        .take_while(|view| view.status == CheckpointStatus::Failed)
        .collect();
    if failed.len() >= FAILURES_MAX {
        let mut reasons: Vec<&str> = failed
            .iter()
            .filter_map(|view| view.reason.as_deref())
            .collect();
        reasons.dedup();
        reasons.truncate(REASONS_MAX);
        return fail(
            RECENT,
            format!("checkpoint {}", failed[0].epoch),
            format!(
                "the last {} checkpoints failed: {}",
                failed.len(),
                reasons.join("; ")
            ),
            "put that right, then `cutline checkpoint create --wait`; docs/operations.md, \"CutlineCheckpointsFail\", says what each reason means",
        );
    }
    let mut completed = views.iter();
    let Some(last) = completed.find(|view| view.status == CheckpointStatus::Completed) else {
        return warn(
            RECENT,
            "none",
            "there is no checkpoint to go back to",
            "take one: `cutline checkpoint create --wait`",
        );
    };
    let age_ms = millis_between(last.started_at, now);
    let limit = interval_ms.map_or(AGE_MS_MAX, |ms| ms.saturating_mul(INTERVALS_MAX));
    let subject = format!("checkpoint {}", last.epoch);
    let what = format!("the last one is {} s old", age_ms / 1_000);
    if age_ms > limit.max(60_000) {
        let cure = "see `cutline checkpoint list` and `cutline schedule show` for what keeps it from being taken, or take one: `cutline checkpoint create --wait`";
        return warn(
            RECENT,
            subject,
            format!("{what}: a rollback would lose that much work"),
            cure,
        );
    }
    ok(RECENT, subject, what)
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;
    use cutline_model::{Epoch, Mode, Timeline};

    use super::*;

    fn view(epoch: u64, status: CheckpointStatus) -> CheckpointView {
        CheckpointView {
            epoch: Epoch(epoch),
            status,
            phase: None,
            savepoint: None,
            mode: Mode::Aligned,
            started_at: "2026-03-04T05:06:07Z".parse().unwrap(),
            completed_at: None,
            duration_ms: 1,
            pause_ms_max: 1.0,
            state_size: 0,
            bytes_uploaded: 0,
            process_count: 1,
            reason: Some("a/0 was lost".to_owned()),
            retried_as: None,
            timeline: Timeline(0),
            trace_id: None,
            restorable: None,
        }
    }

    #[test]
    fn failures_in_a_row_are_told_with_their_reason_once() {
        let now: Timestamp = "2026-03-04T05:06:08Z".parse().unwrap();
        let views: Vec<_> = (1..=3)
            .rev()
            .map(|epoch| view(epoch, CheckpointStatus::Failed))
            .collect();
        let found = judge_recent(&views, None, now);
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.what.ends_with("failed: a/0 was lost"), "{found:?}");
        let mut recovered = views;
        recovered.insert(0, view(4, CheckpointStatus::Completed));
        assert_eq!(judge_recent(&recovered, None, now).verdict, Verdict::Ok);
    }

    #[test]
    fn an_old_checkpoint_and_none_at_all_are_warned_of() {
        let views = [view(1, CheckpointStatus::Completed)];
        let verdict =
            |interval, now: &str| judge_recent(&views, interval, now.parse().unwrap()).verdict;
        assert_eq!(verdict(Some(60_000), "2026-03-04T05:08:07Z"), Verdict::Ok);
        assert_eq!(verdict(Some(60_000), "2026-03-04T05:16:07Z"), Verdict::Warn);
        assert_eq!(verdict(None, "2026-03-04T06:06:07Z"), Verdict::Ok);
        assert_eq!(verdict(None, "2026-03-06T05:06:07Z"), Verdict::Warn);
        let none = judge_recent(&[], None, Timestamp::now());
        assert_eq!(none.verdict, Verdict::Warn);
        assert_eq!(judge_schedule(None).verdict, Verdict::Warn);
    }
}
