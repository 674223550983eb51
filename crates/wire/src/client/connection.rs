//! One connection to one broker, shared by everybody who asks it something.
//!
//! Requests are written in order and answers are handed out by correlation id. After a write or read error or an
//! unanswered request the connection is closed for good; whoever waits is told. It is encrypted and authenticated before
//! anything is asked, and says when it is to be replaced because its authentication ends. It knows frames, not messages.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use cutline_security::Security;
use kafka_protocol::{
    messages::ResponseHeader,
    protocol::{Decodable, HeaderVersion, Request, VersionRange},
};
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::ClientError;
use crate::{
    frame::{FrameError, FrameReader, PREFIX_BYTES, correlation_id},
    login::{LoginError, log_in},
    stream::{Stream, StreamReader, StreamWriter},
};

/// Requests under way on one connection; more wait.
pub const IN_FLIGHT_MAX: usize = 256;

// Where the correlation id stands in a request: after size, API key and version.
const CORRELATION_AT: usize = 8;

#[derive(Debug, Default)]
struct Waiting {
    answers: Mutex<HashMap<i32, oneshot::Sender<Bytes>>>,
    closed: AtomicBool,
    // What TLS said when it broke off. A broker that asks for a certificate says so after the handshake.
    tls: Mutex<Option<String>>,
}

impl Waiting {
    // Dropping the senders tells everybody who waits.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.answers.lock().clear();
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    writer: tokio::sync::Mutex<StreamWriter>,
    renew_at: Option<Instant>,
    waiting: Arc<Waiting>,
    in_flight: Semaphore,
    next_id: AtomicI32,
    versions: BTreeMap<i16, VersionRange>,
    reading: JoinHandle<()>,
}

impl Connection {
    pub(super) async fn open(
        address: &str,
        limit: Duration,
        security: &Security,
        client_id: &str,
    ) -> Result<Self, ClientError> {
        let opening = async {
            let connected = Stream::connect(address, security).await;
            let mut stream = connected.map_err(|error| refused(address, amid_handshake(error)))?;
            let renew_after = match security.sasl() {
                None => None,
                Some(sasl) => {
                    let logged_in = log_in(&mut stream, sasl, client_id).await;
                    logged_in.map_err(|error| unknown(address, error))?
                }
            };
            Ok::<_, ClientError>((stream, renew_after))
        };
        let opened = tokio::time::timeout(limit, opening).await;
        let (stream, renew_after) = opened.map_err(|_| ClientError::TimedOut(limit))??;
        let (reader, writer) = stream.into_split();
        let waiting = Arc::new(Waiting::default());
        Ok(Self {
            address: address.to_owned(),
            writer: tokio::sync::Mutex::new(writer),
            renew_at: renew_after.map(|after| Instant::now() + after),
            waiting: waiting.clone(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            next_id: AtomicI32::new(1),
            versions: BTreeMap::new(),
            reading: tokio::spawn(read(FrameReader::responses(reader), waiting)),
        })
    }

    pub(super) fn set_versions(&mut self, versions: BTreeMap<i16, VersionRange>) {
        self.versions = versions;
    }

    pub(super) fn versions(&self) -> &BTreeMap<i16, VersionRange> {
        &self.versions
    }

    pub(super) fn is_open(&self) -> bool {
        !self.waiting.closed.load(Ordering::Acquire)
    }

    /// True when another should take its place: the broker will soon ask for authentication again. What is under way on this
    /// one is still answered.
    pub(super) fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Sends an encoded request whose first four bytes are left for its size, and waits for the answer's payload.
    pub(super) async fn send(
        &self,
        frame: BytesMut,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        let answered = tokio::time::timeout(limit, self.exchange(frame)).await;
        answered.unwrap_or_else(|_| {
            // Later answers would still come in order, but a peer that is silent this long is taken for gone.
            self.waiting.close();
            Err(ClientError::TimedOut(limit))
        })
    }

    async fn exchange(&self, mut frame: BytesMut) -> Result<Bytes, ClientError> {
        let _turn = self
            .in_flight
            .acquire()
            .await
            .map_err(|error| ClientError::Lost(error.to_string()))?;
        let size = u32::try_from(frame.len() - PREFIX_BYTES)
            .map_err(|_| ClientError::Lost("request is too large".to_owned()))?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        frame[..PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&id.to_be_bytes());
        let (sender, receiver) = oneshot::channel();
        self.waiting.answers.lock().insert(id, sender);
        if !self.is_open() {
            return Err(ClientError::Lost("closed".to_owned()));
        }
        let forget = Forget {
            waiting: &self.waiting,
            id,
        };
        let mut writer = self.writer.lock().await;
        // A half-written request would make every later one unreadable: closed unless this ends well.
        let mut written = CloseUnless {
            waiting: &self.waiting,
            done: false,
        };
        writer
            .write_all(&frame)
            .await
            .map_err(|error| self.lost(&error))?;
        // TLS may keep the end of a request.
        let flushed = writer.flush().await;
        flushed.map_err(|error| self.lost(&error))?;
        written.done = true;
        drop(writer);
        let answer = receiver
            .await
            .map_err(|_| match self.waiting.tls.lock().clone() {
                Some(reason) => self.broken_off(reason),
                None => ClientError::Lost("closed by the broker".to_owned()),
            });
        drop(forget);
        answer
    }

    fn lost(&self, error: &io::Error) -> ClientError {
        match cutline_tls::explain(error) {
            Some(reason) => self.broken_off(reason),
            None => ClientError::Lost(error.to_string()),
        }
    }

    fn broken_off(&self, reason: String) -> ClientError {
        ClientError::Tls {
            address: self.address.clone(),
            reason,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

struct Forget<'a> {
    waiting: &'a Waiting,
    id: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.answers.lock().remove(&self.id);
    }
}

struct CloseUnless<'a> {
    waiting: &'a Waiting,
    done: bool,
}

impl Drop for CloseUnless<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.waiting.close();
        }
    }
}

