//! What is counted, in the names of the interface: Prometheus text, base units, bounded labels.

mod names;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::http::Method;
use cutline_model::{ServiceName, Timings, TopicName};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Processes with a label of their own; what comes later is counted as `other`.
const PROCESS_LABELS_MAX: usize = 200;
/// Channels with labels of their own.
const CHANNEL_LABELS_MAX: usize = 200;
/// Why checkpoints fail, in one word: counted from zero, so that the first failure is an increase too.
const REASONS: [&str; 10] = [
    "timeout",
    "aborted",
    "declined",
    "rebalance",
    "outside",
    "lost",
    "restart",
    "inconsistent",
    "store",
    "other",
];
/// The label of all others.
const OTHER: &str = "other";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProcessLabel {
    process: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabel {
    op: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ChannelLabel {
    service: String,
    topic: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    route: &'static str,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BreakerLabel {
    of: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// What is shown where no limit is known: ten years. An alert on less goes off by itself.
const NO_LIMIT_SECONDS: f64 = 10.0 * 365.0 * 24.0 * 3_600.0;

/// How much a checkpoint is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of state.
    pub state_bytes: u64,
    /// Bytes written to the store for it.
    pub uploaded_bytes: u64,
}

/// What a service reads from a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// The reader.
    pub service: ServiceName,
    /// The topic.
    pub topic: TopicName,
}

/// Every metric of the admin API. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    completed: Counter,
    failed: Family<ReasonLabel, Counter>,
    last_duration: Seconds,
    last_size: Gauge,
    last_completed: Seconds,
    pause: Family<ProcessLabel, Histogram>,
    alignment: Histogram,
    start_delay: Histogram,
    quiesce: Histogram,
    record: Histogram,
    mark: Histogram,
    upload: Histogram,
    last_uploaded: Gauge,
    in_flight: Family<ChannelLabel, Gauge>,
    objective: Seconds,
    restore_steps: Family<StepLabel, Histogram>,
    restorable: Family<StateLabel, Gauge<i64>>,
    restorable_for: Seconds,
    restores_completed: Counter,
    restores_failed: Counter,
    last_restore_duration: Seconds,
    last_restore_completed: Seconds,
    restore_masked: Counter,
    sidecars: Family<StateLabel, Gauge<i64>>,
    store: Family<OperationLabel, Histogram>,
    requests: Family<RequestLabel, Histogram>,
    breaker: Family<BreakerLabel, Gauge<i64>>,
    leading: Gauge<i64>,
    redis_up: Gauge<i64>,
    processes: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Arc::default(),
            completed: Counter::default(),
            failed: Family::default(),
            last_duration: Seconds::default(),
            last_size: Gauge::default(),
            last_completed: Seconds::default(),
            pause: Family::new_with_constructor(histogram),
            alignment: histogram(),
            start_delay: histogram(),
            quiesce: histogram(),
            record: histogram(),
            mark: histogram(),
            upload: histogram(),
            last_uploaded: Gauge::default(),
            in_flight: Family::default(),
            objective: Seconds::default(),
            restore_steps: Family::new_with_constructor(histogram),
            restorable: Family::default(),
            restorable_for: no_limit(),
            restores_completed: Counter::default(),
            restores_failed: Counter::default(),
            last_restore_duration: Seconds::default(),
            last_restore_completed: Seconds::default(),
            restore_masked: Counter::default(),
            sidecars: Family::default(),
            store: Family::new_with_constructor(histogram),
            requests: Family::new_with_constructor(histogram),
            breaker: Family::default(),
            leading: Gauge::default(),
            redis_up: Gauge::default(),
            processes: Arc::default(),
        };
        for reason in REASONS.map(str::to_owned) {
            let _zero = metrics.failed.get_or_create(&ReasonLabel { reason });
        }
        metrics.registry = Arc::new(metrics.register());
        metrics
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn no_limit() -> Seconds {
    let seconds = Seconds::default();
    seconds.set(NO_LIMIT_SECONDS);
    seconds
}

