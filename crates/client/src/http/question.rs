//! What is asked, apart from whom: it can be asked again of another admin API.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use serde::Serialize;
use url::Url;

/// How long one request may take where nothing else is said.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A request without the address.
#[derive(Clone, Debug)]
pub(super) struct Question {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
    body: Option<Vec<u8>>,
    timeout: Duration,
}

impl Question {
    pub(super) fn new(method: Method, segments: &[&str]) -> Self {
        Self {
            method,
            segments: segments.iter().map(ToString::to_string).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            timeout: REQUEST_TIMEOUT,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: Option<&str>) -> Self {
        self.headers
            .extend(value.map(|value| (name, value.to_owned())));
        self
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        // Requests are plain types of this crate, which all have a JSON form.
        self.body = serde_json::to_vec(body).ok();
        self
    }

    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&self.segments);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// The request to the admin API at `base`, showing `authorization`.
    pub(super) fn request(
        &self,
        base: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.url(base).as_str());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::from(self.body.clone().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_path_are_escaped() {
        let base = Url::parse("http://127.0.0.1:7070/").unwrap();
        let question = Question::new(Method::GET, &["v1", "sidecars", "a/b", "c d"]);
        let url = question
            .query("limit", Some(3))
            .query("before", None::<u64>);
        assert_eq!(
            url.url(&base).as_str(),
            "http://127.0.0.1:7070/v1/sidecars/a%2Fb/c%20d?limit=3"
        );
    }
}
