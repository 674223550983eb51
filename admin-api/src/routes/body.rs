//! Reading requests: JSON bodies, queries, epochs in paths, keys in headers. What cannot be read is a problem that says
//! what was wrong.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::BytesRejection},
    http::{HeaderMap, header, request::Parts},
};
use cutline_model::Epoch;
use serde::de::DeserializeOwned;

use crate::problem::{BAD_REQUEST, Problem, TOO_LARGE, UNSUPPORTED_MEDIA};

/// A JSON body. None at all is an empty object.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unreadable(&rejection))?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !is_json {
            let detail = "send the body with content-type: application/json";
            return Err(Problem::new(UNSUPPORTED_MEDIA, detail));
        }
        parse(&bytes).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(BAD_REQUEST, format!("the body cannot be read: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = headers.get(header::CONTENT_TYPE);
    content
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    let code = match rejection.status().as_u16() {
        413 => TOO_LARGE,
        _ => BAD_REQUEST,
    };
    Problem::new(code, format!("the body cannot be read: {rejection}"))
}

/// What stands behind the question mark.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(query)| Self(query)).map_err(|rejection| {
            Problem::new(
                BAD_REQUEST,
                format!("the query cannot be read: {rejection}"),
            )
        })
    }
}

/// An epoch in a path.
pub fn epoch(text: &str) -> Result<Epoch, Problem> {
    text.parse().map(Epoch).map_err(|_| {
        let detail =
            format!("{text:?} is no epoch; epochs are numbers, as GET /v1/checkpoints lists them");
        Problem::new(BAD_REQUEST, detail)
    })
}

/// The `Idempotency-Key`.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().map_err(|_| {
        Problem::new(
            BAD_REQUEST,
            "an Idempotency-Key is made of visible ASCII characters",
        )
    })?;
    Ok(Some(key))
}
