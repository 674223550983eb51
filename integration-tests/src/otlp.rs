//! OpenTelemetry's own receiver of traces: what is sent to it by OTLP over HTTP is there to be read, span by span.
//!
//! It promises to take connections when `start` returns. What spans mean it does not know.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    binaries::project_root,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// How long it may take to take connections.
pub const START_DEADLINE: Duration = Duration::from_secs(20);

/// A running receiver.
#[derive(Debug)]
pub struct OtlpReceiver {
    port: u16,
    file: PathBuf,
    process: Process,
}

/// A span that was received.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// Of which program, by its `service.name`.
    pub program: String,
    /// Of which run of it, by its `service.instance.id`.
    pub instance: String,
    /// Its name.
    pub name: String,
    /// Its trace, in hexadecimal.
    pub trace: String,
    /// Its id, in hexadecimal.
    pub id: String,
    /// Its parent's id; empty for the first of a trace.
    pub parent: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// What is said about it.
    pub attributes: BTreeMap<String, String>,
    /// True when it is marked as an error.
    pub failed: bool,
}

impl OtlpReceiver {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not take connections within [`START_DEADLINE`].
    pub async fn start() -> Self {
        let port = free_port();
        let directory = Run::this().part("otlp-receiver");
        let file = directory.join("spans.jsonl");
        let program = tokio::task::spawn_blocking(program)
            .await
            .expect("a path is found or a panic told why not");
        let address = format!("127.0.0.1:{port}");
        let spec = ProcessSpec::new("otlp-receiver", program, directory.join("log"))
            .arg(&address)
            .arg(&file);
        let receiver = Self {
            port,
            file,
            process: Process::start(spec),
        };
        wait_until(START_DEADLINE, "the receiver of traces", || {
            let address = address.clone();
            async move { tokio::net::TcpStream::connect(address).await.is_ok() }
        })
        .await;
        receiver
    }

    /// What a program is told as its endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process: to end and to start again.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Every span that was received so far.
    ///
    /// # Panics
    /// When what was received is not OTLP.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        // A line that is being written is looked at the next time.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().flat_map(spans_of).collect()
    }
}

/// Its program, built when it is not there.
fn program() -> PathBuf {
    let made = Command::new(project_root().join("scripts/fetch-otlp-receiver"))
        .stderr(Stdio::inherit())
        .output()
        .expect("a script of the project can be run");
    assert!(made.status.success(), "scripts/fetch-otlp-receiver failed");
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
}

fn spans_of(line: &str) -> Vec<ReceivedSpan> {
    let request: Value = serde_json::from_str(line).expect("a line of OTLP's JSON");
    let mut spans = Vec::new();
    for of_program in list(&request["resourceSpans"]) {
        let resource = attributes(&of_program["resource"]["attributes"]);
        for of_scope in list(&of_program["scopeSpans"]) {
            let each = list(&of_scope["spans"]).iter();
            spans.extend(each.map(|span| received(span, &resource)));
        }
    }
    spans
}

fn received(span: &Value, resource: &BTreeMap<String, String>) -> ReceivedSpan {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_resource = |name: &str| resource.get(name).cloned().unwrap_or_default();
    let time = |name: &str| text(&span[name]).parse().expect("a time in nanoseconds");
    ReceivedSpan {
        program: of_resource("service.name"),
        instance: of_resource("service.instance.id"),
        name: text(&span["name"]),
        trace: text(&span["traceId"]),
        id: text(&span["spanId"]),
        parent: text(&span["parentSpanId"]),
        times: (time("startTimeUnixNano"), time("endTimeUnixNano")),
        attributes: attributes(&span["attributes"]),
        failed: span["status"]["code"] == 2,
    }
}

fn attributes(all: &Value) -> BTreeMap<String, String> {
    let each = list(all).iter().map(|attribute| {
        let (_, value) = attribute["value"]
            .as_object()
            .and_then(|value| value.iter().next())
            .expect("an attribute has a value");
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let key = attribute["key"].as_str().unwrap_or_default();
        (key.to_owned(), value)
    });
    each.collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
