//! What the core holds, gates and masks, as clients with and without fetch sessions live through it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use cutline_model::{Epoch, MarkerId, Mode, Offset, OffsetRange, RangeSet, TopicPartition};
use cutline_protocol::{ProcessOutput, mask::Masks};
use cutline_wire::marker::{MarkerWriter, locate};
use integration_tests::{
    Kafka, Process, ProcessSpec, Run,
    kafka::{self, VERSION_DEFAULT},
    topics::unique_name,
    wait_until,
};
use rdkafka::producer::FutureRecord;

use super::side::{
    PATIENCE, QUIET, Seen, Side, by_partition, client, produce, producer, read, read_exactly,
    reader,
};

// Far less than a fetch of which everything is held waits by itself: it is told of the release.
const PROMPT: Duration = Duration::from_secs(5);
const FETCH_WAIT_MS: &str = "20000";

struct World {
    side: Side,
    direct: String,
    partitions: Vec<TopicPartition>,
    marker: MarkerId,
    at: Offset,
}

impl World {
    // Two partitions with records; a marker stands in the middle of the first.
    async fn with_a_marker(name: &str) -> Self {
        let kafka = Kafka::shared().await;
        let topic = kafka.topics().create_unique(name, 2).await;
        let partitions: Vec<_> = (0..2)
            .map(|index| TopicPartition::new(topic.as_str(), index))
            .collect();
        let direct = kafka.bootstrap();
        let feeder = producer(&direct, &[]);
        for partition in &partitions {
            produce(&feeder, partition, (0..100).map(|at| format!("{at}"))).await;
        }
        let raw = client(&direct).await;
        let mut writer = MarkerWriter::new(raw.clone(), unique_name("marker"));
        let marker = writer.init().await.expect("the id is free");
        writer
            .write(&partitions[..1])
            .await
            .expect("the marker is taken");
        writer.settle().await.expect("the marker is written");
        let from = BTreeMap::from([(partitions[0].clone(), Offset(0))]);
        let at = locate(&raw, marker, &from).await.expect("it is there")[&partitions[0]];
        for partition in &partitions {
            produce(&feeder, partition, (100..200).map(|at| format!("{at}"))).await;
        }
        let side = Side::with_core(&direct, &[]);
        Self {
            side,
            direct,
            partitions,
            marker,
            at,
        }
    }
}

impl World {
    fn go(&self, epoch: u64, mode: Mode, marker: MarkerId) {
        let inputs = (&self.partitions[..], &[][..]);
        self.side.go(epoch, mode, &[marker], inputs);
    }
}

fn values(seen: &[Seen], partition: i32) -> Vec<String> {
    let records = by_partition(seen).remove(&partition).unwrap_or_default();
    let text =
        |record: &&Seen| String::from_utf8(record.value.clone().unwrap_or_default()).expect("text");
    records.iter().map(text).collect()
}

