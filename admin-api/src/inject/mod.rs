//! Sidecars put beside applications as their pods are made: a mutating admission webhook of Kubernetes.
//!
//! The API server asks over TLS on a port of its own, where nothing else is served, and shows no certificate. What a sidecar looks
//! like is the chart's template, given as a file; what one pod wants of it, its annotations say. Asking changes nothing here, needs
//! neither Kafka nor the store, and is answered by admin APIs that do not lead as well.

mod pod;
mod review;
mod template;
mod wish;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};

pub use review::Review;
pub use template::{Template, TemplateError};

/// The path that the API server asks.
pub const PATH: &str = "/v1/inject";
/// The largest review, in bytes: a pod, once or twice, of which the API server keeps none larger than a megabyte and a half.
const REVIEW_BYTES_MAX: usize = 4 << 20;

/// Where pods are asked about, and what is put into them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectConfig {
    /// `host:port` to listen on.
    pub listen: String,
    /// The file with the [`Template`].
    pub template: PathBuf,
}

/// What is served to the API server.
pub fn router(template: Template) -> Router {
    Router::new()
        .route(PATH, post(answer))
        .route("/healthz", get(|| async { "alive" }))
        .layer(DefaultBodyLimit::max(REVIEW_BYTES_MAX))
        .with_state(Arc::new(template))
}

async fn answer(State(template): State<Arc<Template>>, Json(review): Json<Review>) -> Json<Review> {
    Json(review.answered(&template))
}
