//! Forgetting a service that is gone for good: at zero instances it stays a participant, and with state to record it stands
//! against every checkpoint, until somebody says that it does not come back.
//!
//! What it wrote stays what it wrote: its topics, producer ids and masks are not forgotten. When an instance of it starts
//! again it is a service like any other.

use cutline_control::Record;
use cutline_model::ServiceName;
use serde_json::json;

use crate::{
    app::App,
    problem::{NO_SERVICE, Problem, SERVICE_RUNS},
};

/// Forgets `service`.
///
/// # Errors
/// 404 when it is not known, 409 while it has instances or anything is in progress, 503 when the control topic cannot be
/// written.
pub async fn forget(app: &App, service: &ServiceName) -> Result<(), Problem> {
    // An epoch is bound to the services there are when it begins.
    let _nothing_else = app.busy.begin_checkpoint()?;
    check(app, service)?;
    let record = Record::Forgotten {
        service: service.clone(),
    };
    app.control.append_and_read(&record).await?;
    // An instance that registered meanwhile makes the record void.
    if app.control.state().borrow().services.contains_key(service) {
        check(app, service)?;
    }
    tracing::warn!(%service, "service forgotten");
    app.events
        .publish("service.forgotten", json!({ "service": service }));
    Ok(())
}

fn check(app: &App, service: &ServiceName) -> Result<(), Problem> {
    let state = app.control.state().borrow().clone();
    if !state.services.contains_key(service) {
        let detail =
            format!("there is no service {service}; GET /v1/services lists those there are");
        return Err(Problem::new(NO_SERVICE, detail));
    }
    let instances = state.sidecars.keys().filter(|id| id.service == *service);
    let instances: Vec<String> = instances.map(ToString::to_string).collect();
    if instances.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{service} is not gone, {} is registered: stop it, and if it was killed wait until it is evicted, or evict it",
        instances.join(", ")
    );
    Err(Problem::new(SERVICE_RUNS, detail))
}
