//! Sending a batch of transfers and waiting until all are acknowledged.
//!
//! It does not give up: a broker or a sidecar that is away is waited for. It knows nothing of what the records mean.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};

use crate::record::Outgoing;

/// How long one wait for acknowledgements lasts before the next begins.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it is waited for acknowledgements before it is said, and said again.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// How long to wait before a new producer takes the place of one that is fatally wrong.
const REPLACE_DELAY: Duration = Duration::from_millis(500);

/// A partition and the bytes that go there.
type Parcel = (i32, Vec<u8>);

/// Keeps what could not be delivered.
#[derive(Clone, Default)]
struct Returned(Arc<Mutex<Vec<Parcel>>>);

impl ClientContext for Returned {}

impl ProducerContext for Returned {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            eprintln!("bank-a: a transfer came back and is sent again: {error}");
            let parcel = (
                message.partition(),
                message.payload().unwrap_or_default().to_vec(),
            );
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(parcel);
        }
    }
}

/// The way out, to one topic.
pub struct Outbox {
    config: ClientConfig,
    topic: String,
    returned: Returned,
    producer: BaseProducer<Returned>,
}

impl Outbox {
    /// A way into `topic`.
    ///
    /// # Errors
    /// When the client library refuses its configuration.
    pub fn new(bootstrap: &str, topic: &str) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("acks", "all")
            // Repeats by the client library itself would look like the application's: the broker drops them.
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "5")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500");
        let returned = Returned::default();
        let producer = config.create_with_context(returned.clone())?;
        Ok(Self {
            config,
            topic: topic.into(),
            returned,
            producer,
        })
    }

    /// Sends all and returns when all are acknowledged, however long that takes.
    ///
    /// # Errors
    /// When a record cannot be sent at all, by anyone, such as one that is too large.
    pub fn send_all(&mut self, batch: &[Outgoing]) -> Result<(), KafkaError> {
        let mut parcels: Vec<Parcel> = batch.iter().map(parcel).collect();
        while !parcels.is_empty() {
            for (partition, payload) in &parcels {
                self.enqueue(*partition, payload)?;
            }
            self.wait_acknowledged();
            parcels = std::mem::take(
                &mut *self
                    .returned
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
            );
            if self.producer.client().fatal_error().is_some() {
                self.replace_producer()?;
            }
        }
        Ok(())
    }

    /// Waits, however long it takes: a broker is away, or a gate is closed.
    ///
    /// `flush` is what tells. `in_flight_count` counts what nobody has read yet, errors of connections too, and a flush reads
    /// nothing once all is acknowledged: who waits for a count of 0 may wait for ever.
    fn wait_acknowledged(&self) {
        let begin = Instant::now();
        let mut said = begin;
        while self.producer.flush(FLUSH_TIMEOUT).is_err() {
            if said.elapsed() >= SILENT_MAX {
                said = Instant::now();
                let (topic, seconds) = (&self.topic, begin.elapsed().as_secs());
                eprintln!("bank-a: transfers to {topic} are not acknowledged after {seconds} s");
            }
        }
    }

    fn enqueue(&self, partition: i32, payload: &[u8]) -> Result<(), KafkaError> {
        loop {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&self.topic)
                .partition(partition)
                .payload(payload);
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(FLUSH_TIMEOUT);
                }
                // Returned by a producer that is fatally wrong; `send_all` replaces it and sends this again.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), _)) => {
                    self.returned
                        .0
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((partition, payload.to_vec()));
                    return Ok(());
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn replace_producer(&mut self) -> Result<(), KafkaError> {
        eprintln!("bank-a: the producer is fatally wrong, a new one takes its place");
        std::thread::sleep(REPLACE_DELAY);
        self.producer = self.config.create_with_context(self.returned.clone())?;
        Ok(())
    }
}

fn parcel(outgoing: &Outgoing) -> Parcel {
    (
        outgoing.partition,
        serde_json::to_vec(&outgoing.record).expect("a record of plain fields has a JSON form"),
    )
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::mpsc, thread};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn errors_of_connections_that_nobody_read_are_not_waited_for() {
        // A port nobody listens on any more.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap().to_string();
        drop(gone);
        let outbox = Outbox::new(&address, "transfers-b").unwrap();
        let begin = Instant::now();
        while outbox.producer.in_flight_count() == 0 {
            assert!(begin.elapsed() < LIMIT, "no error is told");
            thread::sleep(Duration::from_millis(10));
        }
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            outbox.wait_acknowledged();
            done.send(()).unwrap();
        });
        is_done
            .recv_timeout(LIMIT)
            .expect("nothing was sent, nothing is waited for");
    }
}
