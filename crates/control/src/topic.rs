//! The connection to the control topic: create, append, tail, and how long ago the broker last answered.
//!
//! Appends are durable (acks=all, idempotent) before they return. The tail applies records in order; whoever waits for an
//! offset waits on the state. Freshness comes from asking the broker for the topic's end, so that an idle topic is not
//! mistaken for a lost broker.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cutline_model::Offset;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    record::{Record, topic_name},
    state::ControlState,
};

/// How long an append, or a wait for the tail, may take before it is an error.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the broker is asked for the topic's end.
const FRESHNESS_PERIOD: Duration = Duration::from_secs(1);
/// How long one such question may take.
const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest record: bounds how many mask ranges can be in force.
const RECORD_BYTES_MAX: &str = "8388608";

/// Where the control topic is.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Kafka's bootstrap servers.
    pub bootstrap: String,
    /// The deployment.
    pub deployment: String,
    /// Who connects, for the broker's logs.
    pub client_id: String,
    /// librdkafka's settings for the connection's security.
    pub kafka: BTreeMap<String, String>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Kafka refused or did not answer.
    #[error("the control topic {topic}: {source}")]
    Kafka {
        /// The topic.
        topic: String,
        /// Kafka's word.
        source: KafkaError,
    },
    /// The tail did not reach an offset in time.
    #[error("the control topic {topic} was not read up to offset {offset} within {waited:?}")]
    Behind {
        /// The topic.
        topic: String,
        /// The offset waited for.
        offset: Offset,
        /// How long.
        waited: Duration,
    },
}

/// A live connection to the control topic. Dropping it ends the tail.
pub struct ControlTopic {
    topic: String,
    producer: FutureProducer,
    state: watch::Receiver<Arc<ControlState>>,
    fresh: watch::Receiver<Instant>,
    tasks: Vec<JoinHandle<()>>,
}

impl ControlTopic {
    /// Connects, creates the topic when it is absent, and starts to tail it from its beginning.
    ///
    /// # Errors
    /// When Kafka cannot be reached or refuses.
    pub async fn open(options: &ControlOptions) -> Result<Self, ControlError> {
        let topic = topic_name(&options.deployment);
        let kafka = |source| ControlError::Kafka {
            topic: topic.clone(),
            source,
        };
        create(options, &topic).await.map_err(kafka)?;
        let producer: FutureProducer = config(options)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", RECORD_BYTES_MAX)
            .create()
            .map_err(kafka)?;
        let consumer: StreamConsumer = config(options)
            .set(
                "group.id",
                format!("__cutline.{}.control", options.deployment),
            )
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "500")
            .create()
            .map_err(kafka)?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&topic, 0, rdkafka::Offset::Beginning)
            .map_err(kafka)?;
        consumer.assign(&assignment).map_err(kafka)?;
        let (state_tx, state) = watch::channel(Arc::new(ControlState::default()));
        let (fresh_tx, fresh) = watch::channel(Instant::now());
        let consumer = Arc::new(consumer);
        let tasks = vec![
            tokio::spawn(tail(Arc::clone(&consumer), state_tx)),
            tokio::spawn(stay_fresh(consumer, topic.clone(), state.clone(), fresh_tx)),
        ];
        Ok(Self {
            topic,
            producer,
            state,
            fresh,
            tasks,
        })
    }

    /// The state so far; changes wake the receiver.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<ControlState>> {
        self.state.clone()
    }

    /// How long ago everything in the topic was known to be read.
    #[must_use]
    pub fn staleness(&self) -> Duration {
        self.fresh.borrow().elapsed()
    }

    /// Appends a record; durable when this returns. Answers its offset.
    ///
    /// # Errors
    /// When Kafka does not acknowledge it in time: it may or may not be in the topic.
    pub async fn append(&self, record: &Record) -> Result<Offset, ControlError> {
        let (key, value) = (record.key(), record.to_json());
        let message = FutureRecord::to(&self.topic)
            .partition(0)
            .key(&key)
            .payload(&value);
        let sent = self.producer.send(message, APPEND_TIMEOUT).await;
        let delivery = sent.map_err(|(source, _)| ControlError::Kafka {
            topic: self.topic.clone(),
            source,
        })?;
        // A probe is read back by who wrote it, and is no step of anything.
        if !matches!(record, Record::Probe { .. }) {
            cutline_crash::here(&format!("appended {key} to the control topic"));
        }
        Ok(Offset(delivery.offset))
    }

    /// Waits until the state includes the record at `offset`.
    ///
    /// # Errors
    /// When the tail does not get there in time.
    pub async fn read_past(&self, offset: Offset) -> Result<Arc<ControlState>, ControlError> {
        let mut state = self.state.clone();
        let reached = tokio::time::timeout(
            APPEND_TIMEOUT,
            state.wait_for(|state| state.position > offset),
        )
        .await;
        match reached {
            Ok(Ok(state)) => Ok(Arc::clone(&state)),
            _ => Err(ControlError::Behind {
                topic: self.topic.clone(),
                offset,
                waited: APPEND_TIMEOUT,
            }),
        }
    }

    /// Appends a record and waits until the state includes it.
    ///
    /// # Errors
    /// As [`Self::append`] and [`Self::read_past`].
    pub async fn append_and_read(
        &self,
        record: &Record,
    ) -> Result<(Offset, Arc<ControlState>), ControlError> {
        let offset = self.append(record).await?;
        Ok((offset, self.read_past(offset).await?))
    }
}

