//! From a checked configuration to what a run works with: providers, the hook, the scope.
//!
//! Everything that can be wrong with a `--state` or a hook is said here, before anything is started.

use std::sync::Arc;

use cutline_model::{Capture, SidecarId};
use cutline_state::{Hook, HookLimits, StateError, parse_state_specs};
use cutline_tls::{ClientTls, TlsError};

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
    /// The certificates for the admin API.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `--state http` says that the hook carries the state.
    #[error("--state http needs a hook: give --capture hook=URL, or --state http://HOST:PORT")]
    NoHook,
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
        .map(|spec| with_hook(spec, hook_url.as_deref()))
        .collect::<Result<Vec<String>, _>>()?;
    let state = parse_state_specs(&specs)?;
    let hook = hook_url
        .map(|url| Hook::new(&url, HookLimits::default()))
        .transpose()?;
    let speaks_tls = config.admins.iter().any(|admin| admin.scheme() == "https");
    let admin_tls = speaks_tls.then(|| ClientTls::load(config.admin_tls));
    Ok(Settings {
        sidecar: SidecarId {
            service: config.service,
            instance: config.instance,
        },
        deployment: config.deployment,
        kafka: config.kafka,
        security: config.security,
        app_sasl: config.app_sasl,
        listen: config.listen,
        admins: config.admins,
        admin_tls: admin_tls.transpose()?,
        token_file: config.token_file,
        capture: if hook.is_some() {
            Capture::Hook
        } else {
            Capture::Commit
        },
        hook: hook.map(Arc::new),
        scope: state.scope,
        state: state.provider,
        store: config.store,
        rebuildable: config.rebuildable.into_iter().collect(),
        stale_after: config.control_stale_timeout,
        connections_max: config.connections_max,
    })
}

/// `http` and `http?…` without an address mean the hook's.
fn with_hook(spec: &str, hook: Option<&str>) -> Result<String, SetupError> {
    let (scheme, query) = spec.split_once('?').unwrap_or((spec, ""));
    if scheme != "http" {
        return Ok(spec.to_owned());
    }
    let base = hook.ok_or(SetupError::NoHook)?.trim_end_matches('/');
    Ok(match query {
        "" => base.to_owned(),
        query => format!("{base}?{query}"),
    })
}
