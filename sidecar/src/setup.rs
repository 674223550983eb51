//! From a checked configuration to what a run works with: providers, the hook, the scope.
//!
//! Everything that can be wrong with a `--state` or a hook is said here, before anything is started.

use std::sync::Arc;

use cutline_model::{Capture, Scope, SidecarId};
use cutline_state::{Hook, HookLimits, Provider, StateError, StateSpec, parse_state_spec};

use crate::{
    config::{CaptureSpec, Config},
    run::Settings,
};

/// What is wrong with a set-up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A state or a hook.
    #[error(transparent)]
    State(#[from] StateError),
    /// `--state http` says that the hook carries the state.
    #[error("--state http needs a hook: give --capture hook=URL, or --state http://HOST:PORT")]
    NoHook,
    /// The states of one process must be one process's.
    #[error(
        "the states disagree on ?scope=: all of one service are either of the instance or of the service"
    )]
    Scopes,
}

/// What a run works with.
///
/// # Errors
/// Names the state or the address that cannot be used.
pub fn settings(config: Config) -> Result<Settings, SetupError> {
    let hook_url = match &config.capture {
        CaptureSpec::Commit => None,
        CaptureSpec::Hook(url) => Some(url.clone()),
    };
    let specs = config
        .states
        .iter()
        .map(|spec| state(spec, hook_url.as_deref()));
    let specs = specs.collect::<Result<Vec<StateSpec>, _>>()?;
    let scope = one_scope(&specs)?;
    let providers: Vec<Arc<dyn Provider>> = specs.into_iter().map(|spec| spec.provider).collect();
    let hook = hook_url
        .map(|url| Hook::new(&url, HookLimits::default()))
        .transpose()?;
    Ok(Settings {
        sidecar: SidecarId {
            service: config.service,
            instance: config.instance,
        },
        deployment: config.deployment,
        kafka: config.kafka,
        kafka_security: Default::default(),
        listen: config.listen,
        admin: config.admin,
        capture: if hook.is_some() {
            Capture::Hook
        } else {
            Capture::Commit
        },
        hook: hook.map(Arc::new),
        scope,
        states: providers,
        store: config.store,
        rebuildable: config.rebuildable.into_iter().collect(),
        stale_after: config.control_stale_timeout,
    })
}

/// `http` and `http?…` without an address mean the hook's.
fn state(spec: &str, hook: Option<&str>) -> Result<StateSpec, SetupError> {
    let (scheme, query) = spec
        .split_once('?')
        .map_or((spec, ""), |(scheme, query)| (scheme, query));
    if scheme != "http" {
        return Ok(parse_state_spec(spec)?);
    }
    let base = hook.ok_or(SetupError::NoHook)?.trim_end_matches('/');
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    Ok(parse_state_spec(&format!("{base}{query}"))?)
}

fn one_scope(specs: &[StateSpec]) -> Result<Scope, SetupError> {
    let scope = specs.first().map_or_else(Scope::default, |spec| spec.scope);
    if specs.iter().any(|spec| spec.scope != scope) {
        return Err(SetupError::Scopes);
    }
    Ok(scope)
}
