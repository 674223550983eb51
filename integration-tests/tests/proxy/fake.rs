//! A broker that says what it is told, byte for byte, and an application that reads bytes.
//!
//! The proxy asks brokers on its own account too, on connections of its own: those are never answered.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        FetchResponse, ResponseHeader, TopicName,
        fetch_response::{FetchableTopicResponse, NodeEndpoint, PartitionData},
    },
    protocol::{Encodable, HeaderVersion, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    time::timeout,
};
use uuid::Uuid;

use super::side::PATIENCE;

const FETCH: i16 = 1;
/// An API that nobody knows.
pub const UNKNOWN: i16 = 7_000;
const HIGH_WATERMARK: i64 = 1 << 40;

/// Where a broker would be.
pub struct Fake {
    listener: TcpListener,
}

/// An application's connection and the broker's end of it.
pub struct Pair {
    pub app: TcpStream,
    pub broker: TcpStream,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self {
            listener: listener.expect("a free port is there"),
        }
    }

    pub fn address(&self) -> String {
        let address = self.listener.local_addr().expect("it listens");
        address.to_string()
    }

    /// Connects an application through the proxy at `proxy`.
    pub async fn connect(&self, proxy: impl ToSocketAddrs) -> Pair {
        let app = TcpStream::connect(proxy).await;
        let mut app = app.expect("the proxy listens");
        let hello = request(UNKNOWN, 42, 1);
        app.write_all(&hello).await.expect("the proxy reads");
        loop {
            let accepted = timeout(PATIENCE, self.listener.accept()).await;
            let (mut broker, _) = accepted.expect("in time").expect("a connection");
            let mut got = vec![0; hello.len()];
            let read = timeout(PATIENCE, broker.read_exact(&mut got)).await;
            if matches!(read, Ok(Ok(_))) && got == hello {
                let mut pair = Pair { app, broker };
                pair.say(&frame(1, b"hello")).await;
                assert_eq!(pair.hear(13).await, frame(1, b"hello"));
                return pair;
            }
        }
    }
}

impl Pair {
    /// The application asks to fetch; the broker has heard it.
    pub async fn fetch(&mut self, version: i16, id: i32) {
        self.ask(&request(FETCH, version, id)).await;
    }

    /// The application sends a request; the broker has heard it.
    pub async fn ask(&mut self, request: &[u8]) {
        let mut got = vec![0; request.len()];
        let both = async {
            tokio::try_join!(
                self.app.write_all(request),
                self.broker.read_exact(&mut got)
            )
        };
        let asked = timeout(PATIENCE, both).await;
        asked.expect("in time").expect("the request comes");
        assert!(got == request);
    }

    /// The broker sends `bytes`.
    pub async fn say(&mut self, bytes: &[u8]) {
        let said = timeout(PATIENCE, self.broker.write_all(bytes)).await;
        said.expect("in time").expect("the proxy reads");
    }

    /// The next bytes that the application gets.
    pub async fn hear(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        let read = timeout(PATIENCE, self.app.read_exact(&mut heard)).await;
        read.expect("in time").expect("the answer comes");
        heard
    }

    /// The broker sends `bytes` while the application reads as many.
    pub async fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut heard = vec![0; bytes.len()];
        let both = async {
            tokio::try_join!(
                self.broker.write_all(bytes),
                self.app.read_exact(&mut heard)
            )
        };
        let passed = timeout(PATIENCE, both).await;
        passed.expect("in time").expect("it passes");
        heard
    }

    /// True when the application's connection ends now, without another byte.
    pub async fn is_over(&mut self) -> bool {
        let read = timeout(PATIENCE, self.app.read(&mut [0; 1])).await;
        matches!(read.expect("in time"), Ok(0) | Err(_))
    }
}

/// A request with nothing in it.
pub fn request(api_key: i16, version: i16, id: i32) -> Vec<u8> {
    large_request(api_key, version, id, 0)
}

/// A request with `bytes` bytes in it.
pub fn large_request(api_key: i16, version: i16, id: i32, bytes: usize) -> Vec<u8> {
    let (content, size) = (bytes, u32::try_from(bytes + 10).expect("a request"));
    let mut bytes = Vec::new();
    bytes.extend(size.to_be_bytes());
    bytes.extend(api_key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.resize(bytes.len() + content, 7);
    bytes
}

/// An answer that nobody reads on the way.
pub fn frame(id: i32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len() + 4).expect("a frame");
    [&size.to_be_bytes()[..], &id.to_be_bytes(), payload].concat()
}

/// What looks like a batch of `records` records and is `bytes` long, header included.
pub fn batch(base: i64, records: i32, bytes: usize) -> Vec<u8> {
    let mut batch = Vec::with_capacity(bytes);
    batch.extend(base.to_be_bytes());
    batch.extend(u32::try_from(bytes - 12).expect("a batch").to_be_bytes());
    batch.extend([0; 4]);
    batch.push(2);
    batch.extend([0; 6]);
    batch.extend((records - 1).to_be_bytes());
    batch.extend([0; 16]);
    batch.extend([0xff; 14]);
    batch.extend(records.to_be_bytes());
    batch.extend((batch.len()..bytes).map(|at| (at * 31 % 251) as u8));
    batch
}

/// A Fetch response: the records of each partition of topic `topic`, and whether it names a leader's address.
pub fn fetched(version: i16, id: i32, partitions: &[Vec<u8>], hint: bool) -> Vec<u8> {
    let partitions = partitions.iter().zip(0..).map(|(records, index)| {
        PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(HIGH_WATERMARK)
            .with_aborted_transactions(None)
            .with_records(Some(Bytes::copy_from_slice(records)))
    });
    let mut topic = FetchableTopicResponse::default().with_partitions(partitions.collect());
    if version >= 13 {
        topic.topic_id = Uuid::from_u128(7);
    } else {
        topic.topic = TopicName::from(StrBytes::from_static_str("topic"));
    }
    let mut response = FetchResponse::default().with_responses(vec![topic]);
    if hint {
        let node = NodeEndpoint::default()
            .with_node_id(3.into())
            .with_host(StrBytes::from_static_str("a-broker-elsewhere"))
            .with_port(9_092);
        response.node_endpoints = vec![node];
    }
    let mut bytes = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(id)
        .encode(&mut bytes, FetchResponse::header_version(version))
        .expect("a header");
    response.encode(&mut bytes, version).expect("a response");
    frame(id, &bytes[4..])
}
