//! A thin typed client of the admin API, for the command line and for tests.
//!
//! One method a route; an answer that is a problem becomes [`AdminError::Problem`]. It decides nothing and repeats nothing.

mod stream;

use std::time::Duration;

use cutline_model::{Epoch, SidecarId};
use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;

use crate::{
    CheckpointAccepted, CheckpointDetail, CheckpointList, CheckpointQuery, CheckpointRequest,
    CheckpointStatus, EvictedView, ProblemDetails, PruneReport, PruneRequest, RestoreAnswer,
    RestoreRequest, RestoreView, ScheduleRequest, ScheduleView, ServiceView, SidecarView,
    TopologyView, VerifyReport,
};

pub use stream::EventStream;

/// How long one request may take; verifying and deleting read or remove a whole checkpoint.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const LONG_REQUEST_TIMEOUT: Duration = Duration::from_secs(3_600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that is no problem document is quoted up to here.
const QUOTE_CHARS_MAX: usize = 200;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is none.
    #[error("{address:?} is no address of an admin API: {reason}; give http://HOST:PORT")]
    BadAddress {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has characters that no token has.
    #[error(
        "the token has characters that no token has; give it as `cutline token new` printed it"
    )]
    BadToken,
    /// Nobody answered.
    #[error("the admin API at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// It said why not.
    #[error("{details}")]
    Problem {
        /// What it said.
        details: Box<ProblemDetails>,
        /// When it makes sense to ask again.
        retry_after: Option<Duration>,
    },
    /// Something else answered, or another version.
    #[error("{address} answered what is no answer of an admin API: {reason}")]
    Unexpected {
        /// Where.
        address: String,
        /// What does not fit.
        reason: String,
    },
}

impl AdminError {
    /// The stable code, when the admin API said why not.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem { details, .. } => Some(&details.code),
            _ => None,
        }
    }

    /// The HTTP status, when the admin API said why not.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { details, .. } => Some(details.status),
            _ => None,
        }
    }

    /// True when the same request may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { details, .. } => matches!(details.status, 429 | 503),
            _ => false,
        }
    }
}

/// One admin API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminClient {
    base: Url,
    http: reqwest::Client,
    /// Marked as sensitive, so that it is not shown.
    authorization: Option<header::HeaderValue>,
}

impl AdminClient {
    /// The admin API at `address`, such as `http://127.0.0.1:7070`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`AdminError::BadAddress`].
    pub fn new(address: &str) -> Result<Self, AdminError> {
        let bad = |reason: String| AdminError::BadAddress {
            address: address.to_owned(),
            reason,
        };
        let base = Url::parse(address).map_err(|error| bad(error.to_string()))?;
        if base.scheme() != "http" || base.host_str().is_none() {
            return Err(bad("it is not http://HOST:PORT".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            base,
            http,
            authorization: None,
        })
    }

    /// The same, showing `token` with every request.
    ///
    /// # Errors
    /// [`AdminError::BadToken`].
    pub fn with_token(mut self, token: &str) -> Result<Self, AdminError> {
        let value = header::HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| AdminError::BadToken)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Begins a checkpoint. The same `key` again is answered with the one it began.
    pub async fn create_checkpoint(
        &self,
        request: &CheckpointRequest,
        key: Option<&str>,
    ) -> Result<CheckpointAccepted, AdminError> {
        let post = with_key(self.post(&["v1", "checkpoints"]), key);
        self.answer(post.json(request)).await
    }

    /// Checkpoints, newest first, with counts and a summary.
    pub async fn checkpoints(&self, query: &CheckpointQuery) -> Result<CheckpointList, AdminError> {
        let mut url = self.url(&["v1", "checkpoints"]);
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(status) = query.status {
                pairs.append_pair("status", status.as_str());
            }
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
            if let Some(before) = query.before {
                pairs.append_pair("before", &before.to_string());
            }
        }
        self.answer(self.http.get(url)).await
    }

    /// One checkpoint.
    pub async fn checkpoint(&self, epoch: Epoch) -> Result<CheckpointDetail, AdminError> {
        self.read(&["v1", "checkpoints", &epoch.to_string()]).await
    }

    /// The last checkpoint that stands so.
    pub async fn latest_checkpoint(
        &self,
        status: CheckpointStatus,
    ) -> Result<CheckpointDetail, AdminError> {
        let mut url = self.url(&["v1", "checkpoints", "latest"]);
        url.query_pairs_mut().append_pair("status", status.as_str());
        self.answer(self.http.get(url)).await
    }

    /// Reads all of a checkpoint and tells what does not fit.
    pub async fn verify_checkpoint(&self, epoch: Epoch) -> Result<VerifyReport, AdminError> {
        let post = self.post(&["v1", "checkpoints", &epoch.to_string(), "verify"]);
        self.answer(post.timeout(LONG_REQUEST_TIMEOUT)).await
    }

    /// Ends a checkpoint that is under way.
    pub async fn abort_checkpoint(&self, epoch: Epoch) -> Result<CheckpointDetail, AdminError> {
        self.answer(self.post(&["v1", "checkpoints", &epoch.to_string(), "abort"]))
            .await
    }

    /// Deletes a checkpoint.
    pub async fn delete_checkpoint(&self, epoch: Epoch) -> Result<(), AdminError> {
        let url = self.url(&["v1", "checkpoints", &epoch.to_string()]);
        let delete = self.http.delete(url).timeout(LONG_REQUEST_TIMEOUT);
        self.send(delete).await.map(|_| ())
    }

