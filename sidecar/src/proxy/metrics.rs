//! What the proxy counts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use cutline_model::TopicName;
use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Topics with a label of their own; later ones are counted as `other`.
pub const TOPIC_LABELS_MAX: usize = 200;
const OTHER: &str = "other";

// From a metadata answer to a long poll.
const REQUEST_SECONDS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Which way bytes go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BreakerLabel {
    of: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabel {
    topic: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    op: &'static str,
}

/// The longest hold of a checkpoint since the program started, however that checkpoint ended.
#[derive(Clone, Debug, Default)]
pub struct LongestHold(Gauge<f64, AtomicU64>);

impl LongestHold {
    /// A hold is over that lasted `held`.
    pub fn ended(&self, held: Duration) {
        // One sidecar has one core, and that one lock: nobody else writes between the look and the change.
        if held.as_secs_f64() > self.0.get() {
            self.0.set(held.as_secs_f64());
        }
    }
}

/// What went to the application from one topic.
#[derive(Clone, Debug)]
struct Delivered {
    records: Counter,
    bytes: Counter,
}

/// The counters of the topics that one connection reads: found once, then counted without a lock.
#[derive(Debug, Default)]
pub struct TopicCounters(HashMap<TopicName, Delivered>);

impl TopicCounters {
    /// Records went to the application, in batches of so many bytes.
    pub fn delivered(&mut self, metrics: &Metrics, topic: &TopicName, records: u64, bytes: u64) {
        if !self.0.contains_key(topic) {
            self.0.insert(topic.clone(), metrics.of_topic(topic));
        }
        let counters = &self.0[topic];
        counters.records.inc_by(records);
        counters.bytes.inc_by(bytes);
    }
}

/// The proxy's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Bytes forwarded from the application to brokers.
    pub to_broker_bytes: Counter,
    /// Bytes forwarded from brokers to the application.
    pub to_app_bytes: Counter,
    /// Bytes of batches that masks stood in for.
    pub masked_bytes: Counter,
    /// Partitions held.
    pub held_partitions: Gauge<i64, AtomicI64>,
    /// The longest hold of a checkpoint.
    pub longest_hold: LongestHold,
    /// Connections of the application.
    pub connections: Gauge<i64, AtomicI64>,
    /// 1 while the application is fenced.
    pub fenced: Gauge<i64, AtomicI64>,
    /// Connections refused because there were too many.
    pub refused: Counter,
    breaker: Family<BreakerLabel, Gauge<i64, AtomicI64>>,
    request_seconds: Family<ApiLabel, Histogram>,
    records: Family<TopicLabel, Counter>,
    bytes: Family<TopicLabel, Counter>,
    topics: Arc<Mutex<BTreeMap<TopicName, Delivered>>>,
    store: Family<OperationLabel, Histogram>,
}

impl Metrics {
    /// Metrics registered in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let bytes = Family::<DirectionLabel, Counter>::default();
        let direction = |direction| bytes.get_or_create(&DirectionLabel { direction }).clone();
        let metrics = Self {
            to_broker_bytes: direction("to_broker"),
            to_app_bytes: direction("to_app"),
            masked_bytes: Counter::default(),
            held_partitions: Gauge::default(),
            longest_hold: LongestHold::default(),
            connections: Gauge::default(),
            fenced: Gauge::default(),
            refused: Counter::default(),
            breaker: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            records: Family::default(),
            bytes: Family::default(),
            topics: Arc::default(),
            store: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 16))
            }),
        };
        registry.register("cutline_proxy_bytes", "Bytes forwarded", bytes);
        registry.register(
            "cutline_proxy_request_seconds",
            "From a request's arrival to its answer",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "cutline_records_delivered",
            "Records delivered to the application",
            metrics.records.clone(),
        );
        registry.register(
            "cutline_bytes_delivered",
            "Bytes of the batches delivered to the application, as they are on the wire",
            metrics.bytes.clone(),
        );
        registry.register(
            "cutline_masked_bytes",
            "Bytes of batches replaced by masks",
            metrics.masked_bytes.clone(),
        );
        registry.register(
            "cutline_held_partitions",
            "Partitions held now",
            metrics.held_partitions.clone(),
        );
        registry.register(
            "cutline_longest_hold_seconds",
            "The longest that a checkpoint, completed or not, has kept anything from the application since the start",
            metrics.longest_hold.0.clone(),
        );
        registry.register(
            "cutline_breaker_open",
            "1 while calls to a dependency fail at once, after it failed several times in a row",
            metrics.breaker.clone(),
        );
        registry.register(
            "cutline_proxy_connections",
            "Connections of the application",
            metrics.connections.clone(),
        );
        registry.register(
            "cutline_fenced",
            "1 while a restore keeps the application from Kafka",
            metrics.fenced.clone(),
        );
        registry.register(
            "cutline_store_request_seconds",
            "Requests to the store",
            metrics.store.clone(),
        );
        registry.register(
            "cutline_proxy_connections_refused",
            "Connections refused because the application had as many as it may",
            metrics.refused.clone(),
        );
        metrics
    }

    /// Whether a dependency is not asked at present.
    pub fn breaker(&self, of: &'static str, open: bool) {
        let label = BreakerLabel { of };
        self.breaker.get_or_create(&label).set(i64::from(open));
    }

    /// A request was answered.
    pub fn answered(&self, api_key: i16, took: Duration) {
        let api =
            ApiKey::try_from(api_key).map_or_else(|_| OTHER.to_owned(), |key| format!("{key:?}"));
        let histogram = self.request_seconds.get_or_create(&ApiLabel { api });
        histogram.observe(took.as_secs_f64());
    }

    /// The store took so long for an operation.
    pub fn store(&self, op: &'static str, took: Duration) {
        let seconds = self.store.get_or_create(&OperationLabel { op });
        seconds.observe(took.as_secs_f64());
    }

    fn of_topic(&self, topic: &TopicName) -> Delivered {
        let mut topics = self.topics.lock();
        if let Some(known) = topics.get(topic) {
            return known.clone();
        }
        let own = topics.len() < TOPIC_LABELS_MAX;
        let label = TopicLabel {
            topic: if own { topic.as_str() } else { OTHER }.to_owned(),
        };
        let counters = Delivered {
            records: self.records.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
        };
        if own {
            topics.insert(topic.clone(), counters.clone());
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_connection_counts_the_same_topics_and_their_labels_are_bounded() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (mut one, mut other) = (TopicCounters::default(), TopicCounters::default());
        for at in 0..TOPIC_LABELS_MAX + 2 {
            let topic = TopicName::from(format!("t{at:04}"));
            one.delivered(&metrics, &topic, 3, 100);
            other.delivered(&metrics, &topic, 4, 200);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "cutline_records_delivered_total{topic=\"t0000\"} 7",
            "cutline_bytes_delivered_total{topic=\"t0000\"} 300",
            "cutline_records_delivered_total{topic=\"other\"} 14",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
