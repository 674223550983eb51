//! The sidecar's end of its one WebSocket to the admin API.
//!
//! It dials, says hello, and passes frames both ways; when the connection breaks, or who answers does not lead, it says so
//! once and dials the next admin API for as long as the sidecar runs. Applications do not depend on it: what must hold without the admin API is in the control
//! topic.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cutline_client::{
    ProblemDetails,
    link::{Downlink, LINK_FRAME_BYTES_MAX, STATUS_PERIOD_MS, Uplink},
};
use cutline_model::Offset;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        client::IntoClientRequest,
        http::header::{AUTHORIZATION, HeaderValue},
        protocol::WebSocketConfig,
    },
};

/// The pause before the first new attempt; it doubles up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
const REDIAL_MAX: Duration = Duration::from_secs(1);
/// How long dialling may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// An admin API that answers no ping for so long is lost, though its connection may stand.
const SILENCE_MAX: Duration = Duration::from_millis(5 * STATUS_PERIOD_MS);

/// What the link tells the sidecar.
#[derive(Debug)]
pub enum LinkEvent {
    /// Welcomed; state goes to this store.
    Connected {
        /// As `--store` would say it.
        store: String,
    },
    /// A message.
    Message(Downlink),
    /// The connection broke, or the admin API refused it.
    Lost,
}

/// What the link needs.
pub struct Link {
    /// The base URLs of the admin APIs, `http://…`: at least one. Whoever does not lead refuses the connection.
    pub admins: Vec<String>,
    /// Where the token to show is, if one is asked for.
    pub token_file: Option<PathBuf>,
    /// The first frame of every connection.
    pub hello: Uplink,
    /// Frames to send; those of an epoch are worthless after a break and are dropped then.
    pub outbox: mpsc::Receiver<Uplink>,
    /// What is applied of the control topic; said again after every break.
    pub applied: watch::Receiver<Option<Offset>>,
    /// How the sidecar is, asked every [`STATUS_PERIOD_MS`].
    pub status: Box<dyn Fn() -> Uplink + Send + Sync>,
    /// Where events go.
    pub events: mpsc::Sender<LinkEvent>,
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the token in {path} cannot be used: {reason}")]
    Token { path: PathBuf, reason: String },
    #[error("it answered {status}: {problem}")]
    Answered { status: u16, problem: String },
    #[error("{0}")]
    Socket(#[from] tokio_tungstenite::tungstenite::Error),
    #[error("not a message of this version: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the admin API did not answer within {DIAL_TIMEOUT:?}")]
    Silent,
    #[error("the admin API has not answered for {SILENCE_MAX:?}")]
    Frozen,
    #[error("the admin API refused this sidecar: {0}")]
    Refused(String),
    #[error("the admin API closed the connection")]
    Closed,
    #[error("the sidecar ends")]
    Ending,
}

impl Link {
    /// Runs until the sidecar ends.
    pub async fn run(mut self) {
        let mut pause = REDIAL_MIN;
        let mut said = BTreeMap::new();
        for at in (0..self.admins.len()).cycle() {
            let admin = self.admins[at].clone();
            let mut welcomed = false;
            let error = match self.converse(&admin, &mut welcomed).await {
                Ok(()) | Err(LinkError::Ending) => return,
                Err(error) => error.to_string(),
            };
            if welcomed {
                pause = REDIAL_MIN;
                said.clear();
                if self.events.send(LinkEvent::Lost).await.is_err() {
                    return;
                }
            }
            if said.get(&admin) != Some(&error) {
                tracing::warn!(admin, error, "no connection to the admin API; trying again");
                said.insert(admin, error);
            }
            while self.outbox.try_recv().is_ok() {}
            // The pause is for the whole round: the next of several may lead already.
            if at + 1 == self.admins.len() {
                // Full jitter: all sidecars lose an admin API at the same moment.
                tokio::time::sleep(pause.mul_f64(rand::random())).await;
                pause = (pause * 2).min(REDIAL_MAX);
            }
        }
    }