    /// Deletes what retention does not keep, or tells what that would be.
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, AdminError> {
        let post = self.post(&["v1", "checkpoints", "prune"]);
        self.answer(post.json(request).timeout(LONG_REQUEST_TIMEOUT))
            .await
    }

    /// Begins a restore, or plans one.
    pub async fn create_restore(
        &self,
        request: &RestoreRequest,
        key: Option<&str>,
    ) -> Result<RestoreAnswer, AdminError> {
        let post = with_key(self.post(&["v1", "restores"]), key);
        self.answer(post.json(request).timeout(LONG_REQUEST_TIMEOUT))
            .await
    }

    /// Every restore, newest first.
    pub async fn restores(&self) -> Result<Vec<RestoreView>, AdminError> {
        self.read(&["v1", "restores"]).await
    }

    /// One restore.
    pub async fn restore(&self, id: &str) -> Result<RestoreView, AdminError> {
        self.read(&["v1", "restores", id]).await
    }

    /// Ends a restore that has put nothing back yet.
    pub async fn abort_restore(&self, id: &str) -> Result<RestoreView, AdminError> {
        self.answer(self.post(&["v1", "restores", id, "abort"]))
            .await
    }

    /// Who reads and writes what.
    pub async fn topology(&self) -> Result<TopologyView, AdminError> {
        self.read(&["v1", "topology"]).await
    }

    /// Every service.
    pub async fn services(&self) -> Result<Vec<ServiceView>, AdminError> {
        self.read(&["v1", "services"]).await
    }

    /// Every sidecar.
    pub async fn sidecars(&self) -> Result<Vec<SidecarView>, AdminError> {
        self.read(&["v1", "sidecars"]).await
    }

    /// Forgets a service that has no instances.
    pub async fn forget_service(&self, service: &str) -> Result<(), AdminError> {
        let url = self.url(&["v1", "services", service]);
        self.send(self.http.delete(url)).await.map(|_| ())
    }

    /// Evicts a sidecar: its run is over.
    pub async fn evict_sidecar(&self, sidecar: &SidecarId) -> Result<EvictedView, AdminError> {
        let url = self.url(&[
            "v1",
            "sidecars",
            sidecar.service.as_str(),
            sidecar.instance.as_str(),
        ]);
        self.answer(self.http.delete(url)).await
    }

    /// The schedule.
    pub async fn schedule(&self) -> Result<ScheduleView, AdminError> {
        self.read(&["v1", "schedule"]).await
    }

    /// Replaces the schedule.
    pub async fn set_schedule(
        &self,
        request: &ScheduleRequest,
    ) -> Result<ScheduleView, AdminError> {
        let put = self.http.put(self.url(&["v1", "schedule"]));
        self.answer(put.json(request)).await
    }

    /// What changes, from the event after `last_event_id` on, or from now on.
    pub async fn events(&self, last_event_id: Option<&str>) -> Result<EventStream, AdminError> {
        let mut get = self
            .http
            .get(self.url(&["v1", "events"]))
            .header(header::ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            get = get.header("last-event-id", id);
        }
        if let Some(authorization) = &self.authorization {
            get = get.header(header::AUTHORIZATION, authorization);
        }
        let response = get.send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.checked(response).await?;
        Ok(EventStream::new(self.address().to_owned(), response))
    }

    /// True when it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.send(self.http.get(self.url(&["readyz"])))
            .await
            .is_ok()
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http address has a path")
            .pop_if_empty()
            .extend(segments);
        url
    }

    fn post(&self, segments: &[&str]) -> RequestBuilder {
        self.http.request(Method::POST, self.url(segments))
    }

    async fn read<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, AdminError> {
        self.answer(self.http.get(self.url(segments))).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, AdminError> {
        let response = self.send(request).await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.unexpected(error.to_string()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, AdminError> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| self.unexpected(error.to_string()))?;
        request.timeout_mut().get_or_insert(REQUEST_TIMEOUT);
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let response = client
            .execute(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    /// The response, unless it is a problem.
    async fn checked(&self, response: Response) -> Result<Response, AdminError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice(&bytes) {
            Ok(details) => Err(AdminError::Problem {
                details: Box::new(details),
                retry_after,
            }),
            Err(_) => {
                let text = String::from_utf8_lossy(&bytes);
                let quote: String = text.chars().take(QUOTE_CHARS_MAX).collect();
                Err(self.unexpected(format!("{status} {quote}")))
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> AdminError {
        // The innermost cause says it best: "connection refused" rather than "error sending request".
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        AdminError::Unreachable {
            address: self.address().to_owned(),
            reason: cause.to_string(),
        }
    }

    fn unexpected(&self, reason: String) -> AdminError {
        AdminError::Unexpected {
            address: self.address().to_owned(),
            reason,
        }
    }
}

fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_named() {
        for address in ["", "127.0.0.1:7070", "ftp://x", "https://x"] {
            let error = AdminClient::new(address).unwrap_err().to_string();
            assert!(error.contains("http://HOST:PORT"), "{address}: {error}");
        }
    }

    #[test]
    fn names_in_a_path_are_escaped() {
        let client = AdminClient::new("http://127.0.0.1:7070/").unwrap();
        let url = client.url(&["v1", "sidecars", "a/b", "c d"]);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:7070/v1/sidecars/a%2Fb/c%20d"
        );
        assert_eq!(client.address(), "http://127.0.0.1:7070");
    }
}
