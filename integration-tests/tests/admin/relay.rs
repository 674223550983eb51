//! The application of these tests: it passes records on from one topic to another, each with a commit of its own.
//!
//! It lives on a thread of its own and ends in its own time. Tests end with a sidecar that was killed, and librdkafka does not close a
//! consumer for as long as its last commit stays unanswered (its issue 3740): whoever waited for that would wait forever.

use std::thread;

use integration_tests::topics::unique_name;
use rdkafka::{
    ClientConfig, Message,
    consumer::{CommitMode, Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};
use tokio::{runtime, sync::oneshot};

use crate::SOON;

/// A running one; it takes no further record once this is dropped.
pub struct Relay {
    _running: oneshot::Sender<()>,
}

impl Relay {
    /// Starts it between two topics.
    pub fn start(bootstrap: &str, input: String, output: String) -> Self {
        let (running, stopped) = oneshot::channel();
        let bootstrap = bootstrap.to_owned();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = pass_on(&bootstrap, &input, &output) => {}
                }
            });
        });
        Self { _running: running }
    }
}

/// Reads, writes, commits: one record after the other.
async fn pass_on(bootstrap: &str, input: &str, output: &str) {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", unique_name("relay"))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a client needs a bootstrap only");
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a client needs a bootstrap only");
    consumer.subscribe(&[input]).expect("a topic's name");
    loop {
        let Ok(message) = consumer.recv().await else {
            continue;
        };
        let record = FutureRecord::<[u8], [u8]>::to(output)
            .key(message.key().unwrap_or_default())
            .payload(message.payload().unwrap_or_default());
        if producer.send(record, SOON).await.is_ok() {
            // A commit that is refused is made up for by the next one.
            let _ = consumer.commit_message(&message, CommitMode::Async);
        }
    }
}
