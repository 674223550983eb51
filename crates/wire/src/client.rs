//! A small Kafka client for what ordinary clients do not offer: raw batches, markers, other people's groups.
//!
//! It keeps one connection per broker with many requests in flight, knows leaders and coordinators from metadata it
//! caches, and repeats what may be repeated until a budget is spent. It promises that every call ends: with an answer,
//! or with an error within the request time limit. It decides nothing.

mod acl;
mod admin;
mod commit;
mod connection;
mod error;
mod fetching;
mod group;
mod listing;
mod metadata;
mod producer;
mod sizes;
mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use cutline_model::GroupId;
use cutline_security::Security;
use kafka_protocol::{
    messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader},
    protocol::{Encodable, Request, StrBytes, VersionRange},
};
use tokio::sync::Mutex;

pub use acl::{Acl, Resource};
pub use admin::TopicConfig;
pub use error::ClientError;
pub use fetching::FetchedRecords;
pub use group::{GroupKind, GroupState, Member};
pub use listing::{ListedOffset, Spot};
pub use metadata::{Broker, Metadata, PartitionInfo, TopicInfo};
pub use producer::ProducerId;
pub use transaction::{ActiveProducer, TransactionInfo};

use connection::Connection;
pub(crate) use error::{check, check_all};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// What it calls itself towards brokers.
    pub client_id: String,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long repeating goes on; longer than a KRaft broker session (9 s), or a killed leader is never outlived.
    pub retry_budget: Duration,
    /// The longest pause before the first repetition; it doubles up to [`BACKOFF_MAX`]. Each is anything up to that.
    pub backoff: Duration,
    /// How brokers are reached.
    pub security: Security,
}

/// The longest pause between two repetitions.
pub const BACKOFF_MAX: Duration = Duration::from_millis(500);

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            client_id: "cutline".to_owned(),
            request_timeout: Duration::from_secs(10),
            retry_budget: Duration::from_secs(20),
            backoff: Duration::from_millis(10),
            security: Security::default(),
        }
    }
}

/// A raw client of one Kafka cluster. Clones share connections and metadata.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

type Slot = Arc<Mutex<Option<Arc<Connection>>>>;

#[derive(Debug)]
struct Inner {
    options: ClientOptions,
    bootstrap: Vec<String>,
    connections: parking_lot::Mutex<BTreeMap<String, Slot>>,
    metadata: parking_lot::RwLock<Arc<Metadata>>,
    coordinators: parking_lot::RwLock<BTreeMap<GroupId, i32>>,
}

impl Client {
    /// A client of the cluster behind any of `bootstrap` (`host:port`); fetches its metadata once, so an unreachable
    /// cluster is an error here, after the retry budget.
    pub async fn connect(
        bootstrap: &[String],
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let client = Self {
            inner: Arc::new(Inner {
                options,
                bootstrap: bootstrap.to_vec(),
                connections: parking_lot::Mutex::default(),
                metadata: parking_lot::RwLock::default(),
                coordinators: parking_lot::RwLock::default(),
            }),
        };
        let met = client
            .retrying(|client| async move { client.refresh_metadata().await })
            .await;
        match met {
            Ok(_) => Ok(client),
            Err(ClientError::Lost(reason)) => Err(client.turned_away(&reason)),
            Err(error) => Err(error),
        }
    }

    /// A listener that expects another protocol closes the connection without a word.
    fn turned_away(&self, reason: &str) -> ClientError {
        let protocol = self.inner.options.security.protocol();
        ClientError::Lost(format!(
            "{reason}; kafka.security.protocol is {protocol}: is that what this listener expects?"
        ))
    }

    /// How this client behaves.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// Sends `request` to broker `node` in the highest version both sides have.
    pub async fn call<R: Request>(
        &self,
        node: i32,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.call_within(node, request, R::VERSIONS).await
    }

    /// Sends `request` to broker `node` in exactly `version`.
    pub async fn call_version<R: Request>(
        &self,
        node: i32,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let exactly = VersionRange {
            min: version,
            max: version,
        };
        self.call_within(node, request, exactly).await
    }

    /// Sends `request` to broker `node` in the highest version both sides have inside `versions`.
    pub async fn call_within<R: Request>(
        &self,
        node: i32,
        request: &R,
        versions: VersionRange,
    ) -> Result<R::Response, ClientError> {
        let address = self
            .metadata()
            .broker(node)
            .map(Broker::address)
            .ok_or(ClientError::NoBroker(node))?;
        let connection = self.connection(&address).await?;
        self.call_on(&connection, request, versions).await
    }

