//! Checkpoints as the admin API's REST interface shows them: taken one by one or by a schedule, and what became of each.
//!
//! It promises to tell every attempt, also those that failed and were followed by another. It reads the interface by the names that
//! outsiders rely on, and nothing else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{admin::Admin, wait::wait_for, wait::wait_until};

/// How long sidecars may take until the admin API knows them and what is behind them.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// How long a checkpoint may take, with all its attempts.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(120);
/// How long one that is under way may still take when a schedule ends.
const LAST_DEADLINE: Duration = Duration::from_secs(60);
/// How often a schedule's checkpoints are looked at: more often than they leave the list.
const LOOK: Duration = Duration::from_millis(500);
/// How many are looked at each time.
const LIST_MAX: usize = 50;

/// What became of each attempt: the detail of `GET /v1/checkpoints/{epoch}`, by epoch.
pub type Attempts = BTreeMap<u64, Value>;

/// Waits until `sidecars` are connected, each with a group's member behind it that is assigned something.
///
/// # Panics
/// When they are not in time.
pub async fn wait_connected(admin: &Admin, sidecars: usize) {
    wait_until(
        CONNECT_DEADLINE,
        "all sidecars to be at work",
        || async move {
            let (status, seen) = admin.get("/v1/sidecars").await;
            status == 200 && at_work(&seen) == sidecars
        },
    )
    .await;
}

/// How many sidecars of the answer to `GET /v1/sidecars` are connected, each with a group's member behind it that is assigned something.
#[must_use]
pub fn at_work(seen: &Value) -> usize {
    // A sidecar that was started again knows what is fetched before it knows by whom: a member shows at its next heartbeat.
    let works = |sidecar: &&Value| {
        let groups = sidecar["groups"].as_array();
        sidecar["state"] == "connected"
            && has_some(&sidecar["reads"])
            && groups.is_some_and(|all| all.iter().any(|group| has_some(&group["members"])))
    };
    let seen = seen.as_array().into_iter().flatten();
    seen.filter(works).count()
}

fn has_some(list: &Value) -> bool {
    list.as_array().is_some_and(|all| !all.is_empty())
}

/// Has a checkpoint taken and waits for its end: every attempt, the last of them last.
///
/// # Panics
/// When it is refused, or does not end in time.
pub async fn take(admin: &Admin, mode: &str) -> Attempts {
    let (status, accepted) = admin
        .post("/v1/checkpoints", &json!({ "mode": mode }))
        .await;
    assert_eq!(status, 202, "{accepted}");
    follow(admin, &accepted).await
}

/// Has checkpoints taken until one is completed, telling why others are not: for some seconds after a rebalance a partition may seem to
/// have a reader too many.
///
/// # Panics
/// When none is within `limit`.
pub async fn completed(admin: &Admin, mode: &str, limit: Duration) -> u64 {
    wait_for(limit, "a checkpoint", || async {
        let attempts = take(admin, mode).await;
        let (epoch, detail) = attempts.last_key_value().expect("an attempt was made");
        eprintln!(
            "checkpoint {epoch}: {} {}",
            detail["status"], detail["reason"]
        );
        (detail["status"] == "COMPLETED").then_some(*epoch)
    })
    .await
}

/// Waits for the end of a checkpoint that was `accepted`: every attempt, the last of them last.
///
/// # Panics
/// When it does not end in time.
pub async fn follow(admin: &Admin, accepted: &Value) -> Attempts {
    let mut epoch = accepted["epoch"].as_u64().expect("an epoch is a number");
    let mut attempts = Attempts::new();
    loop {
        let what = format!("checkpoint {epoch} to end");
        let detail = wait_for(CHECKPOINT_DEADLINE, &what, || ended(admin, epoch)).await;
        let next = detail["retried_as"].as_u64();
        attempts.insert(epoch, detail);
        match next {
            Some(next) => epoch = next,
            None => return attempts,
        }
    }
}

/// Has checkpoints taken every `interval` for as long as `during` says; every attempt that ended.
///
/// # Panics
/// When the schedule is refused.
pub async fn every(admin: &Admin, interval: Duration, mode: &str, during: Duration) -> Attempts {
    let (_, list) = admin.get("/v1/checkpoints?limit=1").await;
    let newest = list["history"][0]["epoch"].as_u64().unwrap_or(0);
    let terms = json!({ "interval_ms": millis(interval), "mode": mode });
    set_schedule(admin, &terms).await;
    let (start, mut attempts) = (Instant::now(), Attempts::new());
    while start.elapsed() < during {
        tokio::time::sleep(LOOK).await;
        look(admin, newest, &mut attempts).await;
    }
    set_schedule(admin, &json!({ "interval_ms": null })).await;
    wait_until(LAST_DEADLINE, "the last checkpoint to end", || async {
        let (_, list) = admin.get("/v1/checkpoints?limit=1").await;
        list["counts"]["in_progress"] == 0
    })
    .await;
    look(admin, newest, &mut attempts).await;
    attempts
}

/// How many completed, and how often each reason came up among the others.
#[must_use]
pub fn outcomes(attempts: &Attempts) -> (usize, BTreeMap<String, usize>) {
    let mut reasons = BTreeMap::new();
    let failed = attempts
        .values()
        .filter(|detail| detail["status"] != "COMPLETED");
    for detail in failed {
        let reason = detail["reason"].as_str().unwrap_or("no reason given");
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    let failures: usize = reasons.values().sum();
    (attempts.len() - failures, reasons)
}

async fn set_schedule(admin: &Admin, terms: &Value) {
    let (status, answer) = admin.put("/v1/schedule", terms).await;
    assert_eq!(status, 200, "{answer}");
}

/// Takes note of attempts after epoch `newest` that have ended since.
async fn look(admin: &Admin, newest: u64, attempts: &mut Attempts) {
    let (_, list) = admin
        .get(&format!("/v1/checkpoints?limit={LIST_MAX}"))
        .await;
    for view in list["history"].as_array().into_iter().flatten() {
        let Some(epoch) = view["epoch"].as_u64() else {
            continue;
        };
        if epoch <= newest || attempts.contains_key(&epoch) {
            continue;
        }
        if let Some(detail) = ended(admin, epoch).await {
            attempts.insert(epoch, detail);
        }
    }
}

async fn ended(admin: &Admin, epoch: u64) -> Option<Value> {
    let (status, detail) = admin.get(&format!("/v1/checkpoints/{epoch}")).await;
    let over = detail["status"] == "COMPLETED" || detail["status"] == "FAILED";
    (status == 200 && over).then_some(detail)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("no test lasts for ages")
}
