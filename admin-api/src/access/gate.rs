//! The gate before a route: nobody passes without the role that the route needs, and who changes something, or is turned away,
//! is written down.
//!
//! Where certificates are asked for, one has to be shown for every route that needs a role: the handshake comes before the path,
//! so that it lets probes pass and leaves the refusal to this gate.
//!
//! Audit lines are log lines with target `audit`: who, with which role, from where, what, and how it was answered.

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Caller, Guard, Need, Pace};
use crate::{
    peer::{Certificate, Peer},
    problem::{NO_CERTIFICATE, Problem},
};

/// One route's gate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    guard: Guard,
    pace: Pace,
    needs: &'static [(&'static str, Need)],
}

impl Gate {
    /// The gate of a route whose methods, in lower case, need what `needs` says.
    #[must_use]
    pub fn new(guard: Guard, pace: Pace, needs: &'static [(&'static str, Need)]) -> Self {
        Self { guard, pace, needs }
    }

    fn need(&self, method: &Method) -> Option<Need> {
        // Whoever may read may ask whether there is something to read.
        let method = if method == Method::HEAD {
            Method::GET
        } else {
            method.clone()
        };
        let known = |(name, _): &&(&str, Need)| method.as_str().eq_ignore_ascii_case(name);
        self.needs.iter().find(known).map(|(_, need)| *need)
    }
}

/// Passes a request on to its route, with its [`Caller`], when it may.
pub async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let Some(need) = gate.need(&method) else {
        // The route does not take the method and says so itself.
        return next.run(request).await;
    };
    let action = format!("{method} {}", request.uri().path());
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let peer = peer.map(|ConnectInfo(peer)| *peer);
    let from = peer.map(|peer| peer.to_string());
    let address = peer.map(|peer| peer.address.ip().to_string());
    if need != Need::Nothing && peer.is_some_and(|peer| peer.certificate == Certificate::Missing) {
        let detail = format!(
            "{action} needs a client certificate that this admin API's --tls-client-ca signed, and none was shown: give one with --tls-certificate and --tls-key"
        );
        let response = Problem::new(NO_CERTIFICATE, detail).into_response();
        note(
            &Caller::anyone(),
            &action,
            from.as_deref(),
            response.status(),
        );
        return response;
    }
    match gate.guard.judge(need, request.headers(), &action) {
        Ok(caller) => {
            // Whether it lives and works is always answered.
            let entered = match need {
                Need::Nothing => None,
                _ => {
                    let by_address = || address.unwrap_or_else(|| caller.name.clone());
                    let key = caller.role.map_or_else(by_address, |_| caller.name.clone());
                    match gate.pace.enter(&key) {
                        Ok(permit) => Some(permit),
                        Err(problem) => return problem.into_response(),
                    }
                }
            };
            request.extensions_mut().insert(caller.clone());
            let response = next.run(request).await;
            drop(entered);
            if method != Method::GET && method != Method::HEAD {
                note(&caller, &action, from.as_deref(), response.status());
            }
            response
        }
        Err(refused) => {
            let response = refused.problem.into_response();
            note(&refused.caller, &action, from.as_deref(), response.status());
            response
        }
    }
}

fn note(caller: &Caller, action: &str, from: Option<&str>, status: StatusCode) {
    tracing::info!(
        target: "audit",
        who = caller.name,
        role = caller.role.map(tracing::field::display),
        from,
        action,
        status = status.as_u16(),
        "asked"
    );
}
