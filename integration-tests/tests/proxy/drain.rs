//! A proxy that ends delivers what it owes, cuts nothing in half, takes nothing new, and does not wait for ever; and it takes
//! no more connections than it may.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::BytesMut;
use cutline_model::TopicPartition;
use cutline_sidecar::proxy::{DRAIN_LIMIT, Decide};
use integration_tests::{Kafka, Sidecar, SidecarOptions, wait_for, wait_until};
use kafka_protocol::{
    messages::{
        FetchRequest, RequestHeader,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::{Encodable, HeaderVersion, StrBytes},
};
use rdkafka::{
    Message,
    consumer::BaseConsumer,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    fake::{Fake, UNKNOWN, batch, fetched, frame, request},
    side::{PATIENCE, Side, producer, reader},
};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn answers_under_way_are_delivered_before_the_end() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let (mut idle, mut busy) = (
        fake.connect(side.proxy.local()).await,
        fake.connect(side.proxy.local()).await,
    );
    let answer = fetched(12, 5, &[batch(0, 1, 8 * MIB)], false);
    let (half, rest) = answer.split_at(MIB / 2);
    busy.fetch(12, 5).await;
    busy.ask(&request(UNKNOWN, 0, 6)).await;
    busy.say(half).await;
    let drained = tokio::spawn({
        let proxy = side.proxy.clone();
        async move { proxy.drain().await }
    });
    assert!(idle.is_over().await, "nothing is owed there");
    wait_until(PATIENCE, "others to be refused", || async {
        TcpStream::connect(side.proxy.local()).await.is_err()
    })
    .await;
    // A request that comes now is not sent on, and does no harm to the answers.
    let late = request(UNKNOWN, 0, 7);
    busy.app.write_all(&late).await.expect("it is still open");
    assert!(busy.hear(half.len()).await == half);
    let owed = [rest, &frame(6, b"last")].concat();
    assert!(
        busy.pass(&owed).await == owed,
        "the rest, and what was asked before"
    );
    assert!(busy.is_over().await, "between two frames");
    drop(busy);
    let drained = timeout(PATIENCE, drained).await;
    assert_eq!(drained.expect("in time").expect("no panic"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let mut pair = fake.connect(side.proxy.local()).await;
    pair.fetch(12, 5).await;
    let began = Instant::now();
    assert_eq!(side.proxy.drain().await, 1);
    assert!(began.elapsed() < 2 * DRAIN_LIMIT);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_refused_until_one_ends() {
    let fake = Fake::start().await;
    let side = Side::limited(&fake.address(), Decide::without_core(), 2);
    let first = fake.connect(side.proxy.local()).await;
    let mut second = fake.connect(side.proxy.local()).await;
    let refused = TcpStream::connect(side.proxy.local()).await;
    let mut refused = refused.expect("the proxy listens");
    let read = timeout(PATIENCE, refused.read(&mut [0; 1])).await;
    let read = read.expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(side.metrics.refused.get(), 1);
    second.ask(&request(UNKNOWN, 0, 2)).await;
    drop(first);
    wait_until(PATIENCE, "a place", || async {
        side.proxy.connections() == 1
    })
    .await;
    let mut third = fake.connect(side.proxy.local()).await;
    third.ask(&request(UNKNOWN, 0, 2)).await;
}

const FETCH_VERSION: i16 = 12;
const VALUE_BYTES: usize = 1_000;
// Connections that fetch when the sidecar ends.
const FETCHING: usize = 4;

// Asks for 4 MiB of `topic` from its beginning.
fn fetch(topic: &str) -> Vec<u8> {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(4 << 20);
    let topic = FetchTopic::default()
        .with_topic(StrBytes::from_string(topic.to_owned()).into())
        .with_partitions(vec![partition]);
    let fetch = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut bytes = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(1)
        .with_request_api_version(FETCH_VERSION)
        .encode(&mut bytes, FetchRequest::header_version(FETCH_VERSION))
        .expect("a header");
    fetch.encode(&mut bytes, FETCH_VERSION).expect("a request");
    let size = u32::try_from(bytes.len()).expect("it is small");
    [&size.to_be_bytes()[..], &bytes].concat()
}

// Fetches on one connection, three requests ahead, until it ends; answers how many whole responses came, and how many bytes of one
// more.
async fn fetch_to_the_end(
    address: String,
    request: Vec<u8>,
    fetched: Arc<AtomicUsize>,
) -> (usize, usize) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(&request.repeat(3))
        .await
        .expect("it is read");
    let (mut whole, mut sink) = (0, vec![0; 64 * 1_024]);
    loop {
        let mut prefix = [0; 4];
        let got = read_as_far_as_it_goes(&mut stream, &mut prefix, 4).await;
        if got < 4 {
            return (whole, got);
        }
        let size = u32::from_be_bytes(prefix) as usize;
        let got = read_as_far_as_it_goes(&mut stream, &mut sink, size).await;
        if got < size {
            return (whole, 4 + got);
        }
        whole += 1;
        fetched.fetch_add(1, Ordering::Relaxed);
        // What comes too late is never answered.
        let _late = stream.write_all(&request).await;
    }
}

async fn read_as_far_as_it_goes(stream: &mut TcpStream, into: &mut [u8], bytes: usize) -> usize {
    let mut got = 0;
    while got < bytes {
        let at = got % into.len();
        let most = (into.len() - at).min(bytes - got);
        match stream.read(&mut into[at..at + most]).await {
            Ok(0) | Err(_) => break,
            Ok(read) => got += read,
        }
    }
    got
}

// Reads `count` records, whatever the client says of its connections meanwhile.
async fn values(consumer: BaseConsumer, count: usize) -> Vec<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut values = Vec::new();
        let until = Instant::now() + PATIENCE;
        while values.len() < count && Instant::now() < until {
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                values.push(record.payload().unwrap_or_default().to_vec());
            }
        }
        values
    });
    reading.await.expect("reading does not panic")
}

