//! What `cutline checkpoint` promises: exit codes, what goes to stdout, and waits that follow retries.

use crate::support::{Canned, checkpoint, ok, problem, process};
use serde_json::json;

const CREATE: &str = "POST /v1/checkpoints";

fn accepted() -> Vec<crate::support::Answer> {
    vec![ok(
        json!({"epoch": 7, "status": "TRIGGERED", "mode": "aligned"}),
    )]
}

#[tokio::test]
async fn a_checkpoint_that_is_waited_for_exits_0_when_it_is_completed() {
    let under_way = json!({"phase": "Running"});
    let admin = Canned::start([
        (CREATE, accepted()),
        (
            "GET /v1/checkpoints/7",
            vec![
                ok(checkpoint(7, "IN_PROGRESS", under_way)),
                ok(checkpoint(7, "COMPLETED", json!({}))),
            ],
        ),
    ])
    .await;
    let done = admin
        .cutline("checkpoint create --savepoint before --mode unaligned --wait -o json")
        .await;
    let answer = done.exits(0).json();
    assert_eq!(
        (&answer["epoch"], &answer["status"]),
        (&json!(7), &json!("COMPLETED"))
    );
    assert!(
        done.stderr.contains("checkpoint 7: IN_PROGRESS, Running"),
        "{done:?}"
    );
    assert_eq!(
        admin.asked()[0],
        (
            CREATE.to_owned(),
            json!({"mode": "unaligned", "savepoint": "before"})
        )
    );
}

#[tokio::test]
async fn a_wait_follows_the_attempt_after_a_failed_one_and_says_so() {
    let retried = json!({"reason": "a/0 was lost", "retried_as": 8});
    let admin = Canned::start([
        (CREATE, accepted()),
        (
            "GET /v1/checkpoints/7",
            vec![ok(checkpoint(7, "FAILED", retried))],
        ),
        (
            "GET /v1/checkpoints/8",
            vec![ok(checkpoint(8, "COMPLETED", json!({})))],
        ),
    ])
    .await;
    let done = admin.cutline("checkpoint create --wait").await;
    done.exits(0);
    assert!(
        done.stderr
            .contains("checkpoint 7 FAILED and is tried again as 8: a/0 was lost"),
        "{done:?}"
    );
    assert!(done.stdout.contains("8  COMPLETED  aligned"), "{done:?}");
}

#[tokio::test]
async fn a_checkpoint_that_failed_for_good_exits_1_with_its_reason_and_still_answers_json() {
    let retried = json!({"reason": "first", "retried_as": 8});
    let admin = Canned::start([
        (CREATE, accepted()),
        (
            "GET /v1/checkpoints/7",
            vec![ok(checkpoint(7, "FAILED", retried))],
        ),
        (
            "GET /v1/checkpoints/8",
            vec![ok(checkpoint(
                8,
                "FAILED",
                json!({"reason": "the store is full"}),
            ))],
        ),
    ])
    .await;
    let done = admin.cutline("checkpoint create --wait -o json").await;
    assert_eq!(done.exits(1).json()["status"], "FAILED");
    let said =
        "error: checkpoint 8, the last attempt of the one begun as 7, is FAILED: the store is full";
    assert!(done.stderr.contains(said), "{done:?}");
}

#[tokio::test]
async fn a_wait_outlasts_an_admin_api_that_is_away_for_a_moment() {
    let admin = Canned::start([
        (CREATE, accepted()),
        (
            "GET /v1/checkpoints/7",
            vec![
                problem(503, "CL0200", "not ready", "Kafka was not reached yet"),
                ok(checkpoint(7, "COMPLETED", json!({}))),
            ],
        ),
    ])
    .await;
    let done = admin.cutline("checkpoint create --wait").await;
    done.exits(0);
    assert!(done.stderr.contains("asking again: CL0200"), "{done:?}");
}

