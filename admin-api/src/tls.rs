//! A listener behind TLS: it hands out connections whose handshake is over.
//!
//! Handshakes run beside each other, so that one that hangs holds up nobody. Who fails is told why as far as the protocol goes:
//! plain HTTP is answered in plain HTTP, and whoever is refused can read the alert before the connection closes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{http::header, serve::Listener};
use cutline_tls::{ServerTls, explain};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    peer::{Certificate, Peer},
    problem::{PLAIN_HTTP, Problem},
};

/// Handshakes under way at once; whoever comes then waits.
const HANDSHAKES_MAX: usize = 256;
/// How long one may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that nobody has taken up yet.
const READY_MAX: usize = 16;
/// What every TLS connection begins with: a record of type handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// How much of what a refused client still sends is read, and for how long, so that it reads why before its connection is reset.
const LINGER_BYTES_MAX: u64 = 256 << 10;
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// A listener behind TLS.
pub struct TlsListener {
    local: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Peer)>,
    accepting: JoinHandle<()>,
}

/// Why there was no connection.
#[derive(Debug, thiserror::Error)]
enum ShakeError {
    #[error("it went away")]
    Gone,
    #[error("it speaks plain HTTP, or something else that is not TLS")]
    Plain,
    #[error("{0}")]
    Refused(String),
    #[error("the handshake was not over within {HANDSHAKE_TIMEOUT:?}")]
    Slow,
}

impl TlsListener {
    /// Takes what `listener` accepts through handshakes. `asks` says whether clients are asked for certificates.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn over(listener: TcpListener, tls: ServerTls, asks: bool) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(READY_MAX);
        let shaker = Shaker { tls, asks, sender };
        Ok(Self {
            local,
            ready,
            accepting: tokio::spawn(shaker.accept_all(listener)),
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The task that accepts ends with this value only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            address: self.local,
            certificate: Certificate::NotAsked,
        })
    }
}

/// Does handshakes.
#[derive(Clone)]
struct Shaker {
    tls: ServerTls,
    asks: bool,
    sender: mpsc::Sender<(TlsStream<TcpStream>, Peer)>,
}

impl Shaker {
    async fn accept_all(self, mut listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let (stream, address) = Listener::accept(&mut listener).await;
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let shaker = self.clone();
            tokio::spawn(async move {
                shaker.take(stream, address).await;
                drop(slot);
            });
        }
    }

    async fn take(&self, stream: TcpStream, address: SocketAddr) {
        let shaking = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake(stream)).await;
        let stream = match shaking.unwrap_or(Err(ShakeError::Slow)) {
            Ok(stream) => stream,
            Err(ShakeError::Gone) => return,
            Err(error) => {
                tracing::warn!(target: "audit", from = %address, %error, "turned away at the handshake");
                return;
            }
        };
        let is_shown = stream.get_ref().1.peer_certificates().is_some();
        let certificate = match (self.asks, is_shown) {
            (false, _) => Certificate::NotAsked,
            (true, false) => Certificate::Missing,
            (true, true) => Certificate::Shown,
        };
        let peer = Peer {
            address,
            certificate,
        };
        // Nobody takes it up when the server ends.
        let _ = self.sender.send((stream, peer)).await;
    }

    async fn shake(&self, mut stream: TcpStream) -> Result<TlsStream<TcpStream>, ShakeError> {
        // Small answers go out at once; when that cannot be had they are late.
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return Err(ShakeError::Gone),
            Ok(_) if first[0] != HANDSHAKE_RECORD => {
                // Whoever does not read the answer does without.
                let _ = stream.write_all(&plain_answer()).await;
                linger(stream).await;
                return Err(ShakeError::Plain);
            }
            Ok(_) => {}
        }
        let acceptor = TlsAcceptor::from(self.tls.config());
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                linger(stream).await;
                Err(match explain(&error) {
                    Some(reason) => ShakeError::Refused(reason),
                    None => ShakeError::Gone,
                })
            }
        }
    }
}

/// Closes a connection so that its other end can read what was sent: closing with unread bytes would reset it.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.shutdown().await;
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES_MAX), tokio::io::sink());
    let reading = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(LINGER_TIMEOUT, reading).await;
}

/// What plain HTTP is answered.
fn plain_answer() -> Vec<u8> {
    let detail = "this address speaks TLS: ask https:// instead of http://";
    let problem = Problem::new(PLAIN_HTTP, detail);
    let body = serde_json::to_string(&problem.details()).unwrap_or_default();
    let (status, kind, length) = (PLAIN_HTTP.status, header::CONTENT_TYPE, body.len());
    format!(
        "HTTP/1.1 {status} Bad Request\r\n{kind}: application/problem+json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
