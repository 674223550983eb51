//! Large Fetch responses pass a plain proxy while they are still coming: byte for byte, at the reader's pace, to whatever end.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use integration_tests::wait_until;
use kafka_protocol::{
    messages::{FetchResponse, ResponseHeader},
    protocol::{Decodable, HeaderVersion},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    fake::{Fake, Pair, UNKNOWN, batch, fetched, frame, request},
    side::{PATIENCE, Side},
};

const CASES: u32 = 40;
const MIB: usize = 1 << 20;

async fn none_left(side: &Side) {
    wait_until(PATIENCE, "the connection to end", || async {
        side.proxy.connections() == 0
    })
    .await;
}

// What a records field can hold: batches of any size, the last one perhaps torn, or no batches at all.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![
        61..2_000_usize,
        10_000..200_000_usize,
        500_000..1_500_000_usize
    ];
    let batches = prop::collection::vec((size, 1..500_i32), 0..5);
    let noise = prop::collection::vec(any::<u8>(), 0..3_000);
    (batches, 0..200_usize, noise, 0..10_u8).prop_map(|(sizes, torn, noise, kind)| {
        let batches = sizes
            .iter()
            .enumerate()
            .map(|(at, (bytes, records))| batch(at as i64 * 1_000, *records, *bytes));
        let mut records = batches.collect::<Vec<_>>().concat();
        match kind {
            0 => noise,
            1 | 2 => {
                records.truncate(records.len().saturating_sub(torn));
                records
            }
            _ => records,
        }
    })
}

fn responses() -> impl Strategy<Value = (i16, Vec<Vec<u8>>)> {
    (4_i16..=17, prop::collection::vec(records(), 0..5))
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_every_shape_pass_byte_for_byte() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let mut pair = fake.connect(side.proxy.local()).await;
    let given = std::env::var("CUTLINE_TEST_SEED").ok();
    let seed: u64 = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    let bytes = [seed.to_le_bytes(); 4].concat();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let mut passed = side.metrics.to_app_bytes.get();
    let mut large = 0;
    for id in 2..CASES as i32 {
        let case = responses().new_tree(&mut runner).expect("a case");
        let (version, partitions) = case.current();
        let answers = [
            fetched(version, id, &partitions, false),
            // Small ones between them stay in order.
            frame(id + 1_000, b"and this too"),
        ];
        pair.fetch(version, id).await;
        pair.ask(&request(UNKNOWN, 0, id + 1_000)).await;
        let answers = answers.concat();
        large += usize::from(answers.len() > 128 * 1024);
        let heard = pair.pass(&answers).await;
        assert!(
            heard == answers,
            "case {id} in version {version}; again: CUTLINE_TEST_SEED={seed}"
        );
        passed += answers.len() as u64;
        assert_eq!(side.metrics.to_app_bytes.get(), passed, "bytes are counted");
    }
    assert!(large > CASES as usize / 4, "{large} were large");
    drop(pair);
    none_left(&side).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_at_another_address_does_not_lead_past_the_sidecar() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let mut pair = fake.connect(side.proxy.local()).await;
    for version in [16, 17] {
        let partitions = [batch(0, 3, MIB), batch(3, 3, 100), batch(6, 3, MIB)];
        let answer = fetched(version, 9, &partitions, true);
        pair.fetch(version, 9).await;
        let heard = pair.pass(&answer).await;
        let changed = answer.iter().zip(&heard).filter(|(sent, got)| sent != got);
        assert_eq!(changed.count(), 1, "the hint's tag, and nothing else");
        let mut heard = Bytes::from(heard).slice(4..);
        let header = FetchResponse::header_version(version);
        ResponseHeader::decode(&mut heard, header).expect("a header");
        let response = FetchResponse::decode(&mut heard, version).expect("a response");
        assert_eq!(response.node_endpoints, []);
        let records = response.responses[0].partitions.iter();
        let records: Vec<_> = records.filter_map(|part| part.records.clone()).collect();
        assert!(records == partitions);
    }
}

// A response without end, as far as an application that does not read is concerned.
const HUGE: usize = 96 * MIB;
// What sockets on the way may hold.
const ON_THE_WAY_MAX: usize = 48 * MIB;

