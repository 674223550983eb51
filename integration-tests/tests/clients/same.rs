//! One client does one job twice, directly and through a sidecar, on three brokers: everything it says is the same, and right.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use integration_tests::{
    Kafka, KafkaOptions, Sidecar, SidecarOptions,
    kafka::VERSION_DEFAULT,
    topics::{Topics, unique_name},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    driver::{Client, Driver},
    matrix::groups,
    records::{
        PARTITIONS, assert_same, base64, by_partition, landing, of_codec, seen,
        without_null_headers,
    },
};

/// What a broker takes at most in the topic that refuses large records.
const SMALL_BYTES: &str = "10000";

static THREE: OnceCell<Kafka> = OnceCell::const_new();

/// Three brokers of the default version that all tests here share.
pub async fn three() -> &'static Kafka {
    THREE
        .get_or_init(|| Kafka::start(options(VERSION_DEFAULT)))
        .await
}

/// Three brokers of a version.
pub fn options(version: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: 3,
        version: version.into(),
        heap_mib: 384,
        ..KafkaOptions::default()
    }
}

/// Two drivers of one client, and which ports belong to whom.
pub struct Pair {
    kafka_ports: BTreeSet<u16>,
    topics: Topics,
    direct: Driver,
    through: Driver,
    _sidecar: Sidecar,
}

impl Pair {
    /// Starts both.
    pub async fn start(kafka: &Kafka, client: Client) -> Self {
        let sidecar = Sidecar::start(&SidecarOptions::transparent(&kafka.bootstrap())).await;
        Self {
            kafka_ports: (0..3).map(|at| kafka.port(at)).collect(),
            topics: kafka.topics(),
            direct: Driver::start(client, &kafka.bootstrap(), "direct").watched(),
            through: Driver::start(client, &sidecar.bootstrap(), "through").watched(),
            _sidecar: sidecar,
        }
    }

    /// Has both do the same, each with arguments of its own, at the same time.
    pub async fn ask(&mut self, what: &str, arguments: [Value; 2]) -> [Value; 2] {
        let began = Instant::now();
        let [direct, through] = arguments;
        let (direct, through) = tokio::join!(
            self.direct.ask(what, direct),
            self.through.ask(what, through)
        );
        eprintln!("{what}: {:?}", began.elapsed());
        [direct, through]
    }

    /// Has both do exactly the same; what both answer.
    pub async fn ask_same(&mut self, what: &str, arguments: Value) -> Value {
        let [direct, through] = self.ask(what, [arguments.clone(), arguments.clone()]).await;
        assert_eq!(through, direct, "{what} {arguments}");
        through
    }

    async fn topic(&self, name: &str, settings: &[(&str, &str)]) -> String {
        let name = unique_name(name);
        // The records are old: nothing may be thrown away for it.
        let settings = [&[("retention.ms", "-1")], settings].concat();
        self.topics.create_with(&name, PARTITIONS, &settings).await;
        name
    }

    async fn end(self) {
        let (direct, through) = (self.direct.end().await, self.through.end().await);
        assert!(
            direct.is_superset(&self.kafka_ports),
            "the watch sees connections: {direct:?}"
        );
        let past: Vec<_> = through.intersection(&self.kafka_ports).collect();
        assert!(past.is_empty(), "connections past the sidecar to {past:?}");
    }
}

