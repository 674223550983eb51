//! The store: whether what a checkpoint needs is allowed there, whether clocks agree, and how much room is left.

use std::{path::PathBuf, time::Duration};

use cutline_client::Finding;
use cutline_store::{Right, StoreError, StoreSpec, Trial};

use super::finding::{fail, ok, warn};
use crate::app::App;

const CLOCK: &str = "store.clock";
const SPACE: &str = "store.space";
/// Garbage is told from what is being written by age; its grace is an hour.
const CLOCK_APART_MAX: Duration = Duration::from_secs(60);
/// Free space below which one should see to it, and below which it is too late.
const FREE_WARN: f64 = 0.10;
const FREE_FAIL: f64 = 0.01;

/// Looks at it.
pub async fn look(app: &App) -> Vec<Finding> {
    let store = app.config.store.to_string();
    let mut found = judge(&store, &app.repository.try_out().await);
    if let StoreSpec::File(path) = &app.config.store {
        let path = path.clone();
        // A file system that hangs should not hang everything else.
        let room = tokio::task::spawn_blocking(move || free(path)).await;
        if let Ok(Some((free, total))) = room {
            found.push(judge_space(&store, free, total));
        }
    }
    found
}

fn judge(store: &str, trial: &Trial) -> Vec<Finding> {
    let rights = trial.rights.iter();
    let mut found: Vec<Finding> = rights
        .map(|(right, had)| judge_right(store, *right, had))
        .collect();
    if let Some(apart) = trial.clock_apart {
        found.push(judge_clock(store, apart));
    }
    found
}

fn judge_right(store: &str, right: Right, had: &Result<(), StoreError>) -> Finding {
    let (id, what, s3, file) = match right {
        Right::Create => ("store.create", "create objects", "s3:PutObject", "write"),
        Right::Read => ("store.read", "read objects", "s3:GetObject", "read"),
        Right::List => ("store.list", "list objects", "s3:ListBucket", "read"),
        Right::Delete => ("store.delete", "delete objects", "s3:DeleteObject", "write"),
    };
    let Err(error) = had else {
        return ok(id, store, format!("can {what}"));
    };
    let cure = match error {
        StoreError::NoConditionalCreate { .. } => {
            "two coordinators could both complete a checkpoint: use a store that honours If-None-Match (AWS S3, versitygw, MinIO, Ceph from 2024 on) or a local file system".to_owned()
        }
        StoreError::Full { .. } => "free space or enlarge it; lower retention.keep-last or retention.max-age".to_owned(),
        _ if store.starts_with("file:") => {
            format!("see that the directory is there and mounted, and that the admin API's user may {file} there")
        }
        _ => format!("allow {s3} on the bucket and prefix to the admin API's and the sidecars' credentials, and see that the endpoint is reached (docs/storage-format.md lists the rights)"),
    };
    fail(id, store, format!("cannot {what}: {error}"), cure)
}

fn judge_clock(store: &str, apart: Duration) -> Finding {
    if apart <= CLOCK_APART_MAX {
        return ok(CLOCK, store, "its clock agrees with this machine's");
    }
    let what = format!(
        "its clock is {} s away from this machine's: signatures of S3 expire, and garbage is told by age",
        apart.as_secs()
    );
    warn(CLOCK, store, what, "run NTP on both")
}

fn judge_space(store: &str, free: u64, total: u64) -> Finding {
    let share = free as f64 / total.max(1) as f64;
    let what = format!(
        "{} MiB free, {:.0} % of its file system",
        free >> 20,
        share * 100.0
    );
    let cure = "enlarge it, or lower retention.keep-last or retention.max-age";
    if share < FREE_FAIL {
        fail(SPACE, store, what, cure)
    } else if share < FREE_WARN {
        warn(SPACE, store, what, cure)
    } else {
        ok(SPACE, store, what)
    }
}

/// Free and total bytes of the file system that `path` is on.
fn free(path: PathBuf) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((
        stat.f_bavail.saturating_mul(stat.f_frsize),
        stat.f_blocks.saturating_mul(stat.f_frsize),
    ))
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;

    use super::*;

    #[test]
    fn a_right_that_is_missing_is_named_as_the_store_names_it() {
        let denied = || {
            Err(StoreError::Full {
                store: "s3://b/".to_owned(),
                detail: "x".to_owned(),
            })
        };
        let found = judge_right("s3://b/", Right::Create, &denied());
        assert!(found.cure.unwrap().contains("retention"));
        let refused = Err(StoreError::NoRepository {
            store: "s3://b/".to_owned(),
            detail: "x".to_owned(),
        });
        let found = judge_right("s3://b/", Right::List, &refused);
        assert!(found.cure.unwrap().contains("s3:ListBucket"));
    }

    #[test]
    fn room_and_clocks_have_limits() {
        let verdict = |free, total| judge_space("file:/x", free, total).verdict;
        assert_eq!(verdict(50, 100), Verdict::Ok);
        assert_eq!(verdict(5, 100), Verdict::Warn);
        assert_eq!(verdict(0, 100), Verdict::Fail);
        assert_eq!(
            judge_clock("s", Duration::from_secs(1)).verdict,
            Verdict::Ok
        );
        assert_eq!(
            judge_clock("s", Duration::from_secs(3_600)).verdict,
            Verdict::Warn
        );
    }
}
