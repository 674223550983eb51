//! What is seen of every request: how long it took, and whose trace it is a part of.
//!
//! It makes no span of its own: a trace begins with a checkpoint or a restore.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use cutline_telemetry::Span;

use crate::metrics::Metrics;

/// W3C's header.
const TRACEPARENT: &str = "traceparent";

/// A route, by the path it was registered with: few, whatever is asked for.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) metrics: Metrics,
}

/// Answers as what the caller is doing, and counts. Streams count until they begin.
pub(super) async fn observe(State(route): State<Route>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let caller = request.headers().get(TRACEPARENT);
    let caller = caller.and_then(|value| value.to_str().ok());
    let caller = caller.map_or_else(Span::none, Span::of_caller);
    let response = caller.around(next.run(request)).await;
    let status = response.status().as_u16();
    let took = began.elapsed();
    route.metrics.request(route.path, &method, status, took);
    response
}
