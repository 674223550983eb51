//! A proxy in this process, with or without a core, and the clients around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_model::{
    Capture, Closing, Epoch, FromSidecar, Guarantee, InputPartition, Limits, MarkerId, Mode,
    Purpose, Role, Scope, SidecarId, ToSidecar, TopicPartition, View,
};
use cutline_protocol::{Process, ProcessConfig, ProcessOutput};
use cutline_sidecar::proxy::{
    CONNECTIONS_MAX, Decide, Proxy, ProxyConfig, metrics::Metrics, upstream::Upstreams,
};
use cutline_wire::client::{Client, ClientOptions};
use prometheus_client::registry::Registry;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};

/// How long anything in these tests may take before it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing comes where nothing may come: longer than a client's long poll and the proxy's.
pub const QUIET: Duration = Duration::from_secs(2);

/// A record as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// A proxy and its core.
pub struct Side {
    pub proxy: Arc<Proxy>,
    pub decide: Arc<Decide>,
    pub metrics: Metrics,
}

impl Side {
    /// A plain proxy.
    pub fn plain(kafka: &str) -> Self {
        Self::start(kafka, Decide::without_core())
    }

    /// A proxy with a core at rest, whose service is known to produce to `outputs`.
    pub fn with_core(kafka: &str, outputs: &[&str]) -> Self {
        let side = Self::start(
            kafka,
            Decide::with_core(Process::new(ProcessConfig {
                id: SidecarId::new("service", "0"),
                incarnation: "first".into(),
                scope: Scope::Instance,
                capture: Capture::Commit,
                guarantee: Guarantee::Consistent,
                has_state: true,
                rebuildable: BTreeSet::new(),
            })),
        );
        let topics = outputs.iter().map(|topic| (*topic).into());
        side.decide
            .with(|process, _| process.handle_registered(topics));
        side
    }

    fn start(kafka: &str, decide: Decide) -> Self {
        Self::limited(kafka, decide, CONNECTIONS_MAX)
    }

    /// A proxy that takes so many connections.
    pub fn limited(kafka: &str, decide: Decide, connections_max: usize) -> Self {
        let decide = Arc::new(decide);
        let metrics = Metrics::register(&mut Registry::default());
        let config = ProxyConfig {
            kafka: kafka.split(',').map(str::to_owned).collect(),
            upstreams: Upstreams::default(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            decide: decide.clone(),
            register: None,
            metrics: metrics.clone(),
            fenced: false,
            connections_max,
        };
        let proxy = Arc::new(Proxy::start(config).expect("a free port is there"));
        Self {
            proxy,
            decide,
            metrics,
        }
    }

    /// Where clients connect.
    pub fn bootstrap(&self) -> String {
        self.proxy.local().to_string()
    }

    fn tell(&self, message: ToSidecar) {
        self.decide
            .with(|process, now| process.handle_message(now, message));
    }

    /// Begins an epoch that heeds `markers` on `inputs` and marks `outputs`, and goes.
    pub fn go(
        &self,
        epoch: u64,
        mode: Mode,
        markers: &[MarkerId],
        (inputs, outputs): (&[TopicPartition], &[TopicPartition]),
    ) {
        let epoch = Epoch(epoch);
        let patient = PATIENCE.as_millis() as u64;
        let limits = Limits {
            max_pause_ms: patient,
            alignment_ms: patient,
            drain_ms: patient,
            record_ms: patient,
            mark_ms: patient,
        };
        self.tell(ToSidecar::Prepare {
            epoch,
            view: View(1),
            mode,
            purpose: Purpose::Checkpoint,
            limits,
        });
        let own = |producer_id| MarkerId {
            producer_id,
            producer_epoch: 0,
        };
        let pairs = Ok((own(1 << 40), own((1 << 40) + 1)));
        self.decide
            .with(|process, now| process.handle_pairs(now, epoch, pairs));
        let inputs = inputs.iter().map(|partition| InputPartition {
            group: "reader".into(),
            partition: partition.clone(),
        });
        let inputs = inputs.collect();
        let (markers, outputs) = (markers.to_vec(), outputs.to_vec());
        self.tell(ToSidecar::Arm {
            epoch,
            markers,
            inputs,
            outputs,
            role: Role::Solo,
        });
        self.tell(ToSidecar::Go { epoch });
    }

    /// Ends the epoch without a checkpoint: everything opens.
    pub fn close(&self, epoch: u64) {
        let closing = Closing::Failed {
            reason: "the test is over".to_owned(),
        };
        self.tell(ToSidecar::Close {
            epoch: Epoch(epoch),
            closing,
        });
    }

    /// Everything the core wants done so far.
    pub fn outputs(&self) -> Vec<ProcessOutput> {
        std::iter::from_fn(|| self.decide.poll_output()).collect()
    }

    /// What the core has declined so far.
    pub fn declined(&self) -> Vec<String> {
        let outputs = self.outputs().into_iter();
        outputs
            .filter_map(|output| match output {
                ProcessOutput::Send(FromSidecar::Declined { reason, .. }) => Some(reason),
                _ => None,
            })
            .collect()
    }
}

/// A raw client of `bootstrap`.
pub async fn client(bootstrap: &str) -> Client {
    let bootstrap: Vec<String> = bootstrap.split(',').map(str::to_owned).collect();
    Client::connect(&bootstrap, ClientOptions::default())
        .await
        .expect("the cluster answers")
}

/// A producer with `settings`.
pub fn producer(bootstrap: &str, settings: &[(&str, &str)]) -> FutureProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("message.timeout.ms", "60000");
    settings.iter().for_each(|(name, value)| {
        config.set(*name, *value);
    });
    config.create().expect("the settings are right")
}

