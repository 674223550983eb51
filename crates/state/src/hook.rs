//! The application's hook: pause, snapshot, resume and restore over HTTP (3-interfaces: the hook).
//!
//! Everything has a time limit and a size limit, redirects and proxies are not followed, and an answer that makes no
//! sense is an error that shows its beginning. The hook's own lease is the application's business: a hook nobody resumes
//! is expected to go on by itself and to say so when asked.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use cutline_model::{Offset, PartitionOffset, TopicPartition};
use cutline_telemetry::Span;
use reqwest::{Client, RequestBuilder, Response, header, redirect};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::StateError;

/// How much of a bad answer an error shows, in characters.
const QUOTE_CHARS_MAX: usize = 200;

/// W3C's header: which trace the call belongs to.
const TRACEPARENT: &str = "traceparent";

/// How long a hook may take and how much it may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookLimits {
    /// For the connection: a hook is on the same machine or next to it.
    pub connect: Duration,
    /// For *pause*: what the default drain timeout leaves.
    pub pause: Duration,
    /// For *snapshot*, to its last byte. The pause it is part of usually ends before.
    pub snapshot: Duration,
    /// For *resume*.
    pub resume: Duration,
    /// For *restore*, to the answer.
    pub restore: Duration,
    /// For an answer that is not a snapshot: 100,000 partitions fit.
    pub answer_bytes_max: u64,
    /// For a snapshot.
    pub snapshot_bytes_max: u64,
}

impl Default for HookLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            pause: Duration::from_secs(4),
            snapshot: Duration::from_secs(30),
            resume: Duration::from_secs(2),
            restore: Duration::from_secs(600),
            answer_bytes_max: 16 * 1024 * 1024,
            snapshot_bytes_max: 16 * 1024 * 1024 * 1024,
        }
    }
}

/// A client of one application's hook. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hook {
    client: Client,
    base: Url,
    limits: HookLimits,
}

#[derive(Deserialize)]
struct Paused {
    positions: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Resumed {
    lease_held: bool,
}

impl Hook {
    /// The hook below `base`: `http://host:port`, to which `/cutline/pause` and the others are added.
    ///
    /// # Errors
    /// [`StateError::BadSpec`] when `base` is no such address.
    pub fn new(base: &str, limits: HookLimits) -> Result<Self, StateError> {
        let bad = |reason: String| StateError::BadSpec {
            spec: base.chars().take(QUOTE_CHARS_MAX).collect(),
            reason,
        };
        let mut base =
            Url::parse(base).map_err(|error| bad(format!("the hook's address: {error}")))?;
        if base.scheme() != "http" || base.host_str().is_none() {
            return Err(bad("a hook's address is http://host:port".to_owned()));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("a hook's address takes no query".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = Client::builder()
            .connect_timeout(limits.connect)
            .redirect(redirect::Policy::none())
            .no_proxy();
        let client = client.build().map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            client,
            base,
            limits,
        })
    }

    /// Stops the application from taking work. Answers, in no particular order, where it stands on each partition.
    ///
    /// # Errors
    /// When the hook fails, hangs or answers nonsense. It may be paused nevertheless: resume it.
    pub async fn pause(&self) -> Result<Vec<PartitionOffset>, StateError> {
        let (url, answer) = self.ask("pause", self.limits.pause).await?;
        let paused: Paused = parse(&url, &answer)?;
        paused
            .positions
            .iter()
            .map(|(name, offset)| position(name, *offset))
            .collect::<Result<_, _>>()
            .map_err(|reason| nonsense(&url, reason, &answer))
    }

    /// Begins a snapshot; its bytes follow.
    ///
    /// # Errors
    /// When the hook fails or hangs, or its answer does not tell where it ends.
    pub async fn snapshot(&self) -> Result<SnapshotStream, StateError> {
        let span = Span::here("hook snapshot");
        span.clone().done_by(self.begin_snapshot(&span)).await
    }

    async fn begin_snapshot(&self, span: &Span) -> Result<SnapshotStream, StateError> {
        let url = self.url("snapshot");
        let deadline = Deadline::of(self.limits.snapshot);
        let request = traced(self.client.get(url.clone()), span);
        let response = deadline.call(&url, request.send()).await?;
        let response = self.accepted(&url, response, deadline).await?;
        // An answer that ends with its connection looks the same when it was cut off.
        let chunked = response.headers().contains_key(header::TRANSFER_ENCODING);
        if response.content_length().is_none() && !chunked {
            let reason = "a snapshot needs Content-Length or chunked transfer, so that one cut short is noticed";
            return Err(nonsense(&url, reason.to_owned(), b""));
        }
        Ok(SnapshotStream {
            response,
            url,
            deadline,
            left: self.limits.snapshot_bytes_max,
            limit: self.limits.snapshot_bytes_max,
        })
    }

    /// Lets the application go on. False: it had gone on by itself, so what was recorded is of no use.
    ///
    /// # Errors
    /// When the hook fails, hangs or answers nonsense.
    pub async fn resume(&self) -> Result<bool, StateError> {
        let (url, answer) = self.ask("resume", self.limits.resume).await?;
        parse::<Resumed>(&url, &answer).map(|resumed| resumed.lease_held)
    }

    /// Gives the application the state in `file`, of `bytes` bytes, to put in place.
    ///
    /// # Errors
    /// When the hook fails or hangs; restore again.
    pub async fn restore(&self, file: tokio::fs::File, bytes: u64) -> Result<(), StateError> {
        let span = Span::here("hook restore");
        let putting = self.put_back(file, bytes, &span);
        span.clone().done_by(putting).await
    }