impl Drop for ControlTopic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn config(options: &ControlOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &options.bootstrap)
        .set("client.id", &options.client_id);
    config
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "1000");
    for (key, value) in &options.kafka {
        config.set(key, value);
    }
    config
}

async fn create(options: &ControlOptions, topic: &str) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = config(options).create()?;
    let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        .set("max.message.bytes", RECORD_BYTES_MAX);
    let timeout = AdminOptions::new()
        .operation_timeout(Some(APPEND_TIMEOUT))
        .request_timeout(Some(APPEND_TIMEOUT));
    for answer in admin.create_topics([&wanted], &timeout).await? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

async fn tail(consumer: Arc<StreamConsumer>, state: watch::Sender<Arc<ControlState>>) {
    loop {
        match consumer.recv().await {
            Ok(message) => {
                let offset = Offset(message.offset());
                let record = match message.payload().map(Record::from_json) {
                    Some(Ok(record)) => Some(record),
                    Some(Err(error)) => {
                        tracing::warn!(%offset, %error, "control record skipped");
                        None
                    }
                    None => None,
                };
                // Cloned only while somebody still looks at the state before.
                state.send_modify(|state| {
                    let state = Arc::make_mut(state);
                    match record {
                        Some(record) => state.apply(offset, record),
                        None => state.skip(offset),
                    }
                });
            }
            // librdkafka reconnects by itself; how long that lasts is what `staleness` tells.
            Err(error) => tracing::debug!(%error, "control topic unreachable"),
        }
    }
}

async fn stay_fresh(
    consumer: Arc<StreamConsumer>,
    topic: String,
    state: watch::Receiver<Arc<ControlState>>,
    fresh: watch::Sender<Instant>,
) {
    loop {
        let asked_at = Instant::now();
        let (asking, name) = (Arc::clone(&consumer), topic.clone());
        let answer = tokio::task::spawn_blocking(move || {
            asking.fetch_watermarks(&name, 0, FRESHNESS_TIMEOUT)
        })
        .await;
        if let Ok(Ok((low, high))) = answer {
            let mut state = state.clone();
            let all_read = tokio::time::timeout(FRESHNESS_TIMEOUT, async {
                state
                    .wait_for(|state| high <= low || state.position.0 >= high)
                    .await
                    .is_ok()
            });
            if matches!(all_read.await, Ok(true)) && fresh.send(asked_at).is_err() {
                return;
            }
        }
        tokio::time::sleep(FRESHNESS_PERIOD).await;
    }
}
