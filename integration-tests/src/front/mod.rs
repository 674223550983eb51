//! A front before a real S3 server: passes every request on as it is, and remembers it.
//!
//! Asked to, it answers as a server would that looks first and writes then: who lost a race of creates is told to have won.
//! What the server has afterwards is right, and creates one after the other are honoured. Or it can be in trouble for a while. It
//! knows nothing of signatures, and leaves everything that is signed alone.

mod trouble;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use tokio::net::TcpListener;

pub use trouble::Trouble;
use trouble::Troubles;

use crate::{S3, http};

/// The largest body: one part of an upload, and room.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request that went through.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was to be done.
    pub method: Method,
    /// With what.
    pub uri: Uri,
    /// What it said beside.
    pub headers: HeaderMap,
}

/// A running front.
#[derive(Debug)]
pub struct Front {
    port: u16,
    inner: Inner,
}

#[derive(Clone, Debug)]
struct Inner {
    behind: String,
    lets_two_win: bool,
    client: reqwest::Client,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What was there when somebody came: they are late, and not racing.
    created: Arc<Mutex<HashSet<String>>>,
    troubles: Arc<Troubles>,
}

impl Front {
    /// One that changes nothing.
    ///
    /// # Panics
    /// When nothing can be listened on.
    pub async fn start(server: &S3) -> Self {
        Self::serve(server, false).await
    }

    /// One behind which several win where creates race.
    ///
    /// # Panics
    /// When nothing can be listened on.
    pub async fn start_racing(server: &S3) -> Self {
        Self::serve(server, true).await
    }

    async fn serve(server: &S3, lets_two_win: bool) -> Self {
        let inner = Inner {
            behind: server.endpoint(),
            lets_two_win,
            client: http::client(),
            seen: Arc::default(),
            created: Arc::default(),
            troubles: Arc::default(),
        };
        let routes = Router::new().fallback(pass).with_state(inner.clone());
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { port, inner }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Is in trouble from now on; `None`: in none.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.inner.troubles.set(trouble);
    }

    /// `store`, an address of the server behind, through this front.
    #[must_use]
    pub fn instead(&self, store: &str) -> String {
        store.replace(
            &self.inner.behind,
            &format!("http://127.0.0.1:{}", self.port),
        )
    }

    /// Every request so far.
    ///
    /// # Panics
    /// When a request broke.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().expect("nobody panics here").clone()
    }
}

async fn pass(State(front): State<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let seen = Seen {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
    };
    front
        .seen
        .lock()
        .expect("nobody panics here")
        .push(seen.clone());
    let path = seen.uri.path().to_owned();
    let late = front
        .created
        .lock()
        .expect("nobody panics here")
        .contains(&path);
    let creates = seen.method == Method::PUT && seen.headers.contains_key(header::IF_NONE_MATCH);
    let answer = match front.answer(seen, body).await {
        Ok(answer) => answer,
        Err(_) => return status(StatusCode::BAD_GATEWAY),
    };
    if creates && answer.status().is_success() {
        front
            .created
            .lock()
            .expect("nobody panics here")
            .insert(path);
    }
    match answer.status() {
        StatusCode::PRECONDITION_FAILED if creates && !late && front.lets_two_win => {
            status(StatusCode::OK)
        }
        _ => answer,
    }
}

impl Inner {
    async fn answer(&self, seen: Seen, body: Bytes) -> Result<Response, reqwest::Error> {
        match self.troubles.next() {
            None => self.ask(seen, body.into(), Body::from).await,
            Some(Trouble::Refused) => {
                let code = StatusCode::SERVICE_UNAVAILABLE;
                Ok(trouble::failure(code, "SlowDown"))
            }
            Some(Trouble::Denied) => {
                self.ask(seen, body.into(), Body::from).await?;
                let code = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(trouble::failure(code, "InternalError"))
            }
            Some(Trouble::Halved) if body.is_empty() => {
                let half = |body: Bytes| Body::from_stream(trouble::half(&body));
                self.ask(seen, body.into(), half).await
            }
            Some(Trouble::Halved) => {
                let half = reqwest::Body::wrap_stream(trouble::half(&body));
                self.ask(seen, half, Body::from).await
            }
        }
    }

    async fn ask(
        &self,
        seen: Seen,
        body: reqwest::Body,
        back: impl FnOnce(Bytes) -> Body,
    ) -> Result<Response, reqwest::Error> {
        let url = format!("{}{}", self.behind, seen.uri);
        let request = self.client.request(seen.method, url).headers(seen.headers);
        let answer = request.body(body).send().await?;
        let (code, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(back(answer.bytes().await?));
        *response.status_mut() = code;
        *response.headers_mut() = headers;
        // Everything has come: it goes on in one piece.
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(response)
    }
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
