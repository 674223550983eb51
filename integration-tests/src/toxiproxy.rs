//! A real toxiproxy: TCP connections that can be cut, delayed, throttled, silenced and cut short.
//!
//! It promises that a way stands when `way` returns, and that `heal` leaves it as it was made. What flows it does not know.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    binaries::fetched_aside,
    http,
    ports::free_port,
    process::{Process, ProcessSpec},
    run::Run,
    wait::wait_until,
};

/// The version tests run against.
pub const VERSION: &str = "2.12.0";
/// How long it may take to answer.
pub const START_DEADLINE: Duration = Duration::from_secs(20);
/// Both directions of a connection, in its words.
const STREAMS: [&str; 2] = ["upstream", "downstream"];

/// What can be done to a way, to all that flows on it in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Everything comes later, by this much give or take half of it.
    Slow(Duration),
    /// No more than so many KiB pass in a second.
    Throttled(u32),
    /// Nothing comes any more, and no connection ends.
    Silent,
    /// Every connection ends after so many bytes more, in the middle of whatever that is.
    CutShort(u32),
}

/// A running toxiproxy.
#[derive(Debug)]
pub struct Toxiproxy {
    port: u16,
    client: reqwest::Client,
    _process: Process,
}

impl Toxiproxy {
    /// Starts one without a way.
    ///
    /// # Panics
    /// When it does not answer within [`START_DEADLINE`].
    pub async fn start() -> Self {
        let program = fetched_aside(
            "fetch-toxiproxy",
            VERSION,
            format!("bin/toxiproxy-{VERSION}"),
        )
        .await;
        let port = free_port();
        let log = Run::this().part("toxiproxy").join("log");
        let spec = ProcessSpec::new("toxiproxy", program, log).args([
            "-host",
            "127.0.0.1",
            "-port",
            &port.to_string(),
        ]);
        let toxiproxy = Self {
            port,
            client: http::client(),
            _process: Process::start(spec),
        };
        wait_until(START_DEADLINE, "toxiproxy to answer", || async {
            let answer = toxiproxy.client.get(toxiproxy.url("/version")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        toxiproxy
    }

    /// Makes a way from port `listen` to port `upstream`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn way(&self, name: &str, listen: u16, upstream: u16) {
        let way = json!({
            "name": name,
            "listen": format!("127.0.0.1:{listen}"),
            "upstream": format!("127.0.0.1:{upstream}"),
            "enabled": true,
        });
        self.post("/proxies", &way).await;
    }

    /// Ends every connection on a way and refuses new ones.
    ///
    /// # Panics
    /// When there is no such way.
    pub async fn cut(&self, name: &str) {
        self.post(&format!("/proxies/{name}"), &json!({ "enabled": false }))
            .await;
    }

    /// Does something to a way.
    ///
    /// # Panics
    /// When there is no such way, or it was done already.
    pub async fn poison(&self, name: &str, toxic: Toxic) {
        let (kind, attributes) = match toxic {
            Toxic::Slow(by) => {
                let ms = by.as_millis();
                ("latency", json!({ "latency": ms, "jitter": ms / 2 }))
            }
            Toxic::Throttled(kib) => ("bandwidth", json!({ "rate": kib })),
            Toxic::Silent => ("timeout", json!({ "timeout": 0 })),
            Toxic::CutShort(bytes) => ("limit_data", json!({ "bytes": bytes })),
        };
        for stream in STREAMS {
            let toxic = json!({ "type": kind, "stream": stream, "attributes": attributes });
            self.post(&format!("/proxies/{name}/toxics"), &toxic).await;
        }
    }

    /// Takes everything back that was done to any way.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn heal(&self) {
        self.post("/reset", &Value::Null).await;
    }

    async fn post(&self, path: &str, body: &Value) {
        let answer = self.client.post(self.url(path)).json(body).send().await;
        let answer = answer.expect("toxiproxy answers");
        let status = answer.status();
        let said = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "toxiproxy {path}: {status} {said}");
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
