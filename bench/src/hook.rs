//! The hook of a relay over HTTP: pause, snapshot, resume, restore.
//!
//! The state it hands out is as large as it is told to be and means nothing. It promises nothing beyond what the relay promises.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use integration_tests::flow::RelayControl;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

#[derive(Clone)]
struct Hook {
    // Known only once the relay runs, which needs the sidecar, which needs the hook's address.
    relay: watch::Receiver<Option<RelayControl>>,
    state: bytes::Bytes,
}

/// Serves a hook and gives its URL. `relay` says which relay it speaks for, as soon as there is one.
pub async fn serve(relay: watch::Receiver<Option<RelayControl>>, state_bytes: usize) -> String {
    // Bytes that neither compress to nothing nor repeat, as those of a database.
    let mut seed: u64 = 1;
    let state: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 33) as u8
    })
    .take(state_bytes)
    .collect();
    let hook = Hook {
        relay,
        state: state.into(),
    };
    let routes = Router::new()
        .route("/cutline/pause", post(pause))
        .route("/cutline/resume", post(resume))
        .route("/cutline/restore", post(async || Json(json!({}))))
        .route(
            "/cutline/snapshot",
            get(async |State(hook): State<Hook>| hook.state),
        )
        .with_state(hook);
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port can be listened on");
    let at = listener.local_addr().expect("a listener has an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{at}")
}

async fn pause(State(hook): State<Hook>) -> (StatusCode, Json<Value>) {
    let relay = hook.relay.borrow().clone();
    let positions = match relay {
        Some(relay) => relay.pause().await,
        None => None,
    };
    match positions {
        Some(positions) => (StatusCode::OK, Json(json!({ "positions": positions }))),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "error": "no relay runs" })),
        ),
    }
}

async fn resume(State(hook): State<Hook>) -> Json<Value> {
    let relay = hook.relay.borrow().clone();
    let held = match relay {
        Some(relay) => relay.resume().await,
        None => false,
    };
    Json(json!({ "lease_held": held }))
}