fn numbers(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|at| at.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_held_at_its_marker_while_the_other_goes_on() {
    let world = World::with_a_marker("aligned").await;
    world.go(1, Mode::Aligned, world.marker);
    let consumer = reader(&world.side.bootstrap(), &world.partitions, &[]);
    let (consumer, seen) = read_exactly(consumer, 300).await;
    assert_eq!(values(&seen, 0), numbers(0..100));
    assert_eq!(values(&seen, 1), numbers(0..200));
    assert!(
        seen.iter()
            .all(|record| record.partition == 1 || record.offset < world.at.0)
    );
    let feeder = producer(&world.direct, &[]);
    produce(
        &feeder,
        &world.partitions[1],
        (200..210).map(|at| format!("{at}")),
    )
    .await;
    let (consumer, more) = read_exactly(consumer, 10).await;
    assert_eq!(
        values(&more, 1),
        numbers(200..210),
        "the other is not starved"
    );
    world.side.close(1);
    let (_, rest) = read(consumer, 100, PATIENCE).await;
    assert_eq!(
        values(&rest, 0),
        numbers(100..200),
        "nothing is lost or doubled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_held_at_once_and_released_promptly() {
    let world = World::with_a_marker("unaligned").await;
    let patient = [("fetch.wait.max.ms", FETCH_WAIT_MS)];
    let consumer = reader(&world.side.bootstrap(), &world.partitions, &patient);
    let (consumer, seen) = read(consumer, 400, PATIENCE).await;
    assert_eq!(seen.len(), 400);
    world.go(1, Mode::Unaligned, world.marker);
    let feeder = producer(&world.direct, &[]);
    for partition in &world.partitions {
        produce(&feeder, partition, (200..300).map(|at| format!("{at}"))).await;
    }
    let (consumer, held) = read(consumer, 1, QUIET).await;
    assert_eq!(held, []);
    let start = std::time::Instant::now();
    world.side.close(1);
    let (consumer, first) = read(consumer, 1, PATIENCE).await;
    let waited = start.elapsed();
    let (_, rest) = read(consumer, 199, PATIENCE).await;
    assert_eq!(first.len() + rest.len(), 200);
    assert!(waited < PROMPT, "released after {waited:?}");
}

fn java_consumer(bootstrap: &str, topic: &str, protocol: &str) -> (Process, PathBuf) {
    let log = Run::this().part("java").join("log");
    let spec = ProcessSpec::new("java", "java", &log)
        .args(kafka::java(VERSION_DEFAULT, None))
        .args([
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--from-beginning",
        ])
        .args(["--bootstrap-server", bootstrap, "--topic", topic])
        .args(["--command-property", &format!("group.protocol={protocol}")])
        .args(["--formatter-property", "print.partition=true"])
        .args(["--formatter-property", "print.offset=true"]);
    (Process::start(spec), log)
}

// What the Java console consumer printed: `Partition:0 Offset:17 value`, with tabs.
fn printed(log: &Path) -> Vec<Seen> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let number = |word: &str, name: &str| word.strip_prefix(name)?.parse::<i64>().ok();
    let seen = |line: &str| {
        let words: Vec<&str> = line.split('\t').collect();
        let (partition, offset) = words
            .iter()
            .fold((None, None), |(partition, offset), word| {
                (
                    partition.or(number(word, "Partition:")),
                    offset.or(number(word, "Offset:")),
                )
            });
        Some(Seen {
            partition: i32::try_from(partition?).ok()?,
            offset: offset?,
            key: None,
            value: Some(words.last()?.as_bytes().to_vec()),
        })
    };
    text.lines().filter_map(seen).collect()
}

async fn wait_for_lines(log: &Path, count: usize) {
    wait_until(PATIENCE, "the Java client to print", || async move {
        printed(log).len() >= count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_sessions_of_the_java_client_outlive_holds() {
    let world = World::with_a_marker("java").await;
    let topic = world.partitions[0].topic.as_str().to_owned();
    let (mut java, log) = java_consumer(&world.side.bootstrap(), &topic, "consumer");
    wait_for_lines(&log, 400).await;
    let feeder = producer(&world.direct, &[]);
    let mut expected = 200;
    // Several epochs in both modes, each with records that come while it holds.
    for (epoch, mode) in (1..).zip([
        Mode::Unaligned,
        Mode::Aligned,
        Mode::Unaligned,
        Mode::Aligned,
    ]) {
        let raw = client(&world.direct).await;
        let mut writer = MarkerWriter::new(raw, unique_name("marker"));
        let marker = writer.init().await.expect("the id is free");
        world.go(epoch, mode, marker);
        writer
            .write(&world.partitions[..1])
            .await
            .expect("the marker is taken");
        writer.settle().await.expect("the marker is written");
        for partition in &world.partitions {
            produce(
                &feeder,
                partition,
                (expected..expected + 50).map(|at| format!("{at}")),
            )
            .await;
        }
        let (held, free) = (2 * expected as usize, 2 * expected as usize + 50);
        if mode == Mode::Aligned {
            wait_for_lines(&log, free).await;
        }
        tokio::time::sleep(QUIET).await;
        let seen = printed(&log).len();
        assert_eq!(
            seen,
            if mode == Mode::Aligned { free } else { held },
            "{mode} {:?}",
            world.side.declined()
        );
        world.side.close(epoch);
        expected += 50;
        wait_for_lines(&log, 2 * expected as usize).await;
    }
    java.terminate();
    let seen = printed(&log);
    for partition in [0, 1] {
        assert_eq!(
            values(&seen, partition),
            numbers(0..expected),
            "each record once and in order"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_records_are_passed_over_by_every_client() {
    let world = World::with_a_marker("masked").await;
    let feeder = producer(
        &world.direct,
        &[("linger.ms", "0"), ("batch.num.messages", "1")],
    );
    produce(
        &feeder,
        &world.partitions[1],
        (200..260).map(|at| format!("{at}")),
    )
    .await;
    let mut masks = Masks::default();
    let mut ranges = RangeSet::default();
    ranges.insert(OffsetRange::new(Offset(210), Offset(250)));
    masks.replace(
        &"writer".into(),
        BTreeMap::from([(world.partitions[1].clone(), ranges)]),
    );
    world
        .side
        .decide
        .with(|process, _| process.handle_masks(masks));
    let expected = [numbers(0..210), numbers(250..260)].concat();
    for isolation in ["read_committed", "read_uncommitted"] {
        let consumer = reader(
            &world.side.bootstrap(),
            &world.partitions[1..],
            &[("isolation.level", isolation)],
        );
        let (_, seen) = read_exactly(consumer, 220).await;
        assert_eq!(values(&seen, 1), expected, "{isolation}");
    }
    let topic = world.partitions[0].topic.as_str().to_owned();
    let (mut java, log) = java_consumer(&world.side.bootstrap(), &topic, "classic");
    wait_for_lines(&log, 200 + 220).await;
    java.terminate();
    assert_eq!(values(&printed(&log), 1), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_waits_at_the_gate_and_passes_when_it_opens() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("gated", 1).await;
    let side = Side::with_core(&kafka.bootstrap(), &[&topic]);
    let through = producer(&side.bootstrap(), &[]);
    produce(
        &through,
        &TopicPartition::new(topic.as_str(), 0),
        ["first".to_owned()].into_iter(),
    )
    .await;
    // Nothing is read, so nothing is drained and the gate closes at once; the markers are never written.
    let outputs = vec![TopicPartition::new(topic.as_str(), 0)];
    side.go(1, Mode::Unaligned, &[], (&[], &outputs));
    wait_until(PATIENCE, "the state to be wanted", || async {
        side.decide.with(|process, now| process.handle_timeout(now));
        let wanted = |output: &ProcessOutput| matches!(output, ProcessOutput::Record(_));
        side.outputs().iter().any(wanted)
    })
    .await;
    side.decide
        .with(|process, now| process.handle_recorded(now, Epoch(1), Ok(())));
    let record = FutureRecord::<(), _>::to(&topic)
        .partition(0)
        .payload("second");
    let mut sent = through.send_result(record).expect("the queue has room");
    assert!(
        tokio::time::timeout(QUIET, &mut sent).await.is_err(),
        "it waits"
    );
    side.close(1);
    sent.await
        .expect("the producer lives")
        .expect("the record is delivered");
    assert_eq!(kafka.topics().watermarks(&topic), [(0, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_closes_connections_and_refuses_new_ones() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("fenced", 1).await;
    let side = Side::with_core(&kafka.bootstrap(), &[&topic]);
    let through = producer(&side.bootstrap(), &[]);
    let partition = TopicPartition::new(topic.as_str(), 0);
    produce(&through, &partition, ["before".to_owned()].into_iter()).await;
    side.proxy.fence().await;
    assert_eq!(side.proxy.connections(), 0);
    let record = FutureRecord::<(), _>::to(&topic)
        .partition(0)
        .payload("while fenced");
    let mut sent = through.send_result(record).expect("the queue has room");
    assert!(
        tokio::time::timeout(QUIET, &mut sent).await.is_err(),
        "nobody answers"
    );
    assert_eq!(kafka.topics().watermarks(&topic), [(0, 1)]);
    side.proxy.lift();
    sent.await
        .expect("the producer lives")
        .expect("the record is delivered");
}