    async fn converse(&mut self, admin: &str, welcomed: &mut bool) -> Result<(), LinkError> {
        let mut socket = self.dial(admin).await?;
        send(&mut socket, &self.hello).await?;
        let mut status = tokio::time::interval(Duration::from_millis(STATUS_PERIOD_MS));
        let mut heard = Instant::now();
        self.applied.mark_changed();
        loop {
            tokio::select! {
                frame = socket.next() => {
                    let Some(frame) = frame else { return Err(LinkError::Closed) };
                    heard = Instant::now();
                    self.received(frame?, welcomed).await?;
                }
                message = self.outbox.recv() => match message {
                    Some(message) => send(&mut socket, &message).await?,
                    None => return Ok(()),
                },
                Ok(()) = self.applied.changed(), if *welcomed => {
                    let applied = *self.applied.borrow_and_update();
                    if let Some(offset) = applied {
                        send(&mut socket, &Uplink::Applied { offset }).await?;
                    }
                }
                _ = status.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Err(LinkError::Frozen);
                    }
                    socket.send(Message::Ping(Bytes::new())).await?;
                    if *welcomed {
                        send(&mut socket, &(self.status)()).await?;
                    }
                }
            }
        }
    }

    async fn dial(&self, admin: &str) -> Result<Socket, LinkError> {
        let base = admin.trim_end_matches('/').replacen("http", "ws", 1);
        let mut request = format!("{base}/v1/sidecars/connect").into_client_request()?;
        if let Some(path) = &self.token_file {
            let shown = authorization(path).await?;
            request.headers_mut().insert(AUTHORIZATION, shown);
        }
        let config = WebSocketConfig::default()
            .max_frame_size(Some(LINK_FRAME_BYTES_MAX))
            .max_message_size(Some(LINK_FRAME_BYTES_MAX));
        let dialling = connect_async_with_config(request, Some(config), true);
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, dialling).await;
        let (socket, _) = dialled.map_err(|_| LinkError::Silent)?.map_err(answered)?;
        Ok(socket)
    }

    async fn received(&self, frame: Message, welcomed: &mut bool) -> Result<(), LinkError> {
        let text = match frame {
            Message::Text(text) => text,
            Message::Close(_) => return Err(LinkError::Closed),
            _ => return Ok(()),
        };
        let event = match serde_json::from_str(&text)? {
            Downlink::Refused { reason } => return Err(LinkError::Refused(reason)),
            Downlink::Welcome { store, .. } => {
                *welcomed = true;
                LinkEvent::Connected { store }
            }
            message => LinkEvent::Message(message),
        };
        self.events.send(event).await.map_err(|_| LinkError::Ending)
    }
}

/// The token in a file, as a header shows it; read anew every time, so that it can be replaced.
async fn authorization(path: &Path) -> Result<HeaderValue, LinkError> {
    let wrong = |reason: String| LinkError::Token {
        path: path.to_owned(),
        reason,
    };
    let token = tokio::fs::read_to_string(path).await;
    let token = token.map_err(|error| wrong(error.to_string()))?;
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| wrong("it has characters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What an admin API said instead of opening the connection.
fn answered(error: WsError) -> LinkError {
    let WsError::Http(response) = error else {
        return LinkError::Socket(error);
    };
    let body = response.body().as_deref().unwrap_or_default();
    let details: Option<ProblemDetails> = serde_json::from_slice(body).ok();
    LinkError::Answered {
        status: response.status().as_u16(),
        problem: details.map_or_else(
            || "nothing that says why".to_owned(),
            |said| said.to_string(),
        ),
    }
}

async fn send(socket: &mut Socket, message: &Uplink) -> Result<(), LinkError> {
    let text = serde_json::to_string(message)?;
    let sent = tokio::time::timeout(SILENCE_MAX, socket.send(Message::text(text))).await;
    Ok(sent.map_err(|_| LinkError::Frozen)??)
}
