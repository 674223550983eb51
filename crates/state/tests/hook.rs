//! The hook: what it answers is understood, and a hook that hangs, fails or talks nonsense harms nothing but its epoch.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod world;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cutline_model::{Offset, PartitionOffset, TopicPartition};
use cutline_state::{Hook, HookLimits, HookState, Provider, StateError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::world;

/// An application with a hook: what it holds, and how it answers *pause*.
#[derive(Clone, Default)]
struct App {
    state: Arc<Mutex<Vec<u8>>>,
    pause: Arc<Mutex<(u16, String)>>,
}

impl App {
    async fn serve(&self) -> String {
        let routes = Router::new()
            .route("/cutline/pause", post(pause))
            .route("/cutline/snapshot", get(snapshot))
            .route(
                "/cutline/resume",
                post(|| async { r#"{"lease_held":true}"# }),
            )
            .route("/cutline/restore", post(restore))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }

    fn answers(&self, status: u16, answer: &str) {
        *self.pause.lock().unwrap() = (status, answer.to_owned());
    }
}

async fn pause(State(app): State<App>) -> Response {
    let (status, answer) = app.pause.lock().unwrap().clone();
    (StatusCode::from_u16(status).unwrap(), answer).into_response()
}

async fn snapshot(State(app): State<App>) -> Response {
    let state = app.state.lock().unwrap().clone();
    let pieces: Vec<_> = state
        .chunks(10_000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    Body::from_stream(futures_util::stream::iter(pieces)).into_response()
}

async fn restore(State(app): State<App>, bytes: Bytes) {
    *app.state.lock().unwrap() = bytes.to_vec();
}

/// A server that answers every connection with these bytes, then closes it, or holds it open without another word.
async fn raw(answer: &'static [u8], close: bool) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer).await;
            if !close {
                held.push(socket);
            }
        }
    });
    format!("http://{address}")
}

fn short() -> HookLimits {
    let limit = Duration::from_millis(300);
    HookLimits {
        pause: limit,
        snapshot: limit,
        resume: limit,
        restore: limit,
        ..HookLimits::default()
    }
}

fn hook(base: &str) -> Hook {
    Hook::new(base, short()).unwrap()
}

#[tokio::test]
async fn positions_are_read_whatever_the_topic_is_called() {
    let app = App::default();
    app.answers(
        200,
        r#"{"positions":{"topic-0":123,"with-dashes-and.dots-17":0},"more":"is ignored"}"#,
    );
    let mut positions = hook(&app.serve().await).pause().await.unwrap();
    positions.sort();
    let at = |topic, partition, offset| PartitionOffset {
        partition: TopicPartition::new(topic, partition),
        offset: Offset(offset),
    };
    assert_eq!(
        positions,
        [at("topic", 0, 123), at("with-dashes-and.dots", 17, 0)]
    );
    app.answers(200, r#"{"positions":{}}"#);
}

#[tokio::test]
async fn nonsense_is_an_error_that_quotes_a_bounded_bit_of_it() {
    let app = App::default();
    let hook = hook(&app.serve().await);
    let long = format!("<html>{}", "very long ".repeat(100_000));
    for answer in [
        "",
        "null",
        "[]",
        "{}",
        "ok",
        &long,
        r#"{"positions":{"topic":1}}"#,
        r#"{"positions":{"-0":1}}"#,
        r#"{"positions":{"t-x":1}}"#,
        r#"{"positions":{"t-":1}}"#,
        r#"{"positions":{"t-0":-5}}"#,
        r#"{"positions":{"t-0":1.5}}"#,
        r#"{"positions":{"t-0":"1"}}"#,
        r#"{"positions":{"t-99999999999":1}}"#,
        r#"{"positions":{"t-0":99999999999999999999}}"#,
        r#"{"positions":["t-0"]}"#,
        "\u{1b}[31mred\0",
    ] {
        app.answers(200, answer);
        let error = hook.pause().await.unwrap_err();
        assert_eq!(error.code(), "CL0158", "{answer:.50} {error}");
        let text = error.to_string();
        assert!(
            text.len() < 1000 && !text.contains('\u{1b}') && !text.contains('\n'),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_failing_hook_is_quoted_with_its_status() {
    let app = App::default();
    let hook = hook(&app.serve().await);
    for status in [500, 404, 204, 302] {
        app.answers(status, "the database is locked");
        let error = hook.pause().await.unwrap_err();
        assert!(
            matches!(error, StateError::HookFailed { status: found, .. } if found == status),
            "{error}"
        );
    }
    app.answers(500, "the database is locked");
    assert!(
        hook.pause()
            .await
            .unwrap_err()
            .to_string()
            .contains("500: the database is locked")
    );
}

#[tokio::test]
async fn a_hanging_hook_is_given_up_in_time() {
    let answers: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"positions\":",
    ];
    for answer in answers {
        let hook = hook(&raw(answer, false).await);
        let started = Instant::now();
        assert_eq!(hook.pause().await.unwrap_err().code(), "CL0155");
        assert_eq!(hook.resume().await.unwrap_err().code(), "CL0155");
        assert!(
            HookState::new(hook)
                .fix()
                .await
                .is_err_and(|error| error.code() == "CL0155")
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_hook_that_is_not_there_or_breaks_off_is_an_error() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_eq!(hook(&gone).pause().await.unwrap_err().code(), "CL0156");
    let broken = raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        true,
    )
    .await;
    let error = HookState::new(hook(&broken)).fix().await.err().unwrap();
    assert_eq!(error.code(), "CL0156", "{error}");
    let garbage = raw(b"SSH-2.0-OpenSSH\r\n", true).await;
    assert_eq!(hook(&garbage).pause().await.unwrap_err().code(), "CL0156");
}

#[tokio::test]
async fn a_snapshot_whose_end_cannot_be_known_is_refused() {
    let endless = raw(b"HTTP/1.0 200 OK\r\n\r\nstate, perhaps cut off", true).await;
    let error = HookState::new(hook(&endless)).fix().await.err().unwrap();
    assert_eq!(error.code(), "CL0158");
    assert!(error.to_string().contains("Content-Length"), "{error}");
}

#[tokio::test]
async fn a_snapshot_larger_than_its_limit_is_refused() {
    let app = App::default();
    *app.state.lock().unwrap() = vec![1; 100_000];
    let limits = HookLimits {
        snapshot_bytes_max: 50_000,
        ..short()
    };
    let hook = Hook::new(&app.serve().await, limits).unwrap();
    assert_eq!(
        HookState::new(hook).fix().await.err().unwrap().code(),
        "CL0159"
    );
}

#[tokio::test]
async fn resume_tells_whether_the_lease_was_held() {
    let app = App::default();
    assert!(hook(&app.serve().await).resume().await.unwrap());
    let lost = raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"lease_held\":false}",
        true,
    )
    .await;
    assert!(!hook(&lost).resume().await.unwrap());
    let nonsense = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", true).await;
    assert_eq!(hook(&nonsense).resume().await.unwrap_err().code(), "CL0158");
}

#[tokio::test]
async fn state_behind_a_hook_is_of_the_fixed_moment_and_comes_back() {
    let world = world().await;
    let app = App::default();
    let recorded: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    *app.state.lock().unwrap() = recorded.clone();
    let hook = Hook::new(&app.serve().await, HookLimits::default()).unwrap();
    let provider = HookState::new(hook).spooling_in(world.data());
    provider.probe().await.unwrap();
    let fixed = provider.fix().await.unwrap();
    *app.state.lock().unwrap() = b"what came later".to_vec();
    let mut part = world
        .repository
        .part_writer(cutline_model::Epoch(1), &world::process(), "http")
        .await
        .unwrap();
    fixed.copy(&mut part).await.unwrap();
    let part = part.finish().await.unwrap();
    assert_eq!(part.state_bytes, recorded.len() as u64);
    world.restore(&provider, &part).await.unwrap();
    assert!(*app.state.lock().unwrap() == recorded);
    assert!(world::tree(&world.data()).is_empty(), "no spool stays");
}

#[tokio::test]
async fn a_damaged_part_never_reaches_the_application() {
    let world = world().await;
    let app = App::default();
    *app.state.lock().unwrap() = b"recorded".to_vec();
    let provider = HookState::new(hook(&app.serve().await));
    let part = world.record(1, &provider).await.unwrap();
    *app.state.lock().unwrap() = b"now".to_vec();
    for pack in world::tree(&world.path("store/packs")).into_keys() {
        let path = world.path("store/packs").join(pack);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(
        world.restore(&provider, &part).await.unwrap_err().code(),
        "CL0106"
    );
    assert_eq!(*app.state.lock().unwrap(), b"now");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for base in [
        "",
        "x",
        "https://h",
        "http://",
        "ftp://h",
        "http://h?x=1",
        "http://h#x",
        "/path",
    ] {
        assert_eq!(
            Hook::new(base, short()).unwrap_err().code(),
            "CL0150",
            "{base}"
        );
    }
}
