//! Which admin API coordinates a deployment: the one that Kafka's group coordinator gives the control topic's partition.
//!
//! Every admin API of a deployment joins one consumer group over that single partition and reads nothing through it. The
//! assignment is sticky: one that comes later waits until the leader leaves or dies. Two that both believe to lead for a
//! moment do no harm: epochs and manifests are conditional creates, and the barrier's transactional id fences the older.

use std::sync::Arc;

use cutline_control::{ControlOptions, Librdkafka, config, topic_name};
use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::watch;

use crate::{problem::Problem, ready::not_leading};

/// How long Kafka waits for a leader that went away without a word. The least that brokers allow by default.
const SESSION_TIMEOUT_MS: &str = "6000";
const HEARTBEAT_MS: &str = "1000";

/// Whether this admin API leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    deployment: Arc<str>,
    leading: Arc<watch::Sender<bool>>,
}

impl Leadership {
    /// Of `deployment`; not leading.
    #[must_use]
    pub fn new(deployment: &str) -> Self {
        Self {
            deployment: deployment.into(),
            leading: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Says that it leads now, or no longer.
    pub fn set(&self, leading: bool) {
        self.leading.send_replace(leading);
    }

    /// True while it leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        *self.leading.borrow()
    }

    /// Changes when leadership does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Nothing while it leads.
    ///
    /// # Errors
    /// 503 while it does not.
    pub fn check(&self) -> Result<(), Problem> {
        if self.is_leading() {
            Ok(())
        } else {
            Err(not_leading(&self.deployment))
        }
    }
}

/// Takes part in the election for as long as it lives.
pub struct Candidate {
    consumer: Option<Arc<StreamConsumer<Election>>>,
    task: tokio::task::JoinHandle<()>,
    elected: watch::Receiver<bool>,
}

impl Candidate {
    /// Joins the group.
    ///
    /// # Errors
    /// When librdkafka does not take its settings.
    pub fn join(options: &ControlOptions) -> Result<Self, KafkaError> {
        let (sender, elected) = watch::channel(false);
        let group = format!("__cutline.{}.coordinator", options.deployment);
        let mut config = config(options);
        config
            .set("group.id", &group)
            // A later candidate does not take the partition from the one that has it.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("enable.auto.commit", "false");
        let election = Election {
            elected: sender,
            librdkafka: Librdkafka::new(options.security.clone()),
        };
        let consumer: StreamConsumer<Election> = config.create_with_context(election)?;
        consumer.subscribe(&[&topic_name(&options.deployment)])?;
        let consumer = Arc::new(consumer);
        let polled = Arc::clone(&consumer);
        let task = tokio::spawn(poll(polled, group));
        Ok(Self {
            consumer: Some(consumer),
            task,
            elected,
        })
    }

    /// True while elected.
    #[must_use]
    pub fn elected(&self) -> watch::Receiver<bool> {
        self.elected.clone()
    }

    /// Leaves the group, so that another can lead at once.
    pub async fn leave(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        let consumer = self.consumer.take();
        // Closing talks to the broker and blocks.
        let _ = tokio::task::spawn_blocking(move || drop(consumer)).await;
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Records are not wanted; polling is what makes rebalances happen.
async fn poll(consumer: Arc<StreamConsumer<Election>>, group: String) {
    let mut denied = None;
    loop {
        let Err(error) = consumer.recv().await else {
            continue;
        };
        let code = error.rdkafka_error_code();
        let needs = match code {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => format!("READ on group {group}"),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                "READ on the control topic".to_owned()
            }
            _ => {
                tracing::debug!(%error, "election");
                continue;
            }
        };
        // librdkafka goes on asking; once is enough to say.
        if denied != code {
            denied = code;
            tracing::error!(%error, "CL0611 cannot take part in the election: {needs} is needed, and no ACL grants it");
        }
    }
}

struct Election {
    elected: watch::Sender<bool>,
    librdkafka: Librdkafka,
}

impl ClientContext for Election {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        self.librdkafka.trouble(&error, reason);
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.librdkafka.token()
    }
}

impl ConsumerContext for Election {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // No longer leading before the broker may give the partition to another.
        let lost = match rebalance {
            Rebalance::Revoke(partitions) => partitions.count() > 0,
            Rebalance::Assign(_) => false,
            Rebalance::Error(_) => true,
        };
        if lost {
            self.elected.send_replace(false);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance
            && partitions.count() > 0
        {
            pause(consumer, partitions);
            self.elected.send_replace(true);
        }
    }
}

fn pause(consumer: &BaseConsumer<Election>, partitions: &TopicPartitionList) {
    if let Err(error) = consumer.pause(partitions) {
        // What is read then is thrown away; it costs a little traffic.
        tracing::debug!(%error, "the election's partition is not paused");
    }
}
