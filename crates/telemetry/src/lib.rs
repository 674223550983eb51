//! What a program tells of itself while it works: log lines as JSON, and traces over OTLP.
//!
//! Traces are few and made by hand: one per checkpoint and one per restore, across programs. Their ids are always made,
//! because log lines and the REST interface carry them; spans are recorded and sent only where an endpoint is set. Sending
//! never waits in anybody's way: its queue is bounded and what does not fit is dropped. What the spans are about is the
//! business of whoever makes them.

mod export;
mod line;
mod parent;
mod span;

pub use export::{Endpoint, EndpointError};
pub use span::{About, REQUEST_SPANS_MAX, Span, as_now, request};

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The variable that says which log lines are wanted.
const FILTER: &str = "CUTLINE_LOG";
/// How long the end of a program waits for spans to be sent.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Who tells.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The program: `cutline-sidecar`.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The service it belongs to; an admin API's own name.
    pub service: String,
    /// Which of the service's instances.
    pub instance: String,
    /// The deployment: who shares a Kafka cluster or a log store with others is told apart by it.
    pub tenant: String,
}

/// A program's voice, from its start to its end.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Log lines go to stderr from now on, and spans to `endpoint`, where there is one. Called once, at the start, inside
    /// the runtime that is to send them.
    #[must_use]
    pub fn start(identity: &Identity, endpoint: Option<&Endpoint>) -> Self {
        let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::registry()
            .with(filter)
            .with(line::Lines::of(identity))
            .init();
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            let said = panic.payload_as_str().unwrap_or("no text");
            tracing::error!(at, said, "panicked");
        }));
        let provider = export::provider(identity, endpoint);
        opentelemetry::global::set_tracer_provider(provider.clone());
        if let Some(endpoint) = endpoint {
            tracing::info!(endpoint = %endpoint, "traces are sent");
        }
        Self { provider }
    }

    /// Sends what is still to be sent, for two seconds at most. Called inside the runtime, by a thread that may wait.
    pub fn stop(self) {
        // What could not be sent was told where it failed.
        let _ = self.provider.shutdown_with_timeout(FLUSH_MAX);
    }
}
