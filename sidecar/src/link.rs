//! The sidecar's end of its one WebSocket to the admin API.
//!
//! It dials, says hello, and passes frames both ways; when the connection breaks, or who answers does not lead, it says so
//! once and dials the next admin API for as long as the sidecar runs. Applications do not depend on it: what must hold without
//! the admin API is in the control topic.

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
use cutline_tls::{ClientTls, explain};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        client::IntoClientRequest,
        http::header::{AUTHORIZATION, HeaderValue},
        protocol::WebSocketConfig,
    },
};
use url::Url;

/// The pause before the first new attempt; it doubles up to [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_millis(50);
const REDIAL_MAX: Duration = Duration::from_secs(1);
/// The same after being turned away: that lasts until a person does something, and each attempt is a line in an audit log.
const TURNED_AWAY_MAX: Duration = Duration::from_secs(30);
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
    /// The admin APIs, at least one. Whoever does not lead refuses the connection.
    pub admins: Vec<Url>,
    /// What connections to those with `https://` are made with.
    pub tls: Option<ClientTls>,
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

/// The connection below, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the token in {path} cannot be used: {reason}")]
    Token { path: PathBuf, reason: String },
    #[error("it answered {status}: {problem}")]
    Answered { status: u16, problem: String },
    #[error("it cannot be reached: {0}")]
    Unreached(std::io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("{0} is no address to dial")]
    Address(Url),
    #[error("{0}")]
    Socket(WsError),
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

impl LinkError {
    /// True when whoever answered does not want this sidecar as it is.
    fn is_turned_away(&self) -> bool {
        match self {
            Self::Answered { status, .. } => matches!(status, 401 | 403),
            Self::Tls(_) | Self::Refused(_) => true,
            _ => false,
        }
    }
}

impl From<WsError> for LinkError {
    fn from(error: WsError) -> Self {
        match explain(&error) {
            // A refused certificate is told after the handshake is over for this side.
            Some(words) => Self::Tls(words),
            None => Self::Socket(error),
        }
    }
}

impl Link {
    /// Runs until the sidecar ends.
    pub async fn run(mut self) {
        let mut pause = REDIAL_MIN;
        let mut pause_max = REDIAL_MAX;
        let mut said = BTreeMap::new();
        for at in (0..self.admins.len()).cycle() {
            let admin = self.admins[at].clone();
            let mut welcomed = false;
            let error = match self.converse(&admin, &mut welcomed).await {
                Ok(()) | Err(LinkError::Ending) => return,
                Err(error) => error,
            };
            if error.is_turned_away() {
                pause_max = TURNED_AWAY_MAX;
            }
            let error = error.to_string();
            if welcomed {
                pause = REDIAL_MIN;
                said.clear();
                if self.events.send(LinkEvent::Lost).await.is_err() {
                    return;
                }
            }
            if said.get(&admin) != Some(&error) {
                tracing::warn!(%admin, error, "no connection to the admin API; trying again");
                said.insert(admin, error);
            }
            while self.outbox.try_recv().is_ok() {}
            // The pause is for the whole round: the next of several may lead already.
            if at + 1 == self.admins.len() {
                pause = pause.min(pause_max);
                // Full jitter: all sidecars lose an admin API at the same moment.
                tokio::time::sleep(pause.mul_f64(rand::random())).await;
                pause *= 2;
                pause_max = REDIAL_MAX;
            }
        }
    }

    async fn converse(&mut self, admin: &Url, welcomed: &mut bool) -> Result<(), LinkError> {
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

    async fn dial(&self, admin: &Url) -> Result<Socket, LinkError> {
        let base = admin.as_str().trim_end_matches('/');
        let base = base.replacen("http", "ws", 1);
        let mut request = format!("{base}/v1/sidecars/connect").into_client_request()?;
        if let Some(path) = &self.token_file {
            let shown = authorization(path).await?;
            request.headers_mut().insert(AUTHORIZATION, shown);
        }
        let config = WebSocketConfig::default()
            .max_frame_size(Some(LINK_FRAME_BYTES_MAX))
            .max_message_size(Some(LINK_FRAME_BYTES_MAX));
        let dialling = async {
            let stream = self.connect(admin).await?;
            let opened = client_async_with_config(request, stream, Some(config)).await;
            opened.map(|(socket, _)| socket).map_err(answered)
        };
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, dialling).await;
        dialled.map_err(|_| LinkError::Silent)?
    }

    async fn connect(&self, admin: &Url) -> Result<Box<dyn Stream>, LinkError> {
        let (Some(host), Some(port)) = (admin.host_str(), admin.port_or_known_default()) else {
            return Err(LinkError::Address(admin.clone()));
        };
        // In an address of IPv6 the brackets are the URL's.
        let host = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(LinkError::Unreached)?;
        stream.set_nodelay(true).map_err(LinkError::Unreached)?;
        let Some(tls) = self.tls.as_ref().filter(|_| admin.scheme() == "https") else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| LinkError::Address(admin.clone()))?;
        let shaken = TlsConnector::from(tls.config()).connect(name, stream).await;
        let stream = shaken.map_err(|error| match explain(&error) {
            Some(words) => LinkError::Tls(words),
            None => LinkError::Unreached(error),
        })?;
        Ok(Box::new(stream))
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
        return error.into();
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