    /// Sends `request` to any broker that can be reached.
    pub async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let known = self.metadata();
        let addresses = known
            .brokers
            .values()
            .map(Broker::address)
            .chain(self.inner.bootstrap.iter().cloned());
        let mut last = ClientError::NoBroker(-1);
        for address in addresses {
            let called = match self.connection(&address).await {
                Ok(connection) => self.call_on(&connection, request, R::VERSIONS).await,
                Err(error) => Err(error),
            };
            match called {
                Err(error) if error.is_connection() || error.is_distrust() => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// True when broker `node` answers `R` in `version`.
    pub async fn supports<R: Request>(&self, node: i32, version: i16) -> Result<bool, ClientError> {
        let address = self
            .metadata()
            .broker(node)
            .map(Broker::address)
            .ok_or(ClientError::NoBroker(node))?;
        let connection = self.connection(&address).await?;
        let range = connection.versions().get(&R::KEY);
        Ok(range.is_some_and(|range| range.min <= version && version <= range.max))
    }

    /// Repeats `attempt` while its error may pass by itself, with growing pauses, until the retry budget is spent.
    /// Metadata is refreshed before each repetition.
    pub async fn retrying<T, F, Fut>(&self, attempt: F) -> Result<T, ClientError>
    where
        F: Fn(Self) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let deadline = tokio::time::Instant::now() + self.inner.options.retry_budget;
        let mut pause = self.inner.options.backoff;
        loop {
            let error = match attempt(self.clone()).await {
                Err(error) if error.is_retryable() => error,
                other => return other,
            };
            if let ClientError::NoPartition(partition) = &error {
                // Waiting does not help where we are not let see it.
                let hidden = BTreeSet::from([partition.topic.clone()]);
                if let Err(denied @ ClientError::Denied { .. }) = self.check_visible(&hidden).await
                {
                    return Err(denied);
                }
            }
            if tokio::time::Instant::now() + pause > deadline {
                return Err(error);
            }
            tracing::debug!(%error, "kafka request is repeated");
            // Full jitter: sidecars that lost one leader together do not come back together.
            tokio::time::sleep(pause.mul_f64(rand::random())).await;
            pause = (pause * 2).min(BACKOFF_MAX);
            if error.wants_metadata() {
                // Whether this worked shows in the next attempt.
                let _refreshed = self.refresh_metadata().await;
            }
        }
    }

    async fn connection(&self, address: &str) -> Result<Arc<Connection>, ClientError> {
        let slot = {
            let mut connections = self.inner.connections.lock();
            connections.entry(address.to_owned()).or_default().clone()
        };
        // The slot is locked while connecting, so that two callers do not open two connections to one broker.
        let mut slot = slot.lock().await;
        if let Some(connection) = slot
            .as_ref()
            .filter(|held| held.is_open() && !held.is_due())
        {
            return Ok(connection.clone());
        }
        let ClientOptions {
            request_timeout,
            security,
            client_id,
            ..
        } = &self.inner.options;
        let opened = Connection::open(address, *request_timeout, security, client_id);
        let mut connection = opened.await?;
        let versions = self.negotiate(&connection).await?;
        connection.set_versions(versions);
        let connection = Arc::new(connection);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn negotiate(
        &self,
        connection: &Connection,
    ) -> Result<BTreeMap<i16, VersionRange>, ClientError> {
        // Version 0 is what every broker answers; nothing of the later ones is needed.
        let request = ApiVersionsRequest::default();
        let frame = self.encode(&request, 0)?;
        let answer = connection
            .send(frame, self.inner.options.request_timeout)
            .await?;
        let response: ApiVersionsResponse = connection::decode::<ApiVersionsRequest>(answer, 0)?;
        let ranges = response.api_keys.iter().map(|api| {
            let range = VersionRange {
                min: api.min_version,
                max: api.max_version,
            };
            (api.api_key, range)
        });
        Ok(ranges.collect())
    }

    async fn call_on<R: Request>(
        &self,
        connection: &Connection,
        request: &R,
        versions: VersionRange,
    ) -> Result<R::Response, ClientError> {
        let offered = connection.versions().get(&R::KEY);
        let common = offered.map(|range| range.intersect(&versions).intersect(&R::VERSIONS));
        let version = common
            .filter(|common| !common.is_empty())
            .ok_or(ClientError::Unsupported(R::KEY))?
            .max;
        let frame = self.encode(request, version)?;
        let answer = connection
            .send(frame, self.inner.options.request_timeout)
            .await?;
        connection::decode::<R>(answer, version)
    }

    // Encodes with correlation id 0: the connection puts in its own.
    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<BytesMut, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_string(
                self.inner.options.client_id.clone(),
            )));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header
            .encode(&mut frame, R::header_version(version))
            .map_err(|error| ClientError::Encode(R::KEY, error.to_string()))?;
        request
            .encode(&mut frame, version)
            .map_err(|error| ClientError::Encode(R::KEY, error.to_string()))?;
        Ok(frame)
    }
}