// Produces numbered records until told to stop; how many were acknowledged, all of those that were sent.
async fn produce_on(producer: FutureProducer, topic: String, stop: Arc<AtomicBool>) -> usize {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let value = format!("{:0VALUE_BYTES$}", sent.len());
            let record = FutureRecord::<(), _>::to(&topic)
                .partition(0)
                .payload(&value);
            sent.push(producer.send_result(record).expect("the queue has room"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let count = sent.len();
    for delivery in sent {
        let delivered = delivery.await.expect("the producer lives");
        delivered.expect("it is acknowledged");
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_asked_to_end_loses_nothing_and_cuts_nothing() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("drained", 1).await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let mut sidecar = Sidecar::start(&SidecarOptions::transparent(&kafka.bootstrap())).await;
    let writer = producer(
        &sidecar.bootstrap(),
        &[("enable.idempotence", "true"), ("linger.ms", "2")],
    );
    let first = FutureRecord::<(), [u8]>::to(&topic)
        .partition(0)
        .payload(&[7; 900_000]);
    let large = writer.send(first, Timeout::After(PATIENCE)).await;
    large.expect("it is acknowledged");
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::spawn(produce_on(writer, topic.clone(), stop.clone()));
    let consumer = reader(&sidecar.bootstrap(), std::slice::from_ref(&partition), &[]);
    for round in 0..3 {
        let fetched = Arc::new(AtomicUsize::new(0));
        let fetching: Vec<_> = (0..FETCHING)
            .map(|_| {
                let (address, request) = (sidecar.bootstrap(), fetch(&topic));
                tokio::spawn(fetch_to_the_end(address, request, fetched.clone()))
            })
            .collect();
        wait_until(PATIENCE, "fetching to be under way", || async {
            fetched.load(Ordering::Relaxed) >= 5 * FETCHING
        })
        .await;
        let asked = Instant::now();
        sidecar.process().signal("TERM");
        let ended = wait_for(PATIENCE, "the sidecar to end", || {
            let ended = sidecar.process().exit_status();
            async move { ended }
        });
        let ended = ended.await;
        assert!(
            ended.success(),
            "{ended:?}: {}",
            sidecar.process().log_tail(5)
        );
        assert!(asked.elapsed() < 2 * DRAIN_LIMIT, "{:?}", asked.elapsed());
        for fetched in fetching {
            let (whole, rest) = fetched.await.expect("no panic");
            assert_eq!(
                rest, 0,
                "round {round}: the last of {whole} responses is whole"
            );
        }
        sidecar.process().start_again();
        sidecar.wait_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    let count = producing.await.expect("every record is acknowledged");
    let values = values(consumer, count + 1).await;
    let numbers = values.iter().skip(1).map(|value| {
        let text = std::str::from_utf8(value).ok()?;
        text.parse().ok()
    });
    let expected: Vec<_> = (0..count).map(Some).collect();
    assert!(
        numbers.collect::<Vec<Option<usize>>>() == expected,
        "each of {count} once, in order"
    );
}
