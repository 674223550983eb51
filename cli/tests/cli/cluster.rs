//! What the remaining commands promise: what is running, the schedule, events, and errors before any answer.

use std::process::Stdio;

use crate::support::{Canned, cutline, events, ok, problem};
use serde_json::json;

fn service() -> serde_json::Value {
    json!({
        "service": "bank-a", "instances": ["0", "1"], "has_state": true, "fenced": false,
        "groups": ["bank-a"], "reads": ["transfers"], "writes": ["replies"],
    })
}

#[tokio::test]
async fn of_several_admin_apis_the_one_that_leads_is_asked() {
    let stands_by = || problem(503, "CL0201", "not leading", "another one leads");
    let standby = Canned::start([
        ("GET /readyz", vec![stands_by()]),
        ("GET /v1/services", vec![ok(json!([]))]),
        ("POST /v1/checkpoints", vec![stands_by()]),
    ])
    .await;
    let leader = Canned::start([
        ("GET /readyz", vec![ok(json!({"status": "ready"}))]),
        ("GET /v1/services", vec![ok(json!([service()]))]),
    ])
    .await;
    // Nobody listens on port 1.
    let all = format!("http://127.0.0.1:1,{},{}", standby.url, leader.url);
    let done = cutline(&all, "services").await;
    assert!(done.exits(0).stdout.contains("bank-a"), "{done:?}");
    let asked: Vec<String> = standby
        .asked()
        .into_iter()
        .map(|(route, _)| route)
        .collect();
    assert_eq!(asked, ["GET /readyz"]);

    // When none leads that is said, of one that answers.
    let all = format!("http://127.0.0.1:1,{}", standby.url);
    let done = cutline(&all, "checkpoint create").await;
    assert!(done.exits(1).stderr.contains("CL0201"), "{done:?}");
}

#[tokio::test]
async fn what_is_running_is_shown() {
    let members = json!([
        {"member": "m1", "sidecar": "bank-a/0", "assignment": ["transfers-0"]},
        {"member": "m2"},
    ]);
    let topology = json!({
        "services": [service()],
        "topics": [{"topic": "transfers", "partitions": 3, "writers": ["bank-b"], "readers": ["bank-a"]}],
        "groups": [{"group": "bank-a", "members": members}],
        "timeline": 2, "masked_partitions": 1,
    });
    let sidecar = json!({
        "service": "bank-a", "instance": "0", "incarnation": "i1", "state": "connected",
        "scope": "instance", "capture": "commit", "providers": ["dir"], "listen": "127.0.0.1:19092",
        "connected_at": "2026-03-04T05:06:07Z", "app_connections": 4, "applied": 12,
        "groups": [], "reads": ["transfers-0"], "writes": ["replies"],
    });
    let admin = Canned::start([
        ("GET /v1/topology", vec![ok(topology)]),
        ("GET /v1/services", vec![ok(json!([service()]))]),
        (
            "GET /v1/sidecars",
            vec![ok(json!([sidecar])), ok(json!([]))],
        ),
    ])
    .await;
    let done = admin.cutline("topology").await;
    for part in ["masked    1 partition", "transfers-0", "OUTSIDE"] {
        assert!(
            done.exits(0).stdout.contains(part),
            "{part}: {}",
            done.stdout
        );
    }
    let done = admin.cutline("services").await;
    assert!(
        done.exits(0)
            .stdout
            .contains("bank-a           2  yes    no"),
        "{done:?}"
    );
    let done = admin.cutline("sidecars").await;
    assert!(
        done.exits(0).stdout.contains("bank-a/0  connected  commit"),
        "{done:?}"
    );
    let done = admin.cutline("sidecars").await;
    assert_eq!(done.exits(0).stdout, "");
    assert!(
        done.stderr.contains("no sidecar has registered yet"),
        "{done:?}"
    );
}

