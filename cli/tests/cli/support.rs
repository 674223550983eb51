//! An admin API that answers what it is told to, and the command line run against it.
//!
//! It decides nothing: each route has its answers in order, and the last one stays.

use std::{
    collections::{HashMap, VecDeque},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, header},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// No command of a test takes longer.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

/// 200 with this JSON.
pub fn ok(body: Value) -> Answer {
    Answer {
        status: 200,
        content_type: "application/json",
        body: body.to_string(),
    }
}

/// A problem.
pub fn problem(status: u16, code: &str, title: &str, detail: &str) -> Answer {
    let kind = format!("urn:cutline:error:{code}");
    let body =
        json!({"type": kind, "title": title, "status": status, "detail": detail, "code": code});
    Answer {
        status,
        content_type: "application/problem+json",
        body: body.to_string(),
    }
}

/// A stream of these events that ends.
pub fn events(events: &[Value]) -> Answer {
    let blocks = events.iter().map(|event| format!("data: {event}\n\n"));
    Answer {
        status: 200,
        content_type: "text/event-stream",
        body: blocks.collect(),
    }
}

#[derive(Debug, Default)]
struct Script {
    answers: HashMap<String, VecDeque<Answer>>,
    asked: Vec<(String, Value)>,
    tokens: Vec<Option<String>>,
}

/// An admin API that answers what it is told to.
#[derive(Debug)]
pub struct Canned {
    /// Where it is.
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl Canned {
    /// Answers each `METHOD /path?query` with its answers in order; the last one stays.
    pub async fn start(answers: impl IntoIterator<Item = (&str, Vec<Answer>)>) -> Self {
        let answers = answers.into_iter();
        let script = Arc::new(Mutex::new(Script {
            answers: answers
                .map(|(route, answers)| (route.to_owned(), answers.into()))
                .collect(),
            asked: Vec::new(),
            tokens: Vec::new(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a local port is free");
        let address = listener.local_addr().expect("a bound socket has one");
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}"),
            script,
        }
    }

    /// Runs `cutline` with the words of `line` against it.
    pub async fn cutline(&self, line: &str) -> Done {
        cutline(&self.url, line).await
    }

    /// The authorization that each question came with.
    pub fn tokens(&self) -> Vec<Option<String>> {
        self.script.lock().expect("no holder panics").tokens.clone()
    }

    /// What was asked: `METHOD /path?query`, with the body.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.script.lock().expect("no holder panics").asked.clone()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response<Body> {
    let route = format!("{} {}", request.method(), request.uri());
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.map(|value| value.to_str().unwrap_or_default().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let body = serde_json::from_slice(&body.unwrap_or(Bytes::new())).unwrap_or(Value::Null);
    let mut script = script.lock().expect("no holder panics");
    let answer = match script.answers.get_mut(&route) {
        Some(answers) if answers.len() > 1 => answers.pop_front(),
        Some(answers) => answers.front().cloned(),
        None => None,
    };
    let answer = answer.unwrap_or_else(|| problem(404, "CL0205", "not found", &route));
    script.asked.push((route, body));
    script.tokens.push(token);
    Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, answer.content_type)
        .body(Body::from(answer.body))
        .expect("the parts are well-formed")
}

/// What a command left behind.
#[derive(Debug)]
pub struct Done {
    status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Done {
    /// The exit code; everything it wrote is shown when it is another one.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// What it wrote to stdout, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs `cutline` with the words of `line` against the admin API at `url`.
pub async fn cutline(url: &str, line: &str) -> Done {
    let mut command = program();
    command
        .args(line.split_whitespace())
        .env("CUTLINE_ADMIN", url);
    done(command).await
}

/// The program, with nothing of the surroundings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cutline"));
    for name in ["ADMIN", "CONTEXT", "OUTPUT", "TIMEOUT", "TOKEN_FILE"] {
        command.env_remove(format!("CUTLINE_{name}"));
    }
    command
        .env("XDG_CONFIG_HOME", "/nowhere")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn done(mut command: Command) -> Done {
    let output = tokio::time::timeout(COMMAND_DEADLINE, command.output()).await;
    let output = output.expect("it ends in time").expect("it can be run");
    Done {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// A checkpoint as the admin API answers it; `more` replaces and adds fields.
pub fn checkpoint(epoch: u64, status: &str, more: Value) -> Value {
    let base = json!({
        "epoch": epoch, "status": status, "mode": "aligned",
        "started_at": "2026-03-04T05:06:07Z", "completed_at": "2026-03-04T05:06:08Z",
        "duration_ms": 812, "pause_ms_max": 12.34, "state_size": 1536, "bytes_uploaded": 20,
        "process_count": 1, "timeline": 0, "view": 3, "guarantee": "consistent",
        "processes": [process(1536, 40)], "idle_positions": [], "barriers": [],
        "ends": [{"topic": "transfers", "partition": 0, "offset": 44}],
        "topics": [{"name": "transfers", "id": "t1", "partitions": 1}],
        "kafka_cluster_id": "k1",
    });
    with(base, more)
}

/// One process of a checkpoint.
pub fn process(state_size: u64, position: i64) -> Value {
    json!({
        "process": "bank-a/0", "service": "bank-a", "instance": "0", "sidecars": ["bank-a/0"],
        "capture": "commit", "scope": "instance", "guarantee": "consistent", "unaligned": false,
        "start_delay_ms": 1.0, "alignment_ms": 2.0, "quiesce_ms": 3.0, "sync_ms": 4.0,
        "mark_ms": 5.0, "async_ms": 60.0, "pause_ms": 12.34,
        "state_size": state_size, "bytes_uploaded": 20, "provider": "dir",
        "positions": [{"group": "bank-a", "topic": "transfers", "partition": 0, "offset": position}],
        "markers": [{"instance": "0", "topic": "transfers", "partition": 0, "offset": 41, "late": false}],
    })
}

/// A restore as the admin API answers it; `more` replaces and adds fields.
pub fn restore(status: &str, more: Value) -> Value {
    let base = json!({
        "id": "r1", "epoch": 7, "status": status, "step": "fenced", "services": ["bank-a"],
        "started_at": "2026-03-04T05:06:07Z", "duration_ms": 1200,
    });
    with(base, more)
}

/// A plan as the admin API answers it; `more` replaces and adds fields.
pub fn plan(feasible: bool, more: Value) -> Value {
    let position = json!({
        "group": "bank-a", "topic": "transfers", "partition": 0, "offset": 40, "committed_now": 55,
    });
    let base = json!({
        "epoch": 7, "feasible": feasible, "problems": [], "warnings": [], "timeline": 0,
        "services": [{
            "service": "bank-a",
            "state": [{"process": "bank-a/0", "provider": "dir", "state_size": 1536}],
            "positions": [position],
        }],
        "holds": [], "masks": [], "contaminated": [],
    });
    with(base, more)
}

fn with(mut base: Value, more: Value) -> Value {
    let fields = base.as_object_mut().expect("it is an object");
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    base
}
