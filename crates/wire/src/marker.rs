//! Markers as empty transactions: written under a transactional id of our own, found again in the log.
//!
//! A marker is the first COMMIT control batch of one (producer id, producer epoch) on a partition. The writer makes it
//! by opening a transaction over partitions and committing it without having produced anything. When and where to mark
//! is decided elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_model::{MarkerId, Offset, TopicPartition};
use kafka_protocol::{
    ResponseError,
    messages::{
        AddPartitionsToTxnRequest, EndTxnRequest,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
    },
    protocol::{StrBytes, VersionRange},
};
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    batch::batches,
    client::{Acl, Client, ClientError, Metadata, Spot, check, check_all},
};

/// How long one AddPartitionsToTxn or EndTxn is repeated while the coordinator is busy or moving.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// How long AddPartitionsToTxn is repeated while a partition is unknown: a topic that was made just now is, for a moment,
/// and one that was deleted stays so. Applications are held meanwhile.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(2);
/// Partitions of one AddPartitionsToTxn; a larger marking is one transaction still, added in several requests.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 1_000;

// From version 4 on AddPartitionsToTxn is between brokers only.
const ADD_VERSION_MAX: i16 = 3;
// With version 5 the epoch is raised at the end, and the marker would carry one that nobody was armed for.
const END_VERSION_MAX: i16 = 4;
// A marking takes milliseconds; what a dead writer left open is aborted after this by the broker itself.
const TRANSACTION_TIMEOUT_MS: i32 = 30_000;
// Markers are in the log 2 to 10 ms after EndTxn answered; asking more often would only load the coordinator.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);
const BUSY_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Why a marker is not where it should be.
#[derive(Debug, Error)]
pub enum MarkerError {
    /// The broker or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `init` was not called, or the pair was used.
    #[error("no fresh producer epoch: call init first")]
    NotReady,
    /// The coordinator was busy with this id for too long: a partition without a leader keeps it so.
    #[error("the transactional id {0} is kept busy")]
    Busy(String),
    /// Somebody else uses this transactional id.
    #[error("the transactional id {0} was taken over")]
    Fenced(String),
}

impl MarkerError {
    fn of(id: &str, error: ClientError) -> Self {
        match error.kafka() {
            Some(ResponseError::ConcurrentTransactions) => Self::Busy(id.to_owned()),
            Some(ResponseError::ProducerFenced | ResponseError::InvalidProducerEpoch) => {
                Self::Fenced(id.to_owned())
            }
            _ => Self::Client(error),
        }
    }
}

/// What one `write` has put on its way.
#[derive(Clone, Debug)]
pub struct Written {
    /// The pair that the markers carry.
    pub pair: MarkerId,
    /// The end of every partition before its marker: where to start looking for it.
    pub before: BTreeMap<TopicPartition, Offset>,
    /// The topics whose ends these are: one that is made again under the same name has others.
    pub topics: Arc<Metadata>,
}

/// Writes markers under one transactional id. Each pair (producer id, producer epoch) marks once: after `write` comes
/// `settle`, which hands out the next pair.
#[derive(Debug)]
pub struct MarkerWriter {
    client: Client,
    transactional_id: String,
    coordinator: Option<i32>,
    fresh: Option<MarkerId>,
}

impl MarkerWriter {
    /// A writer under `transactional_id`, which nobody else may use.
    pub fn new(client: Client, transactional_id: impl Into<String>) -> Self {
        Self {
            client,
            transactional_id: transactional_id.into(),
            coordinator: None,
            fresh: None,
        }
    }

    /// The pair that the next `write` carries.
    #[must_use]
    pub fn fresh(&self) -> Option<MarkerId> {
        self.fresh
    }

    /// The transactional id.
    #[must_use]
    pub fn transactional_id(&self) -> &str {
        &self.transactional_id
    }

    /// Takes a fresh pair. What an earlier writer under this id left open is aborted first, which is no marker.
    pub async fn init(&mut self) -> Result<MarkerId, MarkerError> {
        self.init_within(self.client.options().retry_budget).await
    }