fn texts(about: &Value, what: &str) -> Vec<String> {
    let texts = about[what].as_array().expect("a list");
    texts
        .iter()
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// Compares everything; what the client says of itself.
pub async fn compare(kafka: &Kafka, version: &str, client: Client) -> Value {
    let mut pair = Pair::start(kafka, client).await;
    let about = pair.ask_same("about", json!({})).await;
    cluster(&mut pair).await;
    let (topics, records) = produce(&mut pair, kafka, &about).await;
    let expected = seen(&records, &landing(&records));
    for topic in &topics {
        read(&mut pair, topic, &expected).await;
    }
    foreign(&mut pair, kafka).await;
    for protocol in groups(version, &about) {
        group(&mut pair, &protocol, &topics[1], &expected).await;
    }
    transact(&mut pair, &about).await;
    errors(&mut pair, kafka).await;
    pair.end().await;
    about
}

async fn cluster(pair: &mut Pair) {
    let [direct, through] = pair.ask("cluster", [json!({}), json!({})]).await;
    assert_eq!(direct["id"], through["id"]);
    let nodes = |answer: &Value| -> Vec<(i64, u16)> {
        serde_json::from_value(answer["nodes"].clone()).expect("pairs of id and port")
    };
    let ids = |answer: &Value| -> Vec<i64> { nodes(answer).iter().map(|node| node.0).collect() };
    assert_eq!(ids(&direct), ids(&through));
    for (node, port) in nodes(&through) {
        assert!(
            !pair.kafka_ports.contains(&port),
            "node {node} is named by its own port"
        );
    }
}

/// The records of a codec as the client is able to send them.
fn sendable(about: &Value, codec: &str) -> Vec<Value> {
    if about["null_headers"] == false {
        without_null_headers(of_codec(codec))
    } else {
        of_codec(codec)
    }
}

/// Produces with every codec to a topic for each way; the topics and the records of either.
async fn produce(pair: &mut Pair, kafka: &Kafka, about: &Value) -> ([String; 2], Vec<Value>) {
    let codecs = texts(about, "codecs");
    let topics = [
        pair.topic("direct", &[]).await,
        pair.topic("through", &[]).await,
    ];
    let mut records = Vec::new();
    for codec in &codecs {
        let sent = sendable(about, codec);
        let send = |topic: &String| json!({ "topic": topic, "codec": codec, "records": sent });
        let answers = pair
            .ask("produce", [send(&topics[0]), send(&topics[1])])
            .await;
        records.extend(sent);
        let landed = landing(&records);
        let fresh = &landed[landed.len() - of_codec(codec).len()..];
        for answer in answers {
            assert_eq!(answer.as_array().map(Vec::as_slice), Some(fresh), "{codec}");
        }
    }
    for topic in &topics {
        let used = crate::log::codecs(kafka, topic, PARTITIONS).await;
        let wanted: BTreeSet<String> = codecs.iter().cloned().collect();
        assert_eq!(used, wanted, "codecs of the batches in {topic}");
    }
    (topics, records)
}

async fn read(pair: &mut Pair, topic: &str, expected: &BTreeMap<i64, Vec<Value>>) {
    let enough: usize = expected.values().map(Vec::len).sum();
    let read = json!({ "topic": topic, "partitions": PARTITIONS, "enough": enough });
    let answers = pair.ask("read", [read.clone(), read]).await;
    for (way, answer) in ["direct", "through"].into_iter().zip(&answers) {
        assert_same(
            &format!("{topic} read {way}"),
            &by_partition(answer),
            expected,
        );
    }
}

/// Reads what another client wrote with every codec, headers without a value among it.
async fn foreign(pair: &mut Pair, kafka: &Kafka) {
    let topic = pair.topic("foreign", &[]).await;
    let mut writer = Driver::start(Client::Confluent, &kafka.bootstrap(), "writer");
    let mut records = Vec::new();
    for codec in ["zstd", "lz4", "snappy", "gzip", "none"] {
        let sent = of_codec(codec);
        writer
            .ask(
                "produce",
                json!({ "topic": topic, "codec": codec, "records": sent }),
            )
            .await;
        records.extend(sent);
    }
    read(pair, &topic, &seen(&records, &landing(&records))).await;
}

async fn group(pair: &mut Pair, protocol: &str, topic: &str, expected: &BTreeMap<i64, Vec<Value>>) {
    let enough: usize = expected.values().map(Vec::len).sum();
    let groups = [unique_name("direct"), unique_name("through")];
    let join = |group: &String| json!({ "topic": topic, "group": group, "protocol": protocol, "enough": enough });
    let answers = pair
        .ask("group", [join(&groups[0]), join(&groups[1])])
        .await;
    for (group, answer) in groups.iter().zip(&answers) {
        let what = format!("{protocol} group {group}");
        assert_same(&what, &by_partition(answer), expected);
        let ends: Vec<usize> = expected.values().map(Vec::len).collect();
        let asked = json!({ "topic": topic, "group": group, "partitions": PARTITIONS });
        let committed = pair.ask_same("committed", asked).await;
        assert_eq!(committed, json!(ends), "{what}");
    }
}

/// One transaction commits, one aborts; who reads what is committed sees the first only, at the same offsets.
async fn transact(pair: &mut Pair, about: &Value) {
    let topics = [
        pair.topic("direct-transactions", &[]).await,
        pair.topic("through-transactions", &[]).await,
    ];
    let records = sendable(about, "none");
    let send = |topic: &String| json!({ "topic": topic, "transactional_id": unique_name("id"), "records": records });
    let answers = pair
        .ask("transact", [send(&topics[0]), send(&topics[1])])
        .await;
    let landed = answers[0].as_array().expect("a list").clone();
    assert_eq!(answers[1], answers[0], "where transactions land");
    assert!(landed.iter().all(Value::is_array), "{landed:?}");
    let half = records.len() / 2;
    for topic in &topics {
        for (committed, count) in [(true, half), (false, records.len())] {
            let read = json!({ "topic": topic, "partitions": PARTITIONS, "enough": count, "committed": committed });
            for answer in pair.ask("read", [read.clone(), read]).await {
                let expected = seen(&records[..count], &landed[..count]);
                let what = format!("{topic}, committed {committed}");
                assert_same(&what, &by_partition(&answer), &expected);
            }
        }
    }
}

/// Unknown topics, records too large, offsets that are not there.
async fn errors(pair: &mut Pair, kafka: &Kafka) {
    let small = pair
        .topic("small", &[("max.message.bytes", SMALL_BYTES)])
        .await;
    let trimmed = pair.topic("trimmed", &[]).await;
    let fill = json!({ "topic": trimmed, "codec": "none", "records": of_codec("none") });
    let mut writer = Driver::start(Client::Confluent, &kafka.bootstrap(), "writer");
    writer.ask("produce", fill).await;
    crate::log::trim(kafka, &trimmed, 0, 5).await;
    // Random, so that no codec makes it small.
    let large: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
    let asked = json!({ "unknown": unique_name("unknown"), "small": small, "trimmed": trimmed, "large": base64(&large) });
    let answers = pair.ask_same("errors", asked).await;
    eprintln!("{answers}");
    for refused in [
        "produce_unknown",
        "produce_large",
        "produce_too_large_for_client",
    ] {
        assert!(answers[refused].is_string(), "{refused}: {answers}");
    }
    assert_eq!(answers["reset_earliest"], 5, "{answers}");
    assert_eq!(answers["reset_latest"], "nothing", "{answers}");
}

macro_rules! each_client {
    ($($name:ident: $client:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            compare(three().await, VERSION_DEFAULT, Client::$client).await;
        }
    )*};
}

each_client! {
    java_does_the_same_as_directly: Java,
    java_of_the_oldest_line_does_the_same_as_directly: JavaOldest,
    librdkafka_does_the_same_as_directly: Confluent,
    franz_go_does_the_same_as_directly: Franz,
    aiokafka_does_the_same_as_directly: Aiokafka,
    kafka_python_does_the_same_as_directly: KafkaPython
}
