//! Applications with a name of their own, as librdkafka's users are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
const AGAIN: Duration = Duration::from_millis(200);

/// Settings of a client that is `user`, by password.
pub fn settings(bootstrap: &str, user: &str, mechanism: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanisms", mechanism)
        .set("sasl.username", user)
        .set("sasl.password", format!("{user}-secret"))
        .set("message.timeout.ms", "15000")
        .set("log_level", "0");
    config
}

/// How a delivery ended; and who shows an unsigned token.
pub struct Told {
    principal: String,
    ended: Arc<parking_lot::Mutex<Option<Result<(), RDKafkaErrorCode>>>>,
}

impl ClientContext for Told {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let principal = format!("principal={}", self.principal);
        let settings = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "OAUTHBEARER"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ("sasl.oauthbearer.config", principal.as_str()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let security = cutline_security::Security::of(&settings.into())?;
        let token = security.sasl().unwrap().token()?.unwrap();
        Ok(OAuthToken {
            token: token.value.reveal().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.ends_ms,
        })
    }
}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let ended = match delivered {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap()),
        };
        *self.ended.lock() = Some(ended);
    }
}

/// Produces one record as `user`.
pub fn produce(
    bootstrap: &str,
    user: &str,
    mechanism: &str,
    topic: &str,
) -> Result<(), RDKafkaErrorCode> {
    let ended = Arc::default();
    let context = Told {
        principal: user.to_owned(),
        ended: Arc::clone(&ended),
    };
    let producer: BaseProducer<Told> = settings(bootstrap, user, mechanism)
        .create_with_context(context)
        .unwrap();
    let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).payload("x");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    // What is not delivered is told as that.
    let _flushed = producer.flush(LIMIT);
    let ended = ended.lock().take();
    ended.expect("the record was delivered or not")
}

/// Passes `orders` on to `invoices` in transactions, as `billing`, until it is dropped.
pub struct Billing {
    passed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Billing {
    pub fn start(bootstrap: &str) -> Self {
        let (passed, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, stopped, bootstrap) =
            (Arc::clone(&passed), Arc::clone(&stop), bootstrap.to_owned());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // It is fenced by a rollback, and starts anew as a supervisor would have it.
                if run(&bootstrap, &count, &stopped).is_err() {
                    std::thread::sleep(AGAIN);
                }
            }
        });
        Self {
            passed,
            stop,
            thread: Some(thread),
        }
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Billing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn run(bootstrap: &str, passed: &AtomicU64, stop: &AtomicBool) -> Result<(), KafkaError> {
    let consumer: BaseConsumer = settings(bootstrap, "billing", "SCRAM-SHA-512")
        .remove("message.timeout.ms")
        .set("group.id", "billing")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("session.timeout.ms", "10000")
        // A partition that is added is read within this time.
        .set("topic.metadata.refresh.interval.ms", "1000")
        .create()?;
    let producer: BaseProducer = settings(bootstrap, "billing", "SCRAM-SHA-256")
        .set("transactional.id", "billing-0")
        .create()?;
    producer.init_transactions(LIMIT)?;
    consumer.subscribe(&["orders"])?;
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        let message = message?;
        producer.begin_transaction()?;
        let value = message.payload().unwrap_or_default();
        let record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to("invoices").payload(value).key(value);
        producer.send(record).map_err(|(error, _)| error)?;
        let mut next = TopicPartitionList::new();
        next.add_partition_offset(
            message.topic(),
            message.partition(),
            Offset::Offset(message.offset() + 1),
        )?;
        let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
        producer.send_offsets_to_transaction(&next, &group, LIMIT)?;
        producer.flush(LIMIT)?;
        producer.commit_transaction(LIMIT)?;
        passed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A group of somebody else's, without members, that has read nothing of `orders` yet.
pub fn stranger(bootstrap: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "stranger")
        .create()
        .unwrap();
    let mut begin = TopicPartitionList::new();
    begin
        .add_partition_offset("orders", 0, Offset::Offset(0))
        .unwrap();
    consumer.commit(&begin, CommitMode::Sync).unwrap();
}

/// Puts `count` orders into a partition of `orders`, committed, and an aborted one after them, as a superuser.
pub fn order(bootstrap: &str, partition: i32, count: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", "feed")
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    let send = |value: &str| {
        let record: BaseRecord<'_, str, str> = BaseRecord::to("orders")
            .partition(partition)
            .payload(value)
            .key(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    };
    producer.begin_transaction().unwrap();
    for number in 0..count {
        send(&number.to_string());
    }
    producer.flush(LIMIT).unwrap();
    producer.commit_transaction(LIMIT).unwrap();
    producer.begin_transaction().unwrap();
    send("never");
    producer.flush(LIMIT).unwrap();
    producer.abort_transaction(LIMIT).unwrap();
}
