//! The connection to the control topic: create, append, tail, and how long ago the broker last answered.
//!
//! Appends are durable (acks=all, idempotent) before they return. The tail applies records in order; whoever waits for an
//! offset waits on the state. Freshness comes from asking the broker for the topic's end, so that an idle topic is not
//! mistaken for a lost broker.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cutline_model::{Offset, TopicName};
use cutline_security::Security;
use cutline_wire::client::{Acl, Client, ClientError};
use parking_lot::Mutex;
use rdkafka::{
    Message, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, FutureRecord, Producer},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    librdkafka::{Librdkafka, config},
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

/// One partition of one topic is all there is.
const PARTITIONS: i32 = 1;
/// The brokers' own number.
const REPLICATION: i16 = -1;

/// Where the control topic is.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Kafka's bootstrap servers.
    pub bootstrap: String,
    /// The deployment.
    pub deployment: String,
    /// Who connects, for the broker's logs.
    pub client_id: String,
    /// How brokers are reached, and librdkafka's other settings.
    pub security: Security,
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
    /// It could not be looked for or created.
    #[error("the control topic {topic}: {source}")]
    Create {
        /// The topic.
        topic: String,
        /// Why.
        source: ClientError,
    },
    /// A right is missing.
    #[error(
        "CL0611 the control topic {topic}: {needs} is needed, and no ACL grants it to this program's Kafka user ({code})"
    )]
    Denied {
        /// The topic.
        topic: String,
        /// What is missing.
        needs: Acl,
        /// Kafka's word.
        code: RDKafkaErrorCode,
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
    producer: FutureProducer<Librdkafka>,
    /// What keeps the tail from reading.
    denied: Arc<Mutex<Option<RDKafkaErrorCode>>>,
    state: watch::Receiver<Arc<ControlState>>,
    fresh: watch::Receiver<Instant>,
    tasks: Vec<JoinHandle<()>>,
}

impl ControlTopic {
    /// Connects, creates the topic through `client` when it is absent, and starts to tail it from its beginning.
    ///
    /// # Errors
    /// When Kafka cannot be reached or refuses.
    pub async fn open(options: &ControlOptions, client: &Client) -> Result<Self, ControlError> {
        let topic = topic_name(&options.deployment);
        let kafka = |source| ControlError::Kafka {
            topic: topic.clone(),
            source,
        };
        let created = create(client, &TopicName::from(topic.as_str())).await;
        created.map_err(|source| ControlError::Create {
            topic: topic.clone(),
            source,
        })?;
        let context = || Librdkafka::new(options.security.clone());
        let producer = config(options)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.max.bytes", RECORD_BYTES_MAX)
            .create_with_context(context())
            .map_err(kafka)?;
        let consumer: StreamConsumer<Librdkafka> = config(options)
            .set(
                "group.id",
                format!("__cutline.{}.control", options.deployment),
            )
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "500")
            .create_with_context(context())
            .map_err(kafka)?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&topic, 0, rdkafka::Offset::Beginning)
            .map_err(kafka)?;
        consumer.assign(&assignment).map_err(kafka)?;
        let (state_tx, state) = watch::channel(Arc::new(ControlState::default()));
        let (fresh_tx, fresh) = watch::channel(Instant::now());
        let consumer = Arc::new(consumer);
        let denied = Arc::new(Mutex::new(None));
        let reading = tail(
            Arc::clone(&consumer),
            state_tx,
            Arc::clone(&denied),
            topic.clone(),
        );
        let tasks = vec![
            tokio::spawn(reading),
            tokio::spawn(stay_fresh(consumer, topic.clone(), state.clone(), fresh_tx)),
        ];
        Ok(Self {
            topic,
            producer,
            denied,
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
        let delivery = sent.map_err(|(source, _)| self.not_appended(source))?;
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
            _ if self.denied.lock().is_some() => Err(self.not_read()),
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

impl ControlTopic {
    /// A producer that may write to no topic at all is not even given an id, and is dead then.
    fn not_appended(&self, source: KafkaError) -> ControlError {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        let code = fatal.or(source.rdkafka_error_code());
        match code.filter(|code| is_denial(*code)) {
            Some(code) => self.denied("WRITE", code),
            None => ControlError::Kafka {
                topic: self.topic.clone(),
                source,
            },
        }
    }

    fn not_read(&self) -> ControlError {
        let code = *self.denied.lock();
        self.denied(
            "READ",
            code.unwrap_or(RDKafkaErrorCode::TopicAuthorizationFailed),
        )
    }

    fn denied(&self, operation: &'static str, code: RDKafkaErrorCode) -> ControlError {
        ControlError::Denied {
            topic: self.topic.clone(),
            needs: Acl::topic(operation, &TopicName::from(self.topic.as_str())),
            code,
        }
    }
}

impl Drop for ControlTopic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn is_denial(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// Looked for first: whoever may use the topic that is there need not be allowed to create it.
async fn create(client: &Client, topic: &TopicName) -> Result<(), ClientError> {
    let exists = client.retrying(|client| async move { client.topic_exists(topic).await });
    if exists.await? {
        return Ok(());
    }
    let settings = [
        ("cleanup.policy", "compact"),
        ("max.message.bytes", RECORD_BYTES_MAX),
    ];
    client
        .create_topic(topic, PARTITIONS, REPLICATION, &settings)
        .await
}

async fn tail(
    consumer: Arc<StreamConsumer<Librdkafka>>,
    state: watch::Sender<Arc<ControlState>>,
    denied: Arc<Mutex<Option<RDKafkaErrorCode>>>,
    topic: String,
) {
    loop {
        match consumer.recv().await {
            Ok(message) => {
                denied.lock().take();
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
            Err(error) => match error.rdkafka_error_code().filter(|code| is_denial(*code)) {
                None => tracing::debug!(%error, "control topic unreachable"),
                Some(code) => {
                    if denied.lock().replace(code).is_none() {
                        tracing::error!(%error, "CL0611 the control topic is not read: READ on topic {topic} is needed, and no ACL grants it");
                    }
                }
            },
        }
    }
}

async fn stay_fresh(
    consumer: Arc<StreamConsumer<Librdkafka>>,
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