    async fn put_back(
        &self,
        file: tokio::fs::File,
        bytes: u64,
        span: &Span,
    ) -> Result<(), StateError> {
        let url = self.url("restore");
        let deadline = Deadline::of(self.limits.restore);
        let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(
            file,
            256 * 1024,
        ));
        let request = self
            .client
            .post(url.clone())
            .header(header::CONTENT_LENGTH, bytes);
        let request = request
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(body);
        let request = traced(request, span);
        let response = deadline.call(&url, request.send()).await?;
        self.accepted(&url, response, deadline).await.map(|_| ())
    }

    async fn ask(&self, verb: &str, limit: Duration) -> Result<(Url, Vec<u8>), StateError> {
        let span = Span::here(match verb {
            "pause" => "hook pause",
            _ => "hook resume",
        });
        span.clone().done_by(self.call(verb, limit, &span)).await
    }

    async fn call(
        &self,
        verb: &str,
        limit: Duration,
        span: &Span,
    ) -> Result<(Url, Vec<u8>), StateError> {
        let url = self.url(verb);
        let deadline = Deadline::of(limit);
        let request = traced(self.client.post(url.clone()), span);
        let response = deadline.call(&url, request.send()).await?;
        let response = self.accepted(&url, response, deadline).await?;
        let answer = body(&url, response, deadline, self.limits.answer_bytes_max).await?;
        Ok((url, answer))
    }

    fn url(&self, verb: &str) -> Url {
        self.base
            .join(&format!("cutline/{verb}"))
            .expect("a plain relative path joins any http address")
    }

    async fn accepted(
        &self,
        url: &Url,
        response: Response,
        deadline: Deadline,
    ) -> Result<Response, StateError> {
        let status = response.status();
        if status == reqwest::StatusCode::OK {
            return Ok(response);
        }
        // The status says it; the answer is an addition, so one that cannot be read is left out.
        let answer = body(url, response, deadline, 64 * 1024)
            .await
            .unwrap_or_default();
        Err(StateError::HookFailed {
            url: url.to_string(),
            status: status.as_u16(),
            answer: quote(&answer),
        })
    }
}

fn traced(request: RequestBuilder, span: &Span) -> RequestBuilder {
    match span.traceparent() {
        Some(parent) => request.header(TRACEPARENT, parent),
        None => request,
    }
}

/// The bytes of a snapshot, as they come.
#[derive(Debug)]
pub struct SnapshotStream {
    response: Response,
    url: Url,
    deadline: Deadline,
    left: u64,
    limit: u64,
}

impl SnapshotStream {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// When the hook breaks off, hangs, or sends more than it may.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, StateError> {
        let chunk = self.deadline.call(&self.url, self.response.chunk()).await?;
        let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                return Err(StateError::TooLarge {
                    what: format!("the snapshot of hook {}", self.url),
                    limit: self.limit,
                });
            }
        }
        Ok(chunk)
    }
}

/// When a call must have ended, and how long that was from its start.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    fn of(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            limit,
        }
    }

    async fn call<T>(
        self,
        url: &Url,
        call: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, StateError> {
        match timeout_at(self.at, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(StateError::HookUnreachable {
                url: url.to_string(),
                detail: causes(&error),
            }),
            Err(_) => {
                let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
                Err(StateError::HookTimeout {
                    url: url.to_string(),
                    limit_ms,
                })
            }
        }
    }
}

async fn body(
    url: &Url,
    mut response: Response,
    deadline: Deadline,
    bytes_max: u64,
) -> Result<Vec<u8>, StateError> {
    let mut answer = Vec::new();
    while let Some(chunk) = deadline.call(url, response.chunk()).await? {
        if (answer.len() + chunk.len()) as u64 > bytes_max {
            return Err(nonsense(
                url,
                format!("it is longer than {bytes_max} bytes"),
                &answer,
            ));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

fn parse<'a, T: Deserialize<'a>>(url: &Url, answer: &'a [u8]) -> Result<T, StateError> {
    serde_json::from_slice(answer).map_err(|error| nonsense(url, error.to_string(), answer))
}

fn position(name: &str, offset: i64) -> Result<PartitionOffset, String> {
    let parsed = name.rsplit_once('-').filter(|(topic, _)| !topic.is_empty());
    let parsed =
        parsed.and_then(|(topic, index)| index.parse::<i32>().ok().map(|index| (topic, index)));
    let Some((topic, partition)) = parsed.filter(|(_, index)| *index >= 0) else {
        return Err(format!(
            "{:?} names no partition; write topic-0",
            quote(name.as_bytes())
        ));
    };
    if offset < 0 {
        return Err(format!("{offset} is no offset"));
    }
    Ok(PartitionOffset {
        partition: TopicPartition::new(topic, partition),
        offset: Offset(offset),
    })
}

fn nonsense(url: &Url, reason: String, answer: &[u8]) -> StateError {
    StateError::HookNonsense {
        url: url.to_string(),
        reason,
        answer: quote(answer),
    }
}

/// The beginning of an answer, on one line.
fn quote(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(4 * QUOTE_CHARS_MAX)]);
    let mut quoted: String = text
        .chars()
        .take(QUOTE_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}

/// An error with what caused it: the outermost message alone rarely says what happened.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
