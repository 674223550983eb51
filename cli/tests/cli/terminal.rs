//! What happens on a terminal: `cutline top` draws, and what cannot be undone is asked for first. The terminal is a real one.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::{Canned, checkpoint, ok, restore};

const DEADLINE: Duration = Duration::from_secs(30);

/// A terminal of 24 rows and 80 columns in which `cutline` runs.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn run(url: &str, line: &str) -> Self {
        let binary = env!("CARGO_BIN_EXE_cutline");
        let inside = format!("stty rows 24 cols 80; exec {binary} {line}");
        // From util-linux, which every Debian has: it gives the command a terminal of its own.
        let mut child = Command::new("script")
            .args(["-qec", &inside, "/dev/null"])
            .env("CUTLINE_ADMIN", url)
            .env("XDG_CONFIG_HOME", "/nowhere")
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script can be run");
        Self {
            keys: child.stdin.take().expect("it is piped"),
            screen: child.stdout.take().expect("it is piped"),
            seen: String::new(),
            child,
        }
    }

    /// Waits until `words` were on the screen.
    async fn shows(&mut self, words: &str) {
        let reading = async {
            let mut bytes = [0; 4_096];
            while !self.seen.contains(words) {
                let read = self.screen.read(&mut bytes).await.expect("it is open");
                assert!(read > 0, "it ended without {words:?}: {}", self.seen);
                self.seen += &String::from_utf8_lossy(&bytes[..read]);
            }
        };
        let shown = tokio::time::timeout(DEADLINE, reading).await;
        assert!(shown.is_ok(), "no {words:?} in: {}", self.seen);
    }

    async fn types(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .await
            .expect("it is open");
        self.keys.flush().await.expect("it is open");
    }

    /// The exit code, and everything that was on the screen.
    async fn ends(mut self) -> (Option<i32>, String) {
        let ending = async {
            let mut rest = Vec::new();
            self.screen
                .read_to_end(&mut rest)
                .await
                .expect("it is open");
            self.seen += &String::from_utf8_lossy(&rest);
            self.child.wait().await.expect("it was run").code()
        };
        let code = tokio::time::timeout(DEADLINE, ending).await;
        (code.expect("it ends in time"), self.seen)
    }
}

fn whoami() -> Value {
    json!({"name": "anna", "role": "admin", "version": "1.0.0", "deployment": "bank", "leading": true})
}

async fn installation() -> Canned {
    let spread = json!({"min": 0, "avg": 0, "p50": 0, "p99": 0, "max": 0});
    let running = checkpoint(
        42,
        "IN_PROGRESS",
        json!({"phase": "Running", "completed_at": null}),
    );
    let list = json!({
        "counts": {"total": 2, "in_progress": 1, "completed": 1, "failed": 0, "restored": 0},
        "latest": {
            "completed": checkpoint(41, "COMPLETED", json!({})),
            "failed": null, "savepoint": null, "restored": null,
        },
        "summary": {"duration_ms": spread, "pause_ms": spread, "state_size": spread, "bytes_uploaded": spread},
        "history": [running, checkpoint(41, "COMPLETED", json!({}))],
    });
    let schedule =
        json!({"interval_ms": 30000, "min_pause_ms": 0, "mode": "aligned", "failures": 0});
    let sidecar = json!({
        "service": "bank-a", "instance": "0", "incarnation": "i1", "state": "connected",
        "scope": "instance", "capture": "commit", "providers": ["dir"], "app_connections": 4,
        "groups": [], "reads": ["transfers-0"], "writes": ["replies"],
    });
    let progress = restore("FENCING", json!({"step": "fenced"}));
    Canned::start([
        ("GET /v1/whoami", vec![ok(whoami())]),
        ("GET /v1/checkpoints?limit=20", vec![ok(list)]),
        (
            "GET /v1/checkpoints/41",
            vec![ok(checkpoint(41, "COMPLETED", json!({})))],
        ),
        ("GET /v1/schedule", vec![ok(schedule)]),
        ("GET /v1/restores", vec![ok(json!([progress]))]),
        ("GET /v1/restores/r1", vec![ok(progress)]),
        ("GET /v1/sidecars", vec![ok(json!([sidecar]))]),
        (
            "POST /v1/restores",
            vec![ok(restore("COMPLETED", json!({"step": "completed"})))],
        ),
    ])
    .await
}

#[tokio::test]
async fn top_draws_what_goes_on_within_80_by_24_and_gives_the_terminal_back() {
    let admin = installation().await;
    let mut terminal = Terminal::run(&admin.url, "top");
    for words in [
        "CHECKPOINT 42",
        "Running",
        "RESTORE r1",
        "bank-a/0",
        "EVENTS",
    ] {
        terminal.shows(words).await;
    }
    terminal.types("q").await;
    let (code, seen) = terminal.ends().await;
    assert_eq!(code, Some(0), "{seen}");
    assert!(
        seen.contains("\u{1b}[?1049h") && seen.contains("\u{1b}[?1049l"),
        "{seen}"
    );
    // Every row is placed by number; none lies outside, and none is too long.
    for row in seen.split("\u{1b}[2K").skip(1) {
        let text = row.split('\u{1b}').next().unwrap_or_default();
        assert!(text.chars().count() <= 80, "{text:?}");
    }
    assert!(!seen.contains("\u{1b}[25;1H"), "{seen}");
}

#[tokio::test]
async fn without_a_terminal_top_prints_one_frame() {
    let admin = installation().await;
    let done = admin.cutline("top").await;
    let stdout = &done.exits(0).stdout;
    for words in ["bank", "last checkpoint 41", "every 30.0 s", "bank-a/0"] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
}

#[tokio::test]
async fn on_a_terminal_a_restore_begins_only_when_the_deployment_is_typed() {
    let admin = installation().await;
    let began = || {
        let asked = admin.asked();
        asked.iter().any(|(route, _)| route == "POST /v1/restores")
    };
    let mut terminal = Terminal::run(&admin.url, "restore create 7");
    terminal.shows("Type bank to go on").await;
    terminal.types("7\n").await;
    let (code, seen) = terminal.ends().await;
    assert!(
        code == Some(1) && seen.contains("nothing was done"),
        "{seen}"
    );
    assert!(!began());
    let mut terminal = Terminal::run(&admin.url, "restore create 7");
    terminal.shows("Type bank to go on").await;
    terminal.types("bank\n").await;
    let (code, seen) = terminal.ends().await;
    assert!(code == Some(0) && began(), "{seen}");
}

#[tokio::test]
async fn with_yes_or_without_a_terminal_nothing_is_asked() {
    let admin = installation().await;
    admin.cutline("restore create 7").await.exits(0);
    let terminal = Terminal::run(&admin.url, "restore create 7 --yes");
    let (code, seen) = terminal.ends().await;
    assert!(code == Some(0) && !seen.contains("Type "), "{seen}");
}
