//! A state as named on a command line: `dir:/path?immutable=*.sst&scope=service`, `http://host:port`,
//! `postgres://user@host/database?tables=a,b`, `none`.
//!
//! It is parsed once, into what can be captured; what is not known is an error that names what is.

use std::{path::PathBuf, sync::Arc};

use cutline_model::{Guarantee, Scope};
use url::Url;

use crate::{
    Directory, Hook, HookLimits, HookState, Nothing, Pattern, Postgres, Provider, RedisState,
    Several, StateError, several::STATES_MAX,
};

/// A provider, and whose state it holds.
#[derive(Clone, Debug)]
pub struct StateSpec {
    /// Captures it and puts it back.
    pub provider: Arc<dyn Provider>,
    /// Whether instances share it.
    pub scope: Scope,
}

/// Parses one `--state`.
///
/// # Errors
/// [`StateError::BadSpec`], naming the schemes that are known.
pub fn parse_state_spec(spec: &str) -> Result<StateSpec, StateError> {
    let bad = |reason: String| StateError::BadSpec {
        spec: without_secrets(spec),
        reason,
    };
    let (body, query) = match spec.split_once('?') {
        Some((body, query)) => (body, query),
        None => (spec, ""),
    };
    let (scheme, place) = body.split_once(':').unwrap_or((body, ""));
    match scheme {
        "none" if body == "none" => {
            let options = Options::parse(query, &["scope"]).map_err(bad)?;
            Ok(StateSpec {
                provider: Arc::new(Nothing),
                scope: options.scope,
            })
        }
        "dir" => {
            let options = Options::parse(query, &["immutable", "scope"]).map_err(bad)?;
            let path = directory(place).map_err(|reason| bad(reason.to_owned()))?;
            Ok(StateSpec {
                provider: Arc::new(Directory::new(path, options.immutable)),
                scope: options.scope,
            })
        }
        "http" => {
            let options = Options::parse(query, &["scope"]).map_err(bad)?;
            let hook = Hook::new(body, HookLimits::default())?;
            Ok(StateSpec {
                provider: Arc::new(HookState::new(hook)),
                scope: options.scope,
            })
        }
        "redis" | "rediss" => {
            // Parsed or not, nothing of it is repeated but its scheme: a password may stand anywhere.
            let hidden = |reason: String| StateError::BadSpec {
                spec: format!("{scheme}://…"),
                reason,
            };
            let (state, scope) = RedisState::parse(body, query).map_err(hidden)?;
            Ok(StateSpec {
                provider: Arc::new(state),
                scope,
            })
        }
        "postgres" | "postgresql" => {
            let (provider, scope) = Postgres::parse(spec).map_err(bad)?;
            let provider = Arc::new(provider);
            Ok(StateSpec { provider, scope })
        }
        _ if !body.contains(':') => Err(bad("it names no scheme".to_owned())),
        _ => Err(bad(format!("the scheme {scheme:?} is not known"))),
    }
}

/// Parses every `--state` of a process as one: none given is `none`, several become one part.
///
/// # Errors
/// As [`parse_state_spec`], and when they contradict each other.
pub fn parse_state_specs(specs: &[String]) -> Result<StateSpec, StateError> {
    let bad = |reason: &str| StateError::BadSpec {
        spec: specs
            .iter()
            .map(|spec| without_secrets(spec))
            .collect::<Vec<_>>()
            .join(" "),
        reason: reason.to_owned(),
    };
    let mut states = specs
        .iter()
        .map(|spec| parse_state_spec(spec))
        .collect::<Result<Vec<_>, _>>()?;
    let scope = states.first().map(|state| state.scope).unwrap_or_default();
    match states.len() {
        0 => Ok(StateSpec {
            provider: Arc::new(Nothing),
            scope,
        }),
        1 => Ok(states.remove(0)),
        count if count > STATES_MAX => Err(bad("there are too many states")),
        _ if states.iter().any(|state| state.scope != scope) => {
            Err(bad("all states of a process have one scope"))
        }
        _ if states
            .iter()
            .any(|state| state.provider.guarantee() == Guarantee::PositionsOnly) =>
        {
            Err(bad("none stands alone"))
        }
        _ => {
            let providers = states.into_iter().map(|state| state.provider).collect();
            Ok(StateSpec {
                provider: Arc::new(Several::new(providers)),
                scope,
            })
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    scope: Scope,
    immutable: Vec<Pattern>,
}

impl Options {
    fn parse(query: &str, known: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                return Err(format!(
                    "option {name:?} is not known here; known: {}",
                    known.join(", ")
                ));
            }
            match &*name {
                "scope" => options.scope = scope(&value)?,
                _ => options.immutable.extend(
                    value
                        .split(',')
                        .map(Pattern::new)
                        .collect::<Result<Vec<_>, _>>()?,
                ),
            }
        }
        Ok(options)
    }
}

