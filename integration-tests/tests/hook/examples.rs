//! Each hook example, run as its README says: checkpointed and rolled back under load, it has counted every record once.
//!
//! Without its state a rollback would make it count what lies between twice; without its offsets, not at all.

use integration_tests::{checkpoints, restores, wait_until};
use serde_json::json;

use super::tally::{DEADLINE, Language, Tally};

/// Long enough for everything a checkpoint or a restore asks.
const LEASE_SECONDS: u32 = 30;
/// How many records are counted before the checkpoint, and between it and the rollback.
const RECORDS: u64 = 200;

async fn counts_every_record_once(language: Language) {
    let tally = Tally::start(language, LEASE_SECONDS).await;
    let feed = tally.feed().await;
    let at_least = |records: u64| {
        let tally = &tally;
        wait_until(DEADLINE, "the example to count", move || async move {
            tally.total().await >= records
        })
    };
    at_least(RECORDS).await;
    let epoch = checkpoints::completed(&tally.admin, "aligned", DEADLINE).await;
    at_least(tally.total().await + RECORDS).await;
    let request = json!({ "epoch": epoch });
    let (status, view) = tally.admin.post("/v1/restores", &request).await;
    assert_eq!(status, 202, "{view}");
    let id = view["id"].as_str().unwrap();
    let over = restores::ended(&tally.admin, id, DEADLINE).await;
    assert_eq!(over["status"], "COMPLETED", "{over}");
    let sent = feed.stop();
    let total = sent.values().sum::<u64>();
    at_least(total).await;
    assert_eq!(tally.counts().await.unwrap(), sent);
}

async fn goes_on_when_nobody_resumes(language: Language) {
    let tally = Tally::start(language, 1).await;
    let feed = tally.feed().await;
    tally.works_on().await;
    let paused = tally.post("pause").await;
    let positions = paused["positions"].as_object().unwrap();
    let finished: u64 = positions.values().map(|end| end.as_u64().unwrap()).sum();
    assert_eq!(
        tally.total().await,
        finished,
        "every position is one past what was counted"
    );
    assert_eq!(tally.post("resume").await, json!({ "lease_held": true }));
    tally.works_on().await;
    tally.post("pause").await;
    tally.works_on().await;
    assert_eq!(tally.post("resume").await, json!({ "lease_held": false }));
    let _ = feed.stop();
}

macro_rules! example {
    ($name:ident, $language:expr) => {
        mod $name {
            use super::*;

            #[tokio::test]
            async fn counts_every_record_once_after_a_rollback() {
                counts_every_record_once($language).await;
            }

            #[tokio::test]
            async fn goes_on_by_itself_when_nobody_resumes_it() {
                goes_on_when_nobody_resumes($language).await;
            }
        }
    };
}

example!(python, Language::Python);
example!(java, Language::Java);
example!(go, Language::Go);
example!(rust, Language::Rust);