#[tokio::test]
async fn a_wait_that_is_given_up_exits_1_and_says_that_the_checkpoint_goes_on() {
    let admin = Canned::start([
        (CREATE, accepted()),
        (
            "GET /v1/checkpoints/7",
            vec![ok(checkpoint(7, "IN_PROGRESS", json!({})))],
        ),
    ])
    .await;
    let done = admin
        .cutline("checkpoint create --wait --timeout 600ms")
        .await;
    done.exits(1);
    assert_eq!(done.stdout, "");
    for part in [
        "the end of checkpoint 7 within 600 ms",
        "checkpoint abort 7",
    ] {
        assert!(done.stderr.contains(part), "{part}: {done:?}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_is_only_begun_is_not_called_done() {
    let admin = Canned::start([(CREATE, accepted())]).await;
    let done = admin.cutline("checkpoint create").await;
    done.exits(0);
    assert!(done.stdout.contains("TRIGGERED"), "{done:?}");
    assert!(done.stderr.contains("begun, not done"), "{done:?}");
}

#[tokio::test]
async fn a_refusal_is_told_with_title_code_and_detail() {
    let refusal = problem(
        409,
        "CL0202",
        "a checkpoint is in progress",
        "it is checkpoint 6",
    );
    let admin = Canned::start([(CREATE, vec![refusal])]).await;
    let done = admin.cutline("checkpoint create --wait -o json").await;
    done.exits(1);
    assert_eq!(done.stdout, "");
    assert_eq!(
        done.stderr,
        "error: cannot create a checkpoint: a checkpoint is in progress\n  CL0202 it is checkpoint 6\n  see it: cutline checkpoint list; end it: cutline checkpoint abort EPOCH\n"
    );
}

#[tokio::test]
async fn a_list_shows_quantities_with_units_and_what_is_particular() {
    let view = checkpoint(7, "COMPLETED", json!({"savepoint": "before"}));
    let spread = json!({"min": 1.0, "avg": 2.0, "p50": 2.0, "p99": 3.0, "max": 3.0});
    let failed = checkpoint(
        6,
        "FAILED",
        json!({"reason": "a/0 was lost", "retried_as": 7}),
    );
    let list = json!({
        "counts": {"total": 2, "in_progress": 0, "completed": 1, "failed": 1, "restored": 0},
        "latest": {"completed": view, "failed": null, "savepoint": null, "restored": null},
        "summary": {"duration_ms": spread, "pause_ms": spread, "state_size": spread, "bytes_uploaded": spread},
        "history": [view, failed],
    });
    let admin = Canned::start([(
        "GET /v1/checkpoints?status=COMPLETED&limit=5&before=9",
        vec![ok(list)],
    )])
    .await;
    let line = "checkpoint list --status completed --limit 5 --before 9";
    let done = admin.cutline(line).await;
    done.exits(0);
    for part in [
        "812 ms",
        "12.3 ms  1.5 KiB",
        "savepoint \"before\"",
        "retried as 7; a/0 was lost",
        "2 in all: 1 completed, 1 failed",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
}

#[tokio::test]
async fn a_description_shows_positions_markers_and_pauses() {
    let answer = ok(checkpoint(7, "FAILED", json!({"reason": "why"})));
    let admin = Canned::start([("GET /v1/checkpoints/7", vec![answer])]).await;
    let done = admin.cutline("checkpoint describe 7").await;
    // The question was answered, whatever the answer.
    done.exits(0);
    for part in [
        "Positions",
        "transfers-0",
        "Markers",
        "Pauses",
        "12.3 ms",
        "why",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    let done = admin.cutline("checkpoint describe 9").await;
    assert_eq!(done.exits(1).stdout, "");
}

#[tokio::test]
async fn a_checkpoint_that_is_not_whole_exits_1_with_every_problem() {
    let report = json!({
        "epoch": 7, "whole": false, "parts": 1, "chunks": 2, "state_bytes": 3,
        "problems": ["pack 1 is missing", "pack 2 is altered"],
    });
    let admin = Canned::start([("POST /v1/checkpoints/7/verify", vec![ok(report)])]).await;
    let done = admin.cutline("checkpoint verify 7").await;
    done.exits(1);
    assert!(
        done.stdout
            .contains("- pack 1 is missing\n- pack 2 is altered"),
        "{done:?}"
    );
    assert!(done.stderr.contains("not whole: 2 problems"), "{done:?}");
}

#[tokio::test]
async fn a_difference_tells_what_moved() {
    let topic = json!([{"name": "transfers", "id": "t2", "partitions": 2}]);
    let later = json!({"processes": [process(2048, 55)], "topics": topic, "timeline": 1});
    let admin = Canned::start([
        (
            "GET /v1/checkpoints/7",
            vec![ok(checkpoint(7, "COMPLETED", json!({})))],
        ),
        (
            "GET /v1/checkpoints/8",
            vec![ok(checkpoint(8, "COMPLETED", later))],
        ),
        (
            "GET /v1/checkpoints/9",
            vec![ok(checkpoint(9, "FAILED", json!({})))],
        ),
    ])
    .await;
    let done = admin.cutline("checkpoint diff 7 8").await;
    done.exits(0);
    for part in ["+15", "+512 B", "recreated", "A restore lies between them."] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    let answer = admin.cutline("checkpoint diff 7 8 -o json").await;
    assert_eq!(answer.exits(0).json()["positions"][0]["to"], 55);
    admin.cutline("checkpoint diff 7 9").await.exits(1);
}

#[tokio::test]
async fn an_abort_waits_for_the_end_and_is_none_when_the_checkpoint_was_faster() {
    let aborted = json!({"reason": "aborted"});
    let admin = Canned::start([
        (
            "POST /v1/checkpoints/7/abort",
            vec![ok(checkpoint(7, "IN_PROGRESS", json!({})))],
        ),
        (
            "GET /v1/checkpoints/7",
            vec![
                ok(checkpoint(7, "FAILED", aborted)),
                ok(checkpoint(7, "COMPLETED", json!({}))),
            ],
        ),
    ])
    .await;
    admin.cutline("checkpoint abort 7").await.exits(0);
    let done = admin.cutline("checkpoint abort 7").await;
    assert!(done.exits(1).stderr.contains("COMPLETED first"), "{done:?}");
}

#[tokio::test]
async fn a_deletion_says_what_it_deleted() {
    let admin = Canned::start([("DELETE /v1/checkpoints/7", vec![ok(json!(null))])]).await;
    let done = admin.cutline("checkpoint delete 7 -o json").await;
    assert_eq!(done.exits(0).json(), json!({"epoch": 7, "deleted": true}));
    admin.cutline("checkpoint delete 8").await.exits(1);
}

#[tokio::test]
async fn a_dry_prune_shows_what_would_go_and_why_the_rest_stays() {
    let entry = |epoch: u64, reason: &str| {
        json!({"epoch": epoch, "status": "COMPLETED", "state_size": 2048, "reason": reason,
            "completed_at": "2026-03-04T05:06:07Z"})
    };
    let garbage = json!({"packs": 3, "bytes": 4096, "parts": 1, "packs_kept": 7, "packs_young": 2, "abandoned": 0});
    let report = json!({
        "dry_run": true, "left": 0, "garbage": garbage,
        "deleted": [entry(4, "number 3 from the newest; retention.keep-last is 2")],
        "kept": [entry(9, "the newest is always kept")],
    });
    const PRUNE: &str = "POST /v1/checkpoints/prune";
    let admin = Canned::start([(PRUNE, vec![ok(report)])]).await;
    let done = admin.cutline("checkpoint prune --dry-run").await;
    for part in [
        "Would be deleted",
        "keep-last is 2",
        "always kept",
        "4.0 KiB in 3 packs",
    ] {
        assert!(
            done.exits(0).stdout.contains(part),
            "{part}: {}",
            done.stdout
        );
    }
    assert_eq!(
        admin.asked()[0],
        (PRUNE.to_owned(), json!({"dry_run": true}))
    );
}

#[tokio::test]
async fn a_checkpoint_that_does_not_last_says_so_in_its_row() {
    let restorable = json!({"state": "expiring", "expires_at": "2026-03-04T05:06:07Z",
        "partition": "orders-0", "reason": "retention.ms is 1000"});
    let view = checkpoint(7, "COMPLETED", json!({ "restorable": restorable }));
    let admin = Canned::start([("GET /v1/checkpoints/7", vec![ok(view)])]).await;
    let done = admin.cutline("checkpoint describe 7").await;
    let expected = "expiring, until about 2026-03-04 05:06:07Z, orders-0, retention.ms is 1000";
    assert!(done.exits(0).stdout.contains(expected), "{}", done.stdout);
}