/// From a millisecond to about half a minute.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Metrics {
    /// A checkpoint completed.
    pub fn checkpoint_completed(&self, duration: Duration, size: Size, at_seconds: f64) {
        self.completed.inc();
        self.last_duration.set(duration.as_secs_f64());
        self.last_size.set(whole(size.state_bytes));
        self.last_uploaded.set(whole(size.uploaded_bytes));
        self.last_completed.set(at_seconds);
    }

    /// The last checkpoint completed then: this program did not take it, it took over.
    pub fn checkpoint_known(&self, at_seconds: f64) {
        self.last_completed.set(at_seconds);
    }

    /// What was in flight when the last checkpoint was cut.
    pub fn in_flight(&self, channels: BTreeMap<Channel, u64>) {
        self.in_flight.clear();
        let mut others = 0;
        for (at, (Channel { service, topic }, records)) in channels.into_iter().enumerate() {
            if at >= CHANNEL_LABELS_MAX {
                others += records;
                continue;
            }
            let label = ChannelLabel {
                service: service.to_string(),
                topic: topic.to_string(),
            };
            self.in_flight.get_or_create(&label).set(whole(records));
        }
        if others > 0 {
            let (service, topic) = (OTHER.to_owned(), OTHER.to_owned());
            let label = ChannelLabel { service, topic };
            self.in_flight.get_or_create(&label).set(whole(others));
        }
    }

    /// How old the last checkpoint may grow; `None`: nobody minds.
    pub fn objective(&self, objective: Option<Duration>) {
        let seconds = objective.unwrap_or_default().as_secs_f64();
        self.objective.set(seconds);
    }

    /// A checkpoint failed; `reason` is one of few words.
    pub fn checkpoint_failed(&self, reason: &'static str) {
        let reason = reason.to_owned();
        self.failed.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// How one process fared.
    pub fn process(&self, process: &str, timings: &Timings, upload_ms: u64) {
        let process = self.process_label(process);
        let label = ProcessLabel { process };
        let pause = self.pause.get_or_create(&label);
        pause.observe(timings.pause_ms / 1_000.0);
        for (phase, took_ms) in [
            (&self.start_delay, timings.start_delay_ms),
            (&self.alignment, timings.alignment_ms),
            (&self.quiesce, timings.quiesce_ms),
            (&self.record, timings.sync_ms),
            (&self.mark, timings.mark_ms),
            (&self.upload, upload_ms as f64),
        ] {
            phase.observe(took_ms / 1_000.0);
        }
    }

    /// A step of a restore was tried.
    pub fn restore_step(&self, step: &'static str, took: Duration) {
        let seconds = self.restore_steps.get_or_create(&StepLabel { step });
        seconds.observe(took.as_secs_f64());
    }

    /// How many completed checkpoints stand so with Kafka's logs.
    pub fn restorable(&self, state: &'static str, count: usize) {
        let label = StateLabel { state };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.restorable.get_or_create(&label).set(count);
    }

    /// For how many seconds the newest checkpoint can be restored; `None` where no limit is known.
    pub fn restorable_for(&self, seconds: Option<f64>) {
        let seconds = seconds.unwrap_or(NO_LIMIT_SECONDS);
        self.restorable_for.set(seconds.min(NO_LIMIT_SECONDS));
    }

    /// A restore completed, masking so many offsets.
    pub fn restore_completed(&self, duration: Duration, masked_offsets: u64, at_seconds: f64) {
        self.restores_completed.inc();
        self.restore_masked.inc_by(masked_offsets);
        self.last_restore_duration.set(duration.as_secs_f64());
        self.last_restore_completed.set(at_seconds);
    }

    /// A restore failed or was aborted.
    pub fn restore_failed(&self) {
        self.restores_failed.inc();
    }

    /// How many sidecars are in each state.
    pub fn sidecars(&self, state: &'static str, count: usize) {
        let label = StateLabel { state };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.sidecars.get_or_create(&label).set(count);
    }

    /// How long the store took for an operation.
    pub fn store(&self, op: &'static str, took: Duration) {
        let label = OperationLabel { op };
        self.store.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A request was answered.
    pub fn request(&self, route: &'static str, method: &Method, status: u16, took: Duration) {
        // Anybody may make up a method.
        let method = match method.as_str() {
            known @ ("GET" | "POST" | "PUT" | "DELETE" | "HEAD") => known,
            _ => OTHER,
        };
        let label = RequestLabel {
            route,
            method: method.to_owned(),
            status,
        };
        let seconds = self.requests.get_or_create(&label);
        seconds.observe(took.as_secs_f64());
    }

    /// Whether a dependency is not asked at present.
    pub fn breaker(&self, of: &'static str, open: bool) {
        let label = BreakerLabel { of };
        self.breaker.get_or_create(&label).set(i64::from(open));
    }

    /// Whether this admin API leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Whether Redis answers.
    pub fn redis_up(&self, up: bool) {
        self.redis_up.set(i64::from(up));
    }

    /// All of it, as Prometheus reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes any text");
        text
    }

    fn process_label(&self, process: &str) -> String {
        let mut known = self.processes.lock();
        if known.contains(process) {
            return process.to_owned();
        }
        if known.len() >= PROCESS_LABELS_MAX {
            return OTHER.to_owned();
        }
        known.insert(process.to_owned());
        process.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_of_the_interface() {
        let metrics = Metrics::default();
        let size = Size {
            state_bytes: 4_096,
            uploaded_bytes: 1_024,
        };
        metrics.checkpoint_completed(Duration::from_millis(1_500), size, 1e9);
        metrics.checkpoint_failed("timeout");
        metrics.process("bank/0", &Timings::default(), 7);
        metrics.sidecars("connected", 2);
        metrics.store("put", Duration::from_millis(3));
        metrics.objective(Some(Duration::from_secs(30)));
        let text = metrics.text();
        for line in [
            "cutline_checkpoints_completed_total 1",
            "cutline_checkpoints_failed_total{reason=\"timeout\"} 1",
            "cutline_last_checkpoint_duration_seconds 1.5",
            "cutline_last_checkpoint_size_bytes 4096",
            "cutline_last_checkpoint_completed_timestamp_seconds ",
            "cutline_checkpoint_pause_seconds_count{process=\"bank/0\"} 1",
            "cutline_checkpoint_alignment_seconds_sum ",
            "cutline_checkpoint_start_delay_seconds_sum ",
            "cutline_sidecars{state=\"connected\"} 2",
            "cutline_store_request_seconds_count{op=\"put\"} 1",
            "cutline_last_checkpoint_uploaded_bytes 1024",
            "cutline_checkpoint_upload_seconds_sum 0.007",
            "cutline_checkpoint_objective_seconds 30",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn labels_of_processes_are_bounded() {
        let metrics = Metrics::default();
        for at in 0..PROCESS_LABELS_MAX + 10 {
            metrics.process(&format!("bank/{at}"), &Timings::default(), 0);
        }
        let text = metrics.text();
        assert!(text.contains("{process=\"other\"} 10"), "{text}");
    }

    #[test]
    fn labels_of_channels_are_bounded_and_only_the_last_ones_stay() {
        let metrics = Metrics::default();
        let channel = |at: usize| Channel {
            service: "bank".into(),
            topic: format!("t{at:04}").into(),
        };
        let many = (0..CHANNEL_LABELS_MAX + 3).map(|at| (channel(at), 2));
        metrics.in_flight(many.collect());
        let name = "cutline_last_checkpoint_in_flight_records";
        let others = format!("{name}{{service=\"other\",topic=\"other\"}} 6");
        assert!(metrics.text().contains(&others), "{}", metrics.text());
        metrics.in_flight([(channel(1), 5)].into());
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        assert_eq!(lines.count(), 1, "{text}");
    }
}