async fn read(mut reader: FrameReader<StreamReader>, waiting: Arc<Waiting>) {
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                *waiting.tls.lock() = cutline_tls::explain(&error);
                break;
            }
        };
        let Ok(id) = correlation_id(&frame) else {
            break;
        };
        let waiter = waiting.answers.lock().remove(&id);
        if let Some(waiter) = waiter {
            // A waiter that gave up meanwhile needs no answer.
            let _gone = waiter.send(frame.payload());
        }
        if waiting.closed.load(Ordering::Acquire) {
            break;
        }
    }
    waiting.close();
}

/// What TLS says is wrong is for people; the rest may pass by itself.
fn refused(address: &str, source: io::Error) -> ClientError {
    let address = address.to_owned();
    match cutline_tls::explain(&source) {
        Some(reason) => ClientError::Tls { address, reason },
        None => ClientError::Connect { address, source },
    }
}

/// A broker that goes away amid the handshake comes back; a listener that speaks no TLS closes just like it, each time.
fn amid_handshake(source: io::Error) -> io::Error {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        let said = "closed amid the TLS handshake: the broker goes away, or this listener does not speak TLS (CL0601)";
        return io::Error::new(source.kind(), said);
    }
    source
}

fn unknown(address: &str, error: LoginError) -> ClientError {
    match error {
        LoginError::Frame(FrameError::Io(source)) => refused(address, source),
        LoginError::Frame(FrameError::Cut) => {
            ClientError::Lost("closed by the broker while authenticating".to_owned())
        }
        error => ClientError::Authentication {
            address: address.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// Decodes an answer's payload.
pub(super) fn decode<R: Request>(
    mut payload: Bytes,
    version: i16,
) -> Result<R::Response, ClientError> {
    let decoding = |error: String| ClientError::Decode(R::KEY, error);
    ResponseHeader::decode(&mut payload, R::Response::header_version(version))
        .map_err(|error| decoding(error.to_string()))?;
    R::Response::decode(&mut payload, version).map_err(|error| decoding(error.to_string()))
}
