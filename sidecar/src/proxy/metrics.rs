//! What the proxy counts.

use std::{
    collections::BTreeSet,
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
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Topics with a label of their own; later ones are counted as `other`.
pub const TOPIC_LABELS_MAX: usize = 200;

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
    breaker: Family<BreakerLabel, Gauge<i64, AtomicI64>>,
    request_seconds: Family<ApiLabel, Histogram>,
    records: Family<TopicLabel, Counter<u64, AtomicU64>>,
    topics: Arc<Mutex<BTreeSet<TopicName>>>,
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
            breaker: Family::default(),
            request_seconds: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
            records: Family::default(),
            topics: Arc::default(),
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
            ApiKey::try_from(api_key).map_or_else(|_| "other".to_owned(), |key| format!("{key:?}"));
        let histogram = self.request_seconds.get_or_create(&ApiLabel { api });
        histogram.observe(took.as_secs_f64());
    }

    /// Records went to the application.
    pub fn delivered(&self, topic: &TopicName, records: u64) {
        let known = {
            let mut topics = self.topics.lock();
            topics.contains(topic)
                || topics.len() < TOPIC_LABELS_MAX && topics.insert(topic.clone())
        };
        let topic = if known { topic.as_str() } else { "other" }.to_owned();
        self.records
            .get_or_create(&TopicLabel { topic })
            .inc_by(records);
    }
}
