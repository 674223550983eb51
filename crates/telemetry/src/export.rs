//! Sending spans: OTLP as protobuf over HTTP, by the HTTP client that is in these programs anyway.
//!
//! The queue is bounded, and what does not fit is dropped. An endpoint that cannot be reached is told of once, and once
//! again when it answers; no work waits for it.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use url::Url;

use crate::Identity;

/// Spans waiting to be sent: some hundred checkpoints.
const QUEUE_MAX: usize = 4_096;
const BATCH_MAX: usize = 512;
/// How long spans wait for others to be sent with.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long one request may take.
const SEND_MAX: Duration = Duration::from_secs(3);
/// Where OTLP takes traces below an endpoint.
const TRACES: &str = "v1/traces";
/// The variables that every program with OpenTelemetry knows.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

/// An endpoint that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("http://HOST:PORT is expected")]
pub struct EndpointError;

impl Endpoint {
    /// Where OpenTelemetry's own variables say that spans go.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match set(TRACES_ENDPOINT) {
            Some(whole) => http(&whole).ok().map(Self),
            None => set(ENDPOINT)?.parse().ok(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut url = http(text)?;
        let path = url.path().trim_end_matches('/').to_owned();
        if !path.ends_with(TRACES) {
            url.set_path(&format!("{path}/{TRACES}"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Endpoint {
    // Without what may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.0.scheme())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

fn http(text: &str) -> Result<Url, EndpointError> {
    let url = Url::parse(text).map_err(|_| EndpointError)?;
    let fits = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    fits.then_some(url).ok_or(EndpointError)
}

/// What makes spans. Without an endpoint it makes ids, and records what a caller records who sends elsewhere for nobody.
pub(crate) fn provider(identity: &Identity, endpoint: Option<&Endpoint>) -> SdkTracerProvider {
    let builder = SdkTracerProvider::builder().with_resource(resource(identity));
    let Some(processor) = endpoint.and_then(processor) else {
        let off = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        return builder.with_sampler(off).build();
    };
    builder.with_span_processor(processor).build()
}

fn resource(identity: &Identity) -> Resource {
    let own = [
        ("service.version", identity.version.to_owned()),
        ("service.namespace", identity.tenant.clone()),
        (
            "service.instance.id",
            format!("{}/{}", identity.service, identity.instance),
        ),
    ];
    Resource::builder()
        .with_service_name(identity.program)
        .with_attributes(own.map(|(key, value)| KeyValue::new(key, value)))
        .build()
}

fn processor(endpoint: &Endpoint) -> Option<BatchSpanProcessor> {
    let client = Sender::to(endpoint)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.0.as_str())
        .with_timeout(SEND_MAX)
        .build();
    let exporter = exporter
        .inspect_err(|error| tracing::error!(%error, %endpoint, "traces cannot be sent"))
        .ok()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(BATCH_DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter);
    Some(processor.with_batch_config(batches).build())
}

/// The HTTP client, on the program's runtime: the thread that waits for it has none.
#[derive(Clone, Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: Handle,
    endpoint: String,
    failing: Arc<AtomicBool>,
}

impl Sender {
    fn to(endpoint: &Endpoint) -> Option<Self> {
        let client = reqwest::Client::builder()
            .timeout(SEND_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let client = client
            .inspect_err(|error| tracing::error!(%error, %endpoint, "traces cannot be sent"))
            .ok()?;
        Some(Self {
            client,
            runtime: Handle::current(),
            endpoint: endpoint.to_string(),
            failing: Arc::default(),
        })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let answer = self.client.execute(request).await?.error_for_status()?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.extend(answer.headers().clone());
        }
        Ok(response.body(answer.bytes().await?)?)
    }

    fn note(&self, failed: Option<&HttpError>) {
        let failing = failed.is_some();
        if self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        let endpoint = &self.endpoint;
        match failed {
            Some(error) => {
                tracing::warn!(endpoint, %error, "traces cannot be sent; going on without");
            }
            None => tracing::info!(endpoint, "traces are sent again"),
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = self.runtime.spawn(self.clone().send(request)).await;
        let sent = sending.unwrap_or_else(|error| Err(error.into()));
        self.note(sent.as_ref().err());
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_a_path_below_an_endpoint() {
        for (given, used) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://c/otlp/v1/traces", "http://c/otlp/v1/traces"),
            ("http://me:secret@c/otlp", "http://c/otlp/v1/traces"),
        ] {
            assert_eq!(given.parse::<Endpoint>().unwrap().to_string(), used);
        }
        for wrong in ["", "collector:4318", "grpc://c:4317", "http://"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
