//! The admin API's end of the WebSocket that each sidecar opens: `GET /v1/sidecars/connect`.
//!
//! It reads the hello, has the registry admit the sidecar, and passes frames both ways. A sidecar that is silent for three
//! of its status periods, sends what is no message, or does not take what it is sent, is lost. What messages mean is
//! decided elsewhere.

use std::time::Duration;

use axum::{
    Extension,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use cutline_client::link::{
    Downlink, LINK_FRAME_BYTES_MAX, LINK_VERSION, STATUS_PERIOD_MS, Uplink,
};

use crate::{
    access::Caller,
    app::App,
    ready::Leading,
    registry::{Admitted, Hello},
};

/// A connection on which nothing moved for this long is lost.
const SILENCE_MAX: Duration = Duration::from_millis(3 * STATUS_PERIOD_MS);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("it was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("it does not take what it is sent")]
    Stuck,
    #[error("the connection broke: {0}")]
    Socket(#[from] axum::Error),
    #[error("it sent what is no message of this version: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it was refused: {0}")]
    Refused(String),
    #[error("the registry let go of it")]
    Replaced,
    #[error("this admin API does not lead any more")]
    NotLeading,
}

/// The route.
pub async fn connect(
    Leading(app): Leading,
    Extension(caller): Extension<Caller>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_frame_size(LINK_FRAME_BYTES_MAX)
        .max_message_size(LINK_FRAME_BYTES_MAX)
        .on_upgrade(move |socket| converse(app, caller, socket))
}

async fn converse(app: App, caller: Caller, mut socket: WebSocket) {
    let admitted = match admit(&app, &caller, &mut socket).await {
        Ok(admitted) => admitted,
        Err(LinkEnd::Refused(reason)) => {
            tracing::warn!(reason, "sidecar refused");
            let _ = send(&mut socket, &Downlink::Refused { reason }).await;
            return;
        }
        Err(end) => {
            tracing::info!(%end, "a connection ended before its hello");
            return;
        }
    };
    let token = admitted.token.clone();
    let end = pass(&app, &mut socket, admitted).await;
    app.registry.lose(&token, &end.to_string());
}

async fn admit(app: &App, caller: &Caller, socket: &mut WebSocket) -> Result<Admitted, LinkEnd> {
    let first = next(socket).await?;
    let hello = Hello::read(first, &app.config.deployment).map_err(LinkEnd::Refused)?;
    let service = hello.sidecar.service.as_str();
    caller.check_service(service).map_err(LinkEnd::Refused)?;
    let welcome = Downlink::Welcome {
        version: LINK_VERSION,
        store: app.config.store.to_string(),
    };
    send(socket, &welcome).await?;
    app.registry.admit(hello).ok_or(LinkEnd::NotLeading)
}

async fn pass(app: &App, socket: &mut WebSocket, mut admitted: Admitted) -> LinkEnd {
    loop {
        let step = tokio::select! {
            message = next(socket) => message.map(|message| app.registry.receive(&admitted.token, message)),
            message = admitted.outbox.recv() => match message {
                Some(message) => send(socket, &message).await,
                None => Err(LinkEnd::Replaced),
            },
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// The next message; pings and the like are passed over.
async fn next(socket: &mut WebSocket) -> Result<Uplink, LinkEnd> {
    loop {
        // Dropping this future between two frames loses nothing: the socket keeps what it has read of a frame.
        let frame = tokio::time::timeout(SILENCE_MAX, socket.recv())
            .await
            .map_err(|_| LinkEnd::Silent)?
            .ok_or(LinkEnd::Closed)??;
        match frame {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Close(_) => return Err(LinkEnd::Closed),
            _ => {}
        }
    }
}

async fn send(socket: &mut WebSocket, message: &Downlink) -> Result<(), LinkEnd> {
    let text = serde_json::to_string(message)?;
    tokio::time::timeout(SILENCE_MAX, socket.send(Message::text(text)))
        .await
        .map_err(|_| LinkEnd::Stuck)??;
    Ok(())
}
