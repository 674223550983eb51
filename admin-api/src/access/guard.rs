//! Who somebody is by the token they show, and whether that is enough.
//!
//! The list is read again when its file changes, so that a token is given or withdrawn without a restart. A list that cannot be
//! read changes nothing. Connections that stand are not cut: a sidecar whose token was withdrawn goes when it is evicted.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use parking_lot::RwLock;

use super::{Need, Role, Tokens, TokensError};
use crate::problem::{NOT_ALLOWED, NOT_AUTHENTICATED, Problem};

/// How often the list is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
/// Who somebody is where no token is asked for.
const ANYONE: &str = "anyone";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the list of tokens has it.
    pub name: String,
    /// `None` where no token is asked for.
    pub role: Option<Role>,
    /// Of a sidecar: the one service that it may be; `None`: any.
    pub service: Option<String>,
}

impl Caller {
    /// Somebody who was not asked for a token.
    #[must_use]
    pub fn anyone() -> Self {
        Self {
            name: ANYONE.to_owned(),
            role: None,
            service: None,
        }
    }

    /// Nothing when its role is enough for `action`, which needs `need`.
    ///
    /// # Errors
    /// 403 when it is not.
    pub fn check(&self, need: Need, action: &str) -> Result<(), Problem> {
        let Some(role) = self.role.filter(|role| !role.may(need)) else {
            return Ok(());
        };
        let detail = format!("{action} needs {need}; {:?} has role {role}", self.name);
        Err(Problem::new(NOT_ALLOWED, detail))
    }

    /// Nothing when it may be the sidecar of `service`.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check_service(&self, service: &str) -> Result<(), String> {
        match &self.service {
            Some(own) if own != service => Err(format!(
                "the token of {:?} is for service {own}, not {service}: give it the token of its own service",
                self.name
            )),
            _ => Ok(()),
        }
    }
}

/// Somebody who may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who it was, as far as that is known.
    pub caller: Caller,
    /// Why not.
    pub problem: Problem,
}

/// Lets in who may. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Guard(Option<Arc<List>>);

#[derive(Debug)]
struct List {
    path: PathBuf,
    tokens: RwLock<Tokens>,
}

impl List {
    /// Reads it anew; `said` is what was complained about last.
    fn look_again(&self, said: &mut String) {
        match Tokens::read(&self.path) {
            Ok(tokens) => {
                said.clear();
                if *self.tokens.read() != tokens {
                    tracing::info!(tokens = tokens.count(), "tokens were read anew");
                    *self.tokens.write() = tokens;
                }
            }
            Err(error) => {
                let error = error.to_string();
                if *said != error {
                    tracing::error!(error, "the tokens read before stay in force");
                    *said = error;
                }
            }
        }
    }
}

impl Guard {
    /// One that goes by the list at `path`; without a path, one that lets everyone in.
    ///
    /// # Errors
    /// When the list cannot be used.
    pub fn over(path: Option<PathBuf>) -> Result<Self, TokensError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let tokens = RwLock::new(Tokens::read(&path)?);
        Ok(Self(Some(Arc::new(List { path, tokens }))))
    }

    /// True when it lets everyone in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Looks at the list for as long as it is let run.
    pub async fn keep_up(self) {
        let Some(list) = self.0 else { return };
        let mut said = String::new();
        loop {
            tokio::time::sleep(LOOK_PERIOD).await;
            list.look_again(&mut said);
        }
    }

    /// Who sent a request with these headers, when they may what `need` says; `action` is what they asked for.
    ///
    /// # Errors
    /// 401 without a token that is known, 403 with one that is not enough; the latter tells who it was.
    pub fn judge(
        &self,
        need: Need,
        headers: &HeaderMap,
        action: &str,
    ) -> Result<Caller, Box<Refused>> {
        let Some(list) = self.0.as_ref().filter(|_| need != Need::Nothing) else {
            return Ok(Caller::anyone());
        };
        let refused = |caller, code, detail: String| {
            let problem = Problem::new(code, detail);
            Err(Box::new(Refused { caller, problem }))
        };
        let Some(token) = bearer(headers) else {
            return refused(
                Caller::anyone(),
                NOT_AUTHENTICATED,
                format!(
                    "{action} needs a token with {need}: send it as Authorization: Bearer TOKEN"
                ),
            );
        };
        let Some(caller) = list.tokens.read().find(token).cloned() else {
            return refused(
                Caller::anyone(),
                NOT_AUTHENTICATED,
                format!(
                    "{action} came with a token that is not known here, or not any more: ask for one those who run this admin API"
                ),
            );
        };
        match caller.check(need, action) {
            Ok(()) => Ok(caller),
            Err(problem) => Err(Box::new(Refused { caller, problem })),
        }
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf %s sesame | sha256sum
    const LIST: &str = r#"{"tokens": [{"name": "anna", "role": "operator",
        "sha256": "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272"}]}"#;

    fn guard() -> (tempfile::NamedTempFile, Guard) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), LIST).unwrap();
        let guard = Guard::over(Some(file.path().to_owned())).unwrap();
        (file, guard)
    }

    fn with(authorization: &str) -> HeaderMap {
        let value = authorization.parse().unwrap();
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn only_a_known_token_with_enough_of_a_role_gets_in() {
        let (_file, guard) = guard();
        let judge = |need, headers: &HeaderMap| {
            let judged = guard.judge(need, headers, "POST /x");
            judged.map_err(|refused| (refused.caller.name, refused.problem.code.status))
        };
        let (operator, admin) = (Need::AtLeast(Role::Operator), Need::AtLeast(Role::Admin));
        let anna = with("Bearer sesame");
        assert_eq!(judge(operator, &anna).unwrap().name, "anna");
        assert_eq!(
            judge(operator, &with("bearer sesame")).unwrap().name,
            "anna"
        );
        assert_eq!(judge(admin, &anna), Err(("anna".into(), 403)));
        let nobody = Err((ANYONE.to_owned(), 401));
        for headers in [
            HeaderMap::new(),
            with("Bearer other"),
            with("Basic sesame"),
            with("sesame"),
        ] {
            assert_eq!(judge(operator, &headers), nobody, "{headers:?}");
        }
        assert!(judge(Need::Nothing, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_list_that_changes_is_read_again_and_one_that_broke_changes_nothing() {
        let (file, guard) = guard();
        let knows = |token: &str| {
            let headers = with(&format!("Bearer {token}"));
            let judged = guard.judge(Need::AtLeast(Role::Viewer), &headers, "GET /x");
            judged.is_ok()
        };
        let look = || guard.0.as_ref().unwrap().look_again(&mut String::new());
        std::fs::write(file.path(), "{").unwrap();
        look();
        assert!(knows("sesame"));
        // printf %s other | sha256sum
        let other = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";
        let sesame = LIST.split('"').nth_back(1).unwrap();
        std::fs::write(file.path(), LIST.replace(sesame, other)).unwrap();
        look();
        assert!(knows("other") && !knows("sesame"));
    }

    #[test]
    fn a_sidecar_is_of_its_own_service_only() {
        let mut caller = Caller::anyone();
        assert_eq!(caller.check_service("orders"), Ok(()));
        caller.service = Some("orders".into());
        assert_eq!(caller.check_service("orders"), Ok(()));
        let error = caller.check_service("payments").unwrap_err();
        assert!(error.contains("orders") && error.contains("payments"));
    }
}