    /// As [`Self::init`], giving up after `limit`.
    pub async fn init_within(&mut self, limit: Duration) -> Result<MarkerId, MarkerError> {
        self.fresh = None;
        let deadline = Instant::now() + limit;
        let mut pause = SETTLE_PAUSE;
        loop {
            let error = match self.init_once().await {
                Ok(pair) => {
                    self.fresh = Some(pair);
                    return Ok(pair);
                }
                Err(error) => error,
            };
            if !error.is_retryable() || Instant::now() + pause > deadline {
                return Err(MarkerError::of(&self.transactional_id, error));
            }
            if error.kafka() != Some(ResponseError::ConcurrentTransactions) {
                self.coordinator = None;
                pause = (pause * 2).min(BUSY_PAUSE_MAX);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn init_once(&mut self) -> Result<MarkerId, ClientError> {
        let node = self.coordinator().await?;
        let id = Some(self.transactional_id.as_str());
        self.client
            .init_producer_id_once(Some(node), id, TRANSACTION_TIMEOUT_MS)
            .await
    }

    /// Has the coordinator write a marker to every one of `partitions`. **They are not in the log when this returns**:
    /// only [`Self::settle`] tells that they are. Without partitions it does nothing.
    ///
    /// The ends are listed while the transaction is opened, which appends nothing: applications wait for both.
    pub async fn write(&mut self, partitions: &[TopicPartition]) -> Result<Written, MarkerError> {
        let pair = self.fresh.ok_or(MarkerError::NotReady)?;
        let client = self.client.clone();
        if partitions.is_empty() {
            return Ok(Written {
                pair,
                before: BTreeMap::new(),
                topics: client.metadata(),
            });
        }
        let listed = async {
            let ends = client.list_offsets(partitions, Spot::End).await?;
            Ok((ends, client.metadata()))
        };
        let ((ends, topics), _) = tokio::try_join!(listed, self.open(partitions))?;
        let ends = ends.into_iter();
        let written = Written {
            pair,
            before: ends
                .map(|(partition, end)| (partition, end.offset))
                .collect(),
            topics,
        };
        self.end(pair, Instant::now()).await?;
        cutline_crash::here("wrote markers");
        Ok(written)
    }

    /// The first half of [`Self::write`]: a transaction over `partitions` is open and nothing is marked. A writer that goes
    /// no further leaves no marker.
    pub async fn open(&mut self, partitions: &[TopicPartition]) -> Result<MarkerId, MarkerError> {
        // Used from here on, whatever happens.
        let pair = self.fresh.take().ok_or(MarkerError::NotReady)?;
        let begun = Instant::now();
        for chunk in partitions.chunks(PARTITIONS_PER_REQUEST_MAX) {
            self.add(pair, chunk, begun).await?;
        }
        cutline_crash::here("opened a transaction");
        Ok(pair)
    }

    /// Commits what was [opened](Self::open) under `pair`, with what was appended in it. As with [`Self::write`], only
    /// [`Self::settle`] tells when that is in the log.
    pub async fn close(&mut self, pair: MarkerId) -> Result<(), MarkerError> {
        self.end(pair, Instant::now()).await?;
        cutline_crash::here("committed a transaction");
        Ok(())
    }

    /// Waits until the markers of the last `write` are in the log; that is when the next pair can be taken, which is
    /// answered.
    pub async fn settle(&mut self) -> Result<MarkerId, MarkerError> {
        let next = self.init().await?;
        cutline_crash::here("settled a transaction");
        Ok(next)
    }

    /// As [`Self::settle`], giving up after `limit`.
    pub async fn settle_within(&mut self, limit: Duration) -> Result<MarkerId, MarkerError> {
        self.init_within(limit).await
    }

    async fn coordinator(&mut self) -> Result<i32, ClientError> {
        if let Some(node) = self.coordinator {
            return Ok(node);
        }
        let id = &self.transactional_id;
        let node = self.client.coordinator_of_transaction(id).await?;
        self.coordinator = Some(node);
        Ok(node)
    }

    async fn add(
        &mut self,
        pair: MarkerId,
        partitions: &[TopicPartition],
        begun: Instant,
    ) -> Result<(), MarkerError> {
        let request = add_request(&self.transactional_id, pair, partitions);
        loop {
            let added = self.add_once(&request).await;
            if !self.again(added, begun).await? {
                return Ok(());
            }
        }
    }

    async fn add_once(&mut self, request: &AddPartitionsToTxnRequest) -> Result<(), ClientError> {
        let node = self.coordinator().await?;
        let versions = VersionRange {
            min: 0,
            max: ADD_VERSION_MAX,
        };
        let response = self.client.call_within(node, request, versions).await?;
        let id = self.transactional_id.as_str();
        let topics = response.results_by_topic_v3_and_below.iter();
        check_all(topics.flat_map(|topic| {
            let name = topic.name.as_str();
            topic.results_by_partition.iter().map(move |partition| {
                let index = partition.partition_index;
                check(partition.partition_error_code, || {
                    format!("marking {name}-{index}")
                })
                .map_err(|error| {
                    error.needs(&[
                        Acl::topic("WRITE", &name.into()),
                        Acl::transactional_id("WRITE", id),
                    ])
                })
            })
        }))
    }

    async fn end(&mut self, pair: MarkerId, begun: Instant) -> Result<(), MarkerError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(text(&self.transactional_id).into())
            .with_producer_id(pair.producer_id.into())
            .with_producer_epoch(pair.producer_epoch)
            .with_committed(true);
        loop {
            let ended = self.end_once(&request).await;
            if !self.again(ended, begun).await? {
                return Ok(());
            }
        }
    }

    async fn end_once(&mut self, request: &EndTxnRequest) -> Result<(), ClientError> {
        let node = self.coordinator().await?;
        let versions = VersionRange {
            min: 0,
            max: END_VERSION_MAX,
        };
        let response = self.client.call_within(node, request, versions).await?;
        check(response.error_code, || "ending a marking".to_owned())
            .map_err(|error| error.needs(&[Acl::transactional_id("WRITE", &self.transactional_id)]))
    }

    // True when the request is to be sent again, after a pause. Adding the same partitions twice and committing twice
    // under one pair are both harmless.
    async fn again(
        &mut self,
        done: Result<(), ClientError>,
        begun: Instant,
    ) -> Result<bool, MarkerError> {
        let Err(error) = done else { return Ok(false) };
        let limit = match error.kafka() {
            Some(ResponseError::UnknownTopicOrPartition) => UNKNOWN_LIMIT,
            _ => WRITE_LIMIT,
        };
        if !error.is_retryable() || begun.elapsed() > limit {
            return Err(MarkerError::of(&self.transactional_id, error));
        }
        if error.kafka() != Some(ResponseError::ConcurrentTransactions) {
            self.coordinator = None;
            // Whether this worked shows in the next attempt.
            let _refreshed = self.client.refresh_metadata().await;
        }
        tokio::time::sleep(BUSY_PAUSE_MAX).await;
        Ok(true)
    }
}

/// Where `marker` stands on each partition of `from`: the first COMMIT of that pair at or above the given offset. An
/// error when the log ends before it on some partition, or no longer reaches back to the given offset.
pub async fn locate(
    client: &Client,
    marker: MarkerId,
    from: &BTreeMap<TopicPartition, Offset>,
) -> Result<BTreeMap<TopicPartition, Offset>, MarkerError> {
    let found = locate_all(client, &BTreeSet::from([marker]), from).await?;
    Ok(found
        .into_iter()
        .map(|(partition, (_, offset))| (partition, offset))
        .collect())
}

/// As [`locate`], for the first COMMIT of any of `markers`.
pub async fn locate_all(
    client: &Client,
    markers: &BTreeSet<MarkerId>,
    from: &BTreeMap<TopicPartition, Offset>,
) -> Result<BTreeMap<TopicPartition, (MarkerId, Offset)>, MarkerError> {
    let mut found = BTreeMap::new();
    let mut sought = from.clone();
    while !sought.is_empty() {
        let asked = &sought;
        let fetched = client
            .retrying(|client| async move { client.fetch_many(asked, 0, false).await })
            .await?;
        for (partition, fetched) in fetched {
            let next = sought[&partition];
            let mut walk = batches(&fetched.records);
            let mut end = next;
            let mut hit = None;
            for batch in walk.by_ref() {
                end = end.max(batch.last_offset.next());
                let commit = batch.commit().filter(|pair| markers.contains(pair));
                if let Some(pair) = commit.filter(|_| batch.base_offset >= from[&partition]) {
                    hit = Some((pair, batch.base_offset));
                    break;
                }
            }
            if let Some(malformed) = walk.malformed() {
                return Err(ClientError::Malformed(malformed).into());
            }
            if let Some(hit) = hit {
                sought.remove(&partition);
                found.insert(partition, hit);
            } else if end == next && next >= fetched.high_watermark {
                return Err(ClientError::NotFound(format!("marker on {partition}")).into());
            } else {
                sought.insert(partition, end);
            }
        }
    }
    Ok(found)
}

fn add_request(
    transactional_id: &str,
    pair: MarkerId,
    partitions: &[TopicPartition],
) -> AddPartitionsToTxnRequest {
    let mut by_topic = BTreeMap::<_, Vec<i32>>::new();
    for partition in partitions {
        by_topic
            .entry(&partition.topic)
            .or_default()
            .push(partition.partition);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        AddPartitionsToTxnTopic::default()
            .with_name(text(topic.as_str()).into())
            .with_partitions(partitions)
    });
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(text(transactional_id).into())
        .with_v3_and_below_producer_id(pair.producer_id.into())
        .with_v3_and_below_producer_epoch(pair.producer_epoch)
        .with_v3_and_below_topics(topics.collect())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
