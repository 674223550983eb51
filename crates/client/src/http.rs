//! A thin typed client of the admin API, for the command line and for tests.
//!
//! One method a route; an answer that is a problem becomes [`AdminError::Problem`]. It decides nothing, and repeats nothing but
//! what was certainly not done: where several admin APIs are named, the one that leads is looked for and asked.

mod error;
mod places;
mod question;
mod stream;
mod transport;

use std::{sync::Arc, time::Duration};

use cutline_model::{Epoch, SidecarId};
use cutline_tls::{ClientSpec, ClientTls};
use http::{HeaderName, HeaderValue, Method, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::{
    CheckpointAccepted, CheckpointDetail, CheckpointList, CheckpointQuery, CheckpointRequest,
    CheckpointStatus, DiagnosisView, EvictedView, PruneReport, PruneRequest, RestoreAnswer,
    RestoreRequest, RestoreView, ScheduleRequest, ScheduleView, ServiceView, SidecarView,
    TopologyView, VerifyReport, WhoamiView,
};
use places::Places;
use question::Question;
use transport::{Transport, cause};

pub use error::AdminError;
pub use stream::EventStream;

/// How long verifying and deleting may take, which read or remove a whole checkpoint.
const LONG_REQUEST_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long an admin API may take to say whether it leads, before another is asked.
const LEADING_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// An answer that is no problem document is quoted up to here.
const QUOTE_CHARS_MAX: usize = 200;
/// Codes of an admin API that does not lead, or not yet, and has done nothing of what it was asked.
const NOT_LEADING: [&str; 2] = ["CL0200", "CL0201"];
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The admin API, or several of which one leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminClient {
    places: Arc<Places>,
    transport: Transport,
    /// Marked as sensitive, so that it is not shown.
    authorization: Option<HeaderValue>,
}

/// A question without an answer.
struct Unanswered {
    error: AdminError,
    /// True when nothing of it was done, and another admin API may do it.
    elsewhere: bool,
}

impl AdminClient {
    /// The admin API at `address`, such as `http://127.0.0.1:7070`, or several with commas between them. Nothing is sent yet.
    /// With `https` the system's authorities are believed.
    ///
    /// # Errors
    /// [`AdminError::BadAddress`]; [`AdminError::Tls`] when the system has no authorities.
    pub fn new(addresses: &str) -> Result<Self, AdminError> {
        Self::build(addresses, None)
    }

    /// The same over TLS as `spec` says, whose files are looked at again when they change.
    ///
    /// # Errors
    /// As [`Self::new`]; also when an address is not `https`, and when a file cannot be used.
    pub fn over_tls(addresses: &str, spec: ClientSpec) -> Result<Self, AdminError> {
        Self::build(addresses, Some(spec))
    }

    fn build(addresses: &str, spec: Option<ClientSpec>) -> Result<Self, AdminError> {
        let places = Places::parse(addresses)?;
        let tls = match (places.is_tls(), spec) {
            (true, spec) => Some(ClientTls::load(spec.unwrap_or_default())?),
            (false, None) => None,
            (false, Some(_)) => {
                return Err(AdminError::BadAddress {
                    address: addresses.to_owned(),
                    reason: "certificates were named, which http does not use".to_owned(),
                });
            }
        };
        Ok(Self {
            places: Arc::new(places),
            transport: Transport::new(tls),
            authorization: None,
        })
    }

    /// The same, showing `token` with every request.
    ///
    /// # Errors
    /// [`AdminError::BadToken`].
    pub fn with_token(mut self, token: &str) -> Result<Self, AdminError> {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| AdminError::BadToken)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Where it is; of several, the one that is asked now.
    #[must_use]
    pub fn address(&self) -> &str {
        self.places.name(self.places.at())
    }

    /// Begins a checkpoint. The same `key` again is answered with the one it began.
    pub async fn create_checkpoint(
        &self,
        request: &CheckpointRequest,
        key: Option<&str>,
    ) -> Result<CheckpointAccepted, AdminError> {
        let post = post(&["v1", "checkpoints"]).header(IDEMPOTENCY_KEY, key);
        self.answer(post.json(request)).await
    }

    /// Checkpoints, newest first, with counts and a summary.
    pub async fn checkpoints(&self, query: &CheckpointQuery) -> Result<CheckpointList, AdminError> {
        let get = Question::new(Method::GET, &["v1", "checkpoints"])
            .query("status", query.status.map(|status| status.as_str()))
            .query("limit", query.limit)
            .query("before", query.before);
        self.answer(get).await
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
        let get = Question::new(Method::GET, &["v1", "checkpoints", "latest"]);
        self.answer(get.query("status", Some(status.as_str())))
            .await
    }

    /// Reads all of a checkpoint and tells what does not fit.
    pub async fn verify_checkpoint(&self, epoch: Epoch) -> Result<VerifyReport, AdminError> {
        let post = post(&["v1", "checkpoints", &epoch.to_string(), "verify"]);
        self.answer(post.within(LONG_REQUEST_TIMEOUT)).await
    }

    /// Ends a checkpoint that is under way.
    pub async fn abort_checkpoint(&self, epoch: Epoch) -> Result<CheckpointDetail, AdminError> {
        self.answer(post(&["v1", "checkpoints", &epoch.to_string(), "abort"]))
            .await
    }

    /// Deletes a checkpoint.
    pub async fn delete_checkpoint(&self, epoch: Epoch) -> Result<(), AdminError> {
        let delete = Question::new(Method::DELETE, &["v1", "checkpoints", &epoch.to_string()])
            .within(LONG_REQUEST_TIMEOUT);
        self.send(&delete).await.map(|_| ())
    }

    /// Deletes what retention does not keep, or tells what that would be.
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, AdminError> {
        let post = post(&["v1", "checkpoints", "prune"]).within(LONG_REQUEST_TIMEOUT);
        self.answer(post.json(request)).await
    }

    /// Begins a restore, or plans one.
    pub async fn create_restore(
        &self,
        request: &RestoreRequest,
        key: Option<&str>,
    ) -> Result<RestoreAnswer, AdminError> {
        let post = post(&["v1", "restores"]).header(IDEMPOTENCY_KEY, key);
        self.answer(post.json(request).within(LONG_REQUEST_TIMEOUT))
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
        self.answer(post(&["v1", "restores", id, "abort"])).await
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
        let delete = Question::new(Method::DELETE, &["v1", "services", service]);
        self.send(&delete).await.map(|_| ())
    }

    /// Evicts a sidecar: its run is over.
    pub async fn evict_sidecar(&self, sidecar: &SidecarId) -> Result<EvictedView, AdminError> {
        let (service, instance) = (sidecar.service.as_str(), sidecar.instance.as_str());
        let delete = Question::new(Method::DELETE, &["v1", "sidecars", service, instance]);
        self.answer(delete).await
    }

    /// What the admin API finds when it looks at its surroundings.
    pub async fn diagnosis(&self) -> Result<DiagnosisView, AdminError> {
        self.read(&["v1", "diagnosis"]).await
    }

    /// Who it takes the asker for.
    pub async fn whoami(&self) -> Result<WhoamiView, AdminError> {
        self.read(&["v1", "whoami"]).await
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
        let put = Question::new(Method::PUT, &["v1", "schedule"]);
        self.answer(put.json(request)).await
    }

    /// What changes, from the event after `last_event_id` on, or from now on.
    pub async fn events(&self, last_event_id: Option<&str>) -> Result<EventStream, AdminError> {
        let get = Question::new(Method::GET, &["v1", "events"])
            .header(header::ACCEPT, Some("text/event-stream"))
            .header(LAST_EVENT_ID, last_event_id);
        let response = self.send(&get).await?;
        Ok(EventStream::new(
            self.address().to_owned(),
            response.into_body(),
        ))
    }

    /// True when it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let question = Question::new(Method::GET, &["readyz"]);
        self.send(&question).await.is_ok()
    }

    async fn read<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, AdminError> {
        self.answer(Question::new(Method::GET, segments)).await
    }

    async fn answer<T: DeserializeOwned>(&self, question: Question) -> Result<T, AdminError> {
        let answering = async {
            let response = self.send(&question).await?;
            let place = self.places.at();
            let bytes = self.body(place, response).await?;
            serde_json::from_slice(&bytes)
                .map_err(|error| self.unexpected(place, error.to_string()))
        };
        let answered = tokio::time::timeout(question.timeout(), answering).await;
        answered.unwrap_or_else(|_| Err(self.late(&question)))
    }

    /// The response to a question, unless it is a problem; of several admin APIs, the leader's.
    async fn send(&self, question: &Question) -> Result<Response<Incoming>, AdminError> {
        if !self.places.is_chosen() {
            self.find_leader().await;
        }
        let error = match self.send_to(self.places.at(), question).await {
            Ok(response) => return Ok(response),
            Err(unanswered) if unanswered.elsewhere && self.places.count() > 1 => unanswered.error,
            Err(unanswered) => return Err(unanswered.error),
        };
        if !self.find_leader().await {
            return Err(error);
        }
        let again = self.send_to(self.places.at(), question).await;
        again.map_err(|unanswered| unanswered.error)
    }

    /// Chooses the admin API that leads, or else one that answers; true when one leads.
    async fn find_leader(&self) -> bool {
        let question = Question::new(Method::GET, &["readyz"]).within(LEADING_TIMEOUT);
        let mut answering = None;
        for place in self.places.in_turn() {
            match self.send_to(place, &question).await {
                Ok(_) => {
                    self.places.choose(place, true);
                    return true;
                }
                Err(Unanswered {
                    error: AdminError::Unreachable { .. },
                    ..
                }) => {}
                Err(_) => answering = answering.or(Some(place)),
            }
        }
        self.places
            .choose(answering.unwrap_or(self.places.at()), false);
        false
    }

    async fn send_to(
        &self,
        place: usize,
        question: &Question,
    ) -> Result<Response<Incoming>, Unanswered> {
        let base = self.places.base(place);
        let request = question.request(base, self.authorization.as_ref());
        let request = request.map_err(|error| Unanswered {
            error: self.unexpected(place, error.to_string()),
            elsewhere: false,
        })?;
        let sending = self.transport.send(request);
        let sent = tokio::time::timeout(question.timeout(), sending).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(unanswered)) => {
                return Err(Unanswered {
                    error: self.unreachable(place, unanswered.reason),
                    elsewhere: unanswered.is_unsent,
                });
            }
            Err(_) => {
                return Err(Unanswered {
                    error: self.late(question),
                    elsewhere: false,
                });
            }
        };
        self.checked(place, response).await.map_err(|error| {
            let elsewhere = error.code().is_some_and(|code| NOT_LEADING.contains(&code));
            Unanswered { error, elsewhere }
        })
    }

    /// The response, unless it is a problem.
    async fn checked(
        &self,
        place: usize,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, AdminError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let bytes = self.body(place, response).await?;
        match serde_json::from_slice(&bytes) {
            Ok(details) => Err(AdminError::Problem {
                details: Box::new(details),
                retry_after,
            }),
            Err(_) => {
                let text = String::from_utf8_lossy(&bytes);
                let quote: String = text.chars().take(QUOTE_CHARS_MAX).collect();
                Err(self.unexpected(place, format!("{status} {quote}")))
            }
        }
    }

    async fn body(
        &self,
        place: usize,
        response: Response<Incoming>,
    ) -> Result<bytes::Bytes, AdminError> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let collected = body.collect().await;
        let collected =
            collected.map_err(|error| self.unreachable(place, cause(error.as_ref())))?;
        Ok(collected.to_bytes())
    }

    fn late(&self, question: &Question) -> AdminError {
        let reason = format!("it did not answer within {:?}", question.timeout());
        self.unreachable(self.places.at(), reason)
    }

    fn unreachable(&self, place: usize, reason: String) -> AdminError {
        AdminError::Unreachable {
            address: self.places.name(place).to_owned(),
            reason,
        }
    }

    fn unexpected(&self, place: usize, reason: String) -> AdminError {
        AdminError::Unexpected {
            address: self.places.name(place).to_owned(),
            reason,
        }
    }
}

fn post(segments: &[&str]) -> Question {
    Question::new(Method::POST, segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_would_not_be_used_are_refused() {
        let error = AdminClient::over_tls("http://a:1", ClientSpec::default()).unwrap_err();
        assert!(error.to_string().contains("http does not use"), "{error}");
        assert_eq!(
            AdminClient::new("http://a:1/").unwrap().address(),
            "http://a:1"
        );
    }
}
