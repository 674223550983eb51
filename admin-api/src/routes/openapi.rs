//! The OpenAPI description: every handler with its types.

use utoipa::OpenApi;

use super::{checkpoints, cluster, docs, events, probes, restores, schedule};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cutline admin API",
        description = "Consistent checkpoints of services that talk through Kafka, and the way back to them."
    ),
    paths(
        checkpoints::list,
        checkpoints::create,
        checkpoints::latest,
        checkpoints::detail,
        checkpoints::remove,
        checkpoints::verify,
        checkpoints::abort,
        restores::list,
        restores::create,
        restores::detail,
        restores::abort,
        cluster::topology,
        cluster::services,
        cluster::sidecars,
        cluster::connect,
        cluster::evict,
        schedule::show,
        schedule::set,
        events::stream,
        docs::openapi,
        docs::page,
        probes::healthz,
        probes::readyz,
        probes::metrics,
    )
)]
struct Description;

/// The description as JSON.
///
/// # Panics
/// Never: the description is plain data.
#[must_use]
pub fn json() -> String {
    Description::openapi()
        .to_pretty_json()
        .expect("the description is plain data with string keys")
}