#[tokio::test]
async fn the_schedule_is_shown_and_replaced_as_a_whole() {
    let view = json!({"interval_ms": 30000, "min_pause_ms": 500, "mode": "aligned", "failures": 0});
    let admin = Canned::start([
        ("GET /v1/schedule", vec![ok(view.clone())]),
        ("PUT /v1/schedule", vec![ok(view)]),
    ])
    .await;
    let done = admin.cutline("schedule show").await;
    assert!(done.exits(0).stdout.contains("30.0 s"), "{done:?}");
    admin.cutline("schedule set --off").await.exits(0);
    let line = "schedule set --interval 30s --min-pause 500ms --mode unaligned";
    admin.cutline(line).await.exits(0);
    let bodies: Vec<_> = admin
        .asked()
        .into_iter()
        .skip(1)
        .map(|(_, body)| body)
        .collect();
    assert_eq!(bodies[0], json!({"interval_ms": null}));
    assert_eq!(
        bodies[1],
        json!({"interval_ms": 30000, "min_pause_ms": 500, "mode": "unaligned"})
    );
}

fn event(number: u64, kind: &str) -> serde_json::Value {
    json!({"id": format!("ab-{number}"), "at": "2026-03-04T05:06:07.5Z", "kind": kind, "data": {"epoch": 7}})
}

#[tokio::test]
async fn events_are_one_line_each_and_following_goes_on_after_a_lost_connection() {
    let admin = Canned::start([(
        "GET /v1/events",
        vec![
            events(&[event(1, "checkpoint.triggered")]),
            events(&[event(2, "checkpoint.completed")]),
        ],
    )])
    .await;
    let done = admin
        .cutline("events --follow -o json --timeout 1800ms")
        .await;
    let lines: Vec<&str> = done.exits(0).stdout.lines().collect();
    assert!(lines.len() >= 2, "{done:?}");
    assert!(lines[0].contains("checkpoint.triggered"), "{done:?}");
    assert!(lines[1].contains("checkpoint.completed"), "{done:?}");
    assert!(done.stderr.contains("asking again"), "{done:?}");
}

#[tokio::test]
async fn events_without_follow_are_what_is_remembered() {
    let remembered = [event(0, "reset"), event(1, "checkpoint.completed")];
    let admin = Canned::start([("GET /v1/events", vec![events(&remembered)])]).await;
    let done = admin.cutline("events").await;
    assert_eq!(
        done.exits(0).stdout,
        "2026-03-04 05:06:07.500Z  checkpoint.completed  epoch=7\n"
    );
}

#[tokio::test]
async fn an_admin_api_that_is_not_there_is_named_with_the_settings_that_say_where() {
    // A port that was free a moment ago and has no listener.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for line in ["checkpoint list", "events --follow", "topology -o json"] {
        let done = cutline(&url, line).await;
        done.exits(1);
        assert_eq!(done.stdout, "", "{line}");
        for part in [&url, "--admin", "CUTLINE_ADMIN"] {
            assert!(
                done.stderr.contains(part),
                "{line}: {part}: {}",
                done.stderr
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_understood_exits_2() {
    for line in [
        "checkpoint describe seven",
        "--admin nowhere topology",
        "--admin ftp://h topology",
        "schedule set",
        "topology --timeout 0s",
    ] {
        let done = cutline("http://127.0.0.1:1", line).await;
        done.exits(2);
        assert_eq!(done.stdout, "", "{line}");
    }
}

#[tokio::test]
async fn a_server_that_is_no_admin_api_is_told_apart_from_one_that_refuses() {
    let admin = Canned::start([("GET /v1/services", vec![ok(json!({"hello": "world"}))])]).await;
    let done = admin.cutline("services").await;
    assert!(
        done.exits(1).stderr.contains("no answer of an admin API"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_reader_of_stdout_that_goes_away_is_no_words_on_stderr() {
    let admin = Canned::start([("GET /v1/services", vec![ok(json!([service()]))])]).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_cutline"))
        .args(["services", "--admin", &admin.url])
        .stdout(Stdio::from(writer))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
