//! What `cutline restore` promises: plans that say everything, and exit codes that say what became of it.

use crate::support::{Canned, ok, plan, problem, restore};
use serde_json::json;

const CREATE: &str = "POST /v1/restores";

#[tokio::test]
async fn a_plan_shows_what_would_be_done_and_begins_nothing() {
    let mask =
        json!({"service": "bank-a", "topic": "transfers", "partition": 0, "from": 44, "to": 60});
    let more = json!({"masks": [mask], "warnings": ["mails cannot be unsent"]});
    let admin = Canned::start([(CREATE, vec![ok(plan(true, more))])]).await;
    let done = admin
        .cutline("restore plan 7 --services bank-a,bank-b")
        .await;
    done.exits(0);
    for part in [
        "Checkpoint 7 can be restored.",
        "1.5 KiB",
        "-15",
        "- mails cannot be unsent",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    let body = &admin.asked()[0].1;
    assert_eq!(body["dry_run"], true);
    assert_eq!(body["services"], json!(["bank-a", "bank-b"]));
}

#[tokio::test]
async fn an_impossible_plan_exits_1_with_every_problem_its_code_and_cure() {
    let problems = json!([
        {"code": "CL0301", "detail": "bank-a is not connected; start its sidecar"},
        {"code": "CL0302", "detail": "CL0302 transfers was recreated; none"},
    ]);
    let answer = ok(plan(false, json!({"problems": problems})));
    let admin = Canned::start([(CREATE, vec![answer])]).await;
    let done = admin.cutline("restore plan 7").await;
    done.exits(1);
    for part in [
        "Checkpoint 7 cannot be restored.",
        "CL0301  bank-a is not connected; start its sidecar",
        "CL0302  transfers was recreated; none",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert!(
        done.stderr.contains("as things are: 2 problems"),
        "{done:?}"
    );
    let done = admin.cutline("restore plan 7 -o json").await;
    assert_eq!(done.exits(1).json()["problems"][1]["code"], "CL0302");
}

#[tokio::test]
async fn a_restore_that_is_waited_for_exits_0_only_when_it_is_completed() {
    for (last, code) in [("COMPLETED", 0), ("FAILED", 1), ("ABORTED", 1)] {
        let ended = json!({"reason": "why", "timeline": 1});
        let admin = Canned::start([
            (CREATE, vec![ok(restore("PLANNED", json!({})))]),
            (
                "GET /v1/restores/r1",
                vec![ok(restore("FENCING", json!({}))), ok(restore(last, ended))],
            ),
        ])
        .await;
        let done = admin.cutline("restore create 7 --wait -o json").await;
        assert_eq!(done.exits(code).json()["status"], last);
        assert!(
            done.stderr.contains("restore r1: FENCING, fenced"),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn flags_of_a_restore_reach_the_admin_api() {
    let admin = Canned::start([(CREATE, vec![ok(restore("PLANNED", json!({})))])]).await;
    let line = "restore create 7 --services a,b --no-safety-checkpoint --allow-contaminated";
    let done = admin.cutline(line).await;
    done.exits(0);
    assert!(done.stderr.contains("begun, not done"), "{done:?}");
    let wanted = json!({
        "epoch": 7, "services": ["a", "b"], "dry_run": false,
        "safety_checkpoint": false, "allow_contamination": true,
    });
    assert_eq!(admin.asked()[0].1, wanted);
}

#[tokio::test]
async fn a_refused_restore_points_at_its_plan() {
    let refusal = problem(409, "CL0302", "not restorable", "transfers was recreated");
    let admin = Canned::start([(CREATE, vec![refusal])]).await;
    let done = admin.cutline("restore create 7 --wait").await;
    done.exits(1);
    for part in ["CL0302 transfers was recreated", "cutline restore plan 7"] {
        assert!(done.stderr.contains(part), "{part}: {done:?}");
    }
}

#[tokio::test]
async fn restores_are_listed_described_and_aborted() {
    let entry = json!({"seq": 1, "at": "2026-03-04T05:06:07Z", "step": "planned"});
    let admin = Canned::start([
        (
            "GET /v1/restores",
            vec![ok(json!([restore("FENCING", json!({}))]))],
        ),
        (
            "GET /v1/restores/r1",
            vec![
                ok(restore("FENCING", json!({"journal": [entry]}))),
                ok(restore("ABORTED", json!({}))),
            ],
        ),
        (
            "POST /v1/restores/r1/abort",
            vec![ok(restore("FENCING", json!({})))],
        ),
    ])
    .await;
    let done = admin.cutline("restore list").await;
    assert!(
        done.exits(0).stdout.contains("r1      7  FENCING"),
        "{done:?}"
    );
    let done = admin.cutline("restore describe r1").await;
    assert!(done.exits(0).stdout.contains("planned"), "{done:?}");
    let done = admin.cutline("restore abort r1").await;
    assert!(done.exits(0).stdout.contains("ABORTED"), "{done:?}");
}
