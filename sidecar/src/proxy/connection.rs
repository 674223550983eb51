//! One application connection from beginning to end, and the upstream connection that belongs to it.

use std::{sync::Arc, time::Duration};

use cutline_protocol::ConnId;
use cutline_wire::frame::FrameReader;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};

use super::{
    Shared,
    advertise::Upstream,
    app::{App, AppEnd},
    broker::Broker,
    renewal::Renewal,
    session::{IN_FLIGHT_MAX, Session},
};

/// How long the broker may take over what an application sent before it went.
pub const LINGER_LIMIT: Duration = Duration::from_secs(5);
/// How long an application may take to close a connection that has ended.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(1);

// A peer that vanished without a word is noticed after about half a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
// Requests of ours that wait for their turn on one connection.
const ASKS_MAX: usize = 16;

/// Carries one application connection to `upstream` until either side ends it; `slot` is its place among those allowed.
pub async fn serve(
    shared: Arc<Shared>,
    (conn, slot): (ConnId, OwnedSemaphorePermit),
    app: TcpStream,
    upstream: Upstream,
) {
    let addresses = shared.brokers.addresses(upstream);
    let broker = match shared.upstreams.open(&addresses).await {
        Ok(broker) => broker,
        Err(error) => {
            tracing::warn!(
                ?upstream,
                ?addresses,
                %error,
                "no broker can be reached, the application's connection is closed"
            );
            return;
        }
    };
    let renewal = Renewal::after(broker.renew_after);
    let broker = broker.stream;
    let host = match (app.local_addr(), prepare(&app), prepare(broker.tcp())) {
        (Ok(local), Ok(()), Ok(())) => local.ip().to_string(),
        _ => return,
    };
    let (pending, owed) = mpsc::channel(IN_FLIGHT_MAX);
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let session = Arc::new(Session::new(conn, shared.clone(), host));
    shared.opened(conn, asks);
    let (app_reader, app_writer) = app.into_split();
    let (broker_reader, broker_writer) = broker.into_split();
    let to_broker = App {
        session: session.clone(),
        reader: FrameReader::requests(app_reader),
        writer: broker_writer,
        pending,
        asks: asked,
        authenticates: false,
        renewal,
        fence: shared.fence.subscribe(),
        drain: shared.drain.subscribe(),
    };
    let to_app = Broker::new(
        session,
        FrameReader::responses(broker_reader),
        app_writer,
        owed,
    );
    carry(conn, to_broker, to_app).await;
    // Before it counts as gone: whoever sees that finds the place free.
    drop(slot);
    shared.closed(conn);
}

async fn carry(conn: ConnId, mut to_broker: App, mut to_app: Broker) {
    let mut answering = Box::pin(to_app.run());
    let end = tokio::select! {
        end = to_broker.run() => end,
        end = &mut answering => {
            tracing::debug!(conn = conn.0, reason = %end, "connection ends");
            return;
        }
    };
    match end {
        AppEnd::Closed | AppEnd::Ended | AppEnd::Fenced | AppEnd::Draining => {
            tracing::debug!(conn = conn.0, reason = %end, "connection ends");
        }
        _ => tracing::warn!(conn = conn.0, reason = %end, "the application's connection is closed"),
    }
    let App {
        pending,
        mut writer,
        mut reader,
        ..
    } = to_broker;
    // Nothing is asked any more.
    drop(pending);
    if !matches!(end, AppEnd::Draining) {
        drop((answering, reader));
        // What the application sent last is on its way: the broker reads it to the end before it sees ours.
        let _shut = writer.shutdown().await;
        let _late = timeout(LINGER_LIMIT, to_app.linger()).await;
        return;
    }
    // Whoever drains the proxy limits how long this takes.
    let end = answering.await;
    tracing::debug!(conn = conn.0, reason = %end, "nothing is owed any more");
    let _shut = writer.shutdown().await;
    // The application sees the end behind its answers. What it still sends is read: bytes that nobody reads would make the
    // kernel throw away answers that are on their way.
    let app_closes = async { while let Ok(Some(_frame)) = reader.next().await {} };
    let both = futures_util::future::join(to_app.linger(), app_closes);
    let _late = timeout(CLOSE_LIMIT, both).await;
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Waits for the answer to a harmless request on this connection; false when it ended before.
pub async fn proved(asks: &mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let (sender, receiver) = oneshot::channel();
    asks.send(sender).await.is_ok() && receiver.await.is_ok()
}