pub(crate) fn scope(value: &str) -> Result<Scope, String> {
    match value {
        "service" => Ok(Scope::Service),
        "instance" => Ok(Scope::Instance),
        other => Err(format!(
            "scope {other:?} is not known; use service or instance"
        )),
    }
}

fn directory(path: &str) -> Result<PathBuf, &'static str> {
    // `dir:///path` is the same path written as a URL.
    let path = path.strip_prefix("//").unwrap_or(path);
    match path {
        _ if path.contains('\0') => Err("the path holds a NUL"),
        _ if !path.starts_with('/') => Err("the path must be absolute: dir:/path"),
        _ if path.trim_matches('/').is_empty() => Err("the whole file system cannot be a state"),
        _ if path.split('/').any(|name| name == "..") => Err("the path must not hold .."),
        _ => Ok(PathBuf::from(path)),
    }
}

/// A specification fit for a log: a database's address may hold a password, and so may an option that is not known.
fn without_secrets(spec: &str) -> String {
    match spec.split_once(':') {
        Some((scheme, _)) if ["postgres", "postgresql", "redis", "rediss"].contains(&scheme) => {
            let host = Url::parse(spec)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            format!("{scheme}://{}/…", host.unwrap_or_else(|| "…".to_owned()))
        }
        _ => without_userinfo(spec),
    }
}

fn without_userinfo(spec: &str) -> String {
    match Url::parse(spec) {
        Ok(mut url) if url.password().is_some() || !url.username().is_empty() => {
            let hidden = url.set_password(None).and_then(|()| url.set_username(""));
            hidden.map_or_else(|()| "…".to_owned(), |()| url.to_string())
        }
        _ => spec.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_state_is_parsed_with_its_scope() {
        for (spec, name, scope) in [
            ("none", "none", Scope::Instance),
            ("dir:/var/lib/bank", "dir", Scope::Instance),
            ("dir:/x?scope=service", "dir", Scope::Service),
            (
                "dir:///x?immutable=*.sst,*.blob&scope=instance",
                "dir",
                Scope::Instance,
            ),
            (
                "http://127.0.0.1:8080?scope=service",
                "http",
                Scope::Service,
            ),
            ("none?scope=service", "none", Scope::Service),
            (
                "redis://:secret@r/0?prefix=bank:&scope=service",
                "redis",
                Scope::Service,
            ),
        ] {
            let parsed = parse_state_spec(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(
                (parsed.provider.name(), parsed.scope),
                (name, scope),
                "{spec}"
            );
        }
    }

    #[test]
    fn several_states_are_one_when_they_agree() {
        let all = |specs: &[&str]| {
            let specs: Vec<String> = specs.iter().map(|&spec| spec.to_owned()).collect();
            parse_state_specs(&specs)
        };
        assert_eq!(all(&[]).unwrap().provider.name(), "none");
        assert_eq!(all(&["dir:/a"]).unwrap().provider.name(), "dir");
        assert_eq!(
            all(&["dir:/a", "http://h:1"]).unwrap().provider.name(),
            "dir+http"
        );
        for specs in [
            &["dir:/a", "none"][..],
            &["dir:/a?scope=service", "dir:/b"],
            &["dir:/a"; 17],
        ] {
            assert_eq!(all(specs).unwrap_err().code(), "CL0150");
        }
    }

    #[test]
    fn no_error_about_a_database_shows_its_password() {
        for spec in [
            "postgres://me:secret@db/bank?tabels=a",
            "postgres://me:secret@db/bank?password=secret",
            "postgres://me:sec ret:x/",
            "postgres:me:secret@db",
        ] {
            let error = parse_state_spec(spec).unwrap_err().to_string();
            assert!(
                error.contains("CL0150") && !error.contains("sec"),
                "{error}"
            );
        }
    }

    #[test]
    fn anything_else_is_an_error_that_names_what_is_known() {
        for spec in [
            "",
            "/var/lib",
            "dir",
            "dir:",
            "dir:relative",
            "dir:/",
            "dir://host",
            "dir:/a/../b",
            "dir:/x?scope=all",
            "dir:/x?imutable=*.sst",
            "ftp://x",
            "none:",
            "nothing",
            "http://",
            "http://h/x?y=1",
            "dir:/x?immutable=",
        ] {
            let error = parse_state_spec(spec).expect_err(spec);
            assert_eq!(error.code(), "CL0150", "{spec}: {error}");
            assert!(error.to_string().contains("dir:/path"), "{error}");
        }
    }
}