/// Produces `values` to one partition, in order, and waits for them.
pub async fn produce(
    producer: &FutureProducer,
    to: &TopicPartition,
    values: impl Iterator<Item = String>,
) {
    let mut sent = Vec::new();
    for value in values {
        let record = FutureRecord::to(to.topic.as_str())
            .partition(to.partition)
            .key(&value)
            .payload(&value);
        sent.push(producer.send_result(record).expect("the queue has room"));
    }
    for delivery in sent {
        delivery
            .await
            .expect("the producer lives")
            .expect("the record is delivered");
    }
}

/// A consumer of these partitions from their beginning.
pub fn reader(
    bootstrap: &str,
    partitions: &[TopicPartition],
    settings: &[(&str, &str)],
) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false");
    settings.iter().for_each(|(name, value)| {
        config.set(*name, *value);
    });
    let consumer: BaseConsumer = config.create().expect("the settings are right");
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        assignment
            .add_partition_offset(
                partition.topic.as_str(),
                partition.partition,
                Offset::Beginning,
            )
            .expect("the beginning is an offset");
    }
    consumer.assign(&assignment).expect("the partitions exist");
    consumer
}

/// Polls until `enough` or nothing came for `silence`.
pub async fn read(
    consumer: BaseConsumer,
    enough: usize,
    silence: Duration,
) -> (BaseConsumer, Vec<Seen>) {
    let read = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        while seen.len() < enough {
            let Some(record) = consumer.poll(silence) else {
                break;
            };
            let record = record.expect("no error while reading");
            seen.push(Seen {
                partition: record.partition(),
                offset: record.offset(),
                key: record.key().map(<[u8]>::to_vec),
                value: record.payload().map(<[u8]>::to_vec),
            });
        }
        (consumer, seen)
    });
    read.await.expect("reading does not panic")
}

/// Reads `count` records, however long they take, and sees that for [`QUIET`] no other follows.
pub async fn read_exactly(consumer: BaseConsumer, count: usize) -> (BaseConsumer, Vec<Seen>) {
    let (consumer, mut seen) = read(consumer, count, PATIENCE).await;
    let (consumer, more) = read(consumer, 1, QUIET).await;
    seen.extend(more);
    assert_eq!(seen.len(), count, "{seen:?}");
    (consumer, seen)
}

/// What was seen, by partition, in the order it was seen.
pub fn by_partition(seen: &[Seen]) -> BTreeMap<i32, Vec<&Seen>> {
    let mut by_partition = BTreeMap::<i32, Vec<&Seen>>::new();
    for record in seen {
        by_partition
            .entry(record.partition)
            .or_default()
            .push(record);
    }
    by_partition
}
