//! A flow of numbered records: a feed makes them, relays pass them on, watches see whether every one of them came, once and in order.
//!
//! Everything here is a plain Kafka client in a thread of its own; whether a sidecar stands in between is a matter of the bootstrap
//! address. It knows no rule of the protocol.

mod feed;
mod numbered;
mod relay;
mod watch;

pub use feed::{Feed, FeedOptions};
pub use relay::{Relay, RelayControl, RelayOptions, RelayTold};
pub use watch::{Track, Watch, WatchOptions};

use std::time::Duration;

/// How long one wait for acknowledgements lasts before the next begins; also how late a stop is noticed.
const WAIT: Duration = Duration::from_millis(5);
/// How long a queue of the client library that is full is waited for.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);
/// How often a failed commit is tried again.
const COMMIT_TRIES_MAX: u32 = 20;
/// The pause before a commit is tried again.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// The settings of every producer here: what the library repeats by itself must not look like the application's.
fn producer_config(bootstrap: &str) -> rdkafka::ClientConfig {
    let mut config = rdkafka::ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "0")
        // Of some hundred records a second several go at a time: a request for each is what a broker has most to do with.
        .set("linger.ms", "20")
        // Not so large that one batch is all that a consumer fetches at a time.
        .set("batch.size", "65536")
        .set("log_level", "2");
    config
}

/// Commits, trying again for as long as that may help.
fn commit(
    consumer: &impl rdkafka::consumer::Consumer,
    positions: &rdkafka::TopicPartitionList,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..COMMIT_TRIES_MAX {
        match consumer.commit(positions, rdkafka::consumer::CommitMode::Sync) {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        std::thread::sleep(COMMIT_PAUSE);
    }
    Err(format!("a commit did not succeed: {last}"))
}
