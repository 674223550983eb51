//! The OpenAPI description: every handler with its types.

use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::{checkpoints, cluster, diagnosis, docs, events, probes, restores, schedule, whoami};
use crate::dashboard;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cutline admin API",
        description = "Consistent checkpoints of services that talk through Kafka, and the way back to them."
    ),
    modifiers(&Bearer),
    paths(
        checkpoints::list,
        checkpoints::create,
        checkpoints::latest,
        checkpoints::detail,
        checkpoints::remove,
        checkpoints::prune,
        checkpoints::verify,
        checkpoints::abort,
        restores::list,
        restores::create,
        restores::detail,
        restores::abort,
        cluster::topology,
        cluster::services,
        cluster::forget,
        cluster::sidecars,
        cluster::connect,
        cluster::evict,
        diagnosis::diagnosis,
        schedule::show,
        schedule::set,
        events::stream,
        whoami::whoami,
        dashboard::from_root,
        dashboard::from_bare,
        dashboard::page,
        dashboard::file,
        docs::openapi,
        docs::page,
        probes::healthz,
        probes::readyz,
        probes::metrics,
    )
)]
struct Description;

/// The name of the scheme in the description.
const TOKEN: &str = "token";

/// Tokens, which everything needs but probes and this description, where the admin API has a list of them.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
        let none: [&str; 0] = [];
        // With one or without: it is optional where there is no list.
        description.security = Some(vec![
            SecurityRequirement::new(TOKEN, none),
            SecurityRequirement::default(),
        ]);
    }
}

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
