//! Everything that changes, as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::HeaderMap,
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use cutline_client::Event;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{broadcast, watch};

use crate::{events::Subscription, ready::Ready};

/// A comment is sent this often when nothing changes, so that proxies and clients know that it lives.
const ALIVE_PERIOD: Duration = Duration::from_secs(10);

/// Follow events
///
/// Resumable by `Last-Event-ID`; an event of kind `reset` says that some are no longer had.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    params(("last-event-id" = Option<String>, Header, description = "The last event seen; what came after it is sent first")),
    responses((status = 200, body = Event, content_type = "text/event-stream"))
)]
pub async fn stream(
    Ready(app): Ready,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Sent, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let Subscription { backlog, live } = app.events.subscribe(last);
    let ending = app.ending.clone();
    let live = stream::unfold((live, ending), |(mut live, mut ending)| async move {
        let event = next(&mut live, &mut ending).await?;
        Some((event, (live, ending)))
    });
    let events = stream::iter(backlog).chain(live);
    Sse::new(events.map(|event| Ok(sent(&event))))
        .keep_alive(KeepAlive::new().interval(ALIVE_PERIOD))
}

/// The next event; `None` ends the stream: this program ends, or the listener is so far behind that it has to resume.
async fn next(
    live: &mut broadcast::Receiver<Arc<Event>>,
    ending: &mut watch::Receiver<bool>,
) -> Option<Arc<Event>> {
    tokio::select! {
        event = live.recv() => event.ok(),
        _ = ending.wait_for(|ending| *ending) => None,
    }
}

fn sent(event: &Event) -> Sent {
    let data = serde_json::to_string(event).expect("events are plain data with string keys");
    Sent::default()
        .id(event.id.clone())
        .event(event.kind.clone())
        .data(data)
}