// How much of `answer` the broker gets rid of while nobody reads.
async fn stuck(pair: &mut Pair, answer: &[u8]) -> usize {
    let mut sent = 0;
    let mut since = Instant::now();
    while sent < answer.len() && since.elapsed() < Duration::from_millis(700) {
        match pair
            .broker
            .try_write(&answer[sent..answer.len().min(sent + MIB)])
        {
            Ok(count) => {
                sent += count;
                since = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _room = timeout(Duration::from_millis(50), pair.broker.writable()).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_slows_the_broker_and_loses_nothing() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let mut pair = fake.connect(side.proxy.local()).await;
    let answer = fetched(12, 5, &[batch(0, 1, HUGE)], false);
    pair.fetch(12, 5).await;
    let sent = stuck(&mut pair, &answer).await;
    assert!(
        sent < ON_THE_WAY_MAX,
        "{sent} bytes were taken and not delivered"
    );
    let mut heard = vec![0; answer.len()];
    let rest = async {
        tokio::try_join!(
            pair.broker.write_all(&answer[sent..]),
            pair.app.read_exact(&mut heard)
        )
    };
    timeout(PATIENCE, rest)
        .await
        .expect("in time")
        .expect("it passes");
    assert!(heard == answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_the_middle_ends_both_sides() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let answer = fetched(12, 5, &[batch(0, 1, 8 * MIB)], false);
    let (half, rest) = answer.split_at(3 * MIB);

    let mut pair = fake.connect(side.proxy.local()).await;
    pair.fetch(12, 5).await;
    assert!(pair.pass(half).await == half);
    drop(pair.broker);
    let read = timeout(PATIENCE, pair.app.read(&mut [0; 1])).await;
    assert!(
        matches!(read.expect("in time"), Ok(0) | Err(_)),
        "the broker is gone"
    );
    none_left(&side).await;

    // The broker is heard to the end of what it answers, for nobody: what was sent before counts as sent.
    for shut_only in [true, false] {
        let mut pair = fake.connect(side.proxy.local()).await;
        pair.fetch(12, 5).await;
        pair.ask(&request(UNKNOWN, 0, 6)).await;
        assert!(pair.pass(half).await == half);
        let app = match shut_only {
            true => {
                pair.app.shutdown().await.expect("it is open");
                Some(pair.app)
            }
            false => {
                drop(pair.app);
                None
            }
        };
        let (mut broker, mut end) = (pair.broker, [0; 1]);
        let read = timeout(PATIENCE, broker.read(&mut end)).await;
        assert_eq!(
            read.expect("in time").expect("the end"),
            0,
            "nothing is asked any more"
        );
        assert_eq!(side.proxy.connections(), 1, "answers are owed");
        let owed = [rest, &frame(6, b"last")].concat();
        let taken = timeout(PATIENCE, broker.write_all(&owed)).await;
        taken.expect("in time").expect("it is read");
        drop(broker);
        let late = Instant::now();
        none_left(&side).await;
        assert!(
            late.elapsed() < Duration::from_secs(3),
            "the end of the frame was found"
        );
        drop(app);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_ends_a_response_that_nobody_reads() {
    let fake = Fake::start().await;
    let side = Side::plain(&fake.address());
    let mut pair = fake.connect(side.proxy.local()).await;
    let answer = fetched(12, 5, &[batch(0, 1, HUGE)], false);
    pair.fetch(12, 5).await;
    stuck(&mut pair, &answer).await;
    let broker = pair.broker;
    timeout(PATIENCE, async {
        let fenced = side.proxy.fence();
        drop(broker);
        fenced.await;
    })
    .await
    .expect("the fence falls");
    assert_eq!(side.proxy.connections(), 0);
    side.proxy.lift();
    let mut again = fake.connect(side.proxy.local()).await;
    again.fetch(12, 6).await;
    let answer = fetched(12, 6, &[batch(0, 1, 2 * MIB)], false);
    assert!(
        again.pass(&answer).await == answer,
        "what was in a pipe is gone"
    );
}
