//! Bytes that mean nothing close their own connection and harm nobody; what is unknown passes.

use std::time::Duration;

use integration_tests::Kafka;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::side::{PATIENCE, Side, client};

fn request(api_key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(((10 + body.len()) as i32).to_be_bytes());
    frame.extend(api_key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    frame
}

async fn is_closed_after(side: &Side, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(side.proxy.local())
        .await
        .expect("the proxy listens");
    // A peer that closes early may refuse the rest.
    let _written = stream.write_all(bytes).await;
    let mut answer = [0; 64];
    matches!(
        timeout(PATIENCE, stream.read(&mut answer)).await,
        Ok(Ok(0) | Err(_))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_close_their_connection_only() {
    let kafka = Kafka::shared().await;
    let side = Side::with_core(&kafka.bootstrap(), &[]);
    let steady = client(&side.bootstrap()).await;
    let huge_array = [&[0; 19][..], &[0x7f, 0xff, 0xff, 0xff]].concat();
    let bad: [Vec<u8>; 7] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        (-5_i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        vec![0, 0, 0, 4, 0, 1, 0, 4],
        request(1, 4, 1, &huge_array),
        request(
            0,
            3,
            2,
            &[0xff, 0xff, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff],
        ),
        request(11, 9, 3, &[0xff; 40]),
    ];
    for bytes in bad {
        assert!(is_closed_after(&side, &bytes).await, "{bytes:?}");
    }
    steady
        .refresh_metadata()
        .await
        .expect("others are not harmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn share_groups_are_refused() {
    let kafka = Kafka::shared().await;
    let side = Side::plain(&kafka.bootstrap());
    let through = client(&side.bootstrap()).await;
    let node = *through.metadata().brokers.keys().next().expect("a broker");
    let direct = client(&kafka.bootstrap()).await;
    type Share = kafka_protocol::messages::ShareFetchRequest;
    assert!(
        direct
            .supports::<Share>(node, 1)
            .await
            .expect("the broker answers")
    );
    assert!(
        !through
            .supports::<Share>(node, 1)
            .await
            .expect("the broker answers")
    );
    assert!(is_closed_after(&side, &request(78, 1, 1, &[0; 20])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_nobody_knows_passes_byte_for_byte() {
    let broker = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port is there");
    let address = broker.local_addr().expect("it listens").to_string();
    let side = Side::with_core(&address, &[]);
    let mut app = TcpStream::connect(side.proxy.local())
        .await
        .expect("the proxy listens");
    let sent = request(7_000, 42, 99, b"whatever this may be");
    app.write_all(&sent).await.expect("the proxy reads");
    // The proxy looks for the cluster on its own account too; the connection that brings our bytes is the one.
    let mut upstream = loop {
        let (mut stream, _) = timeout(PATIENCE, broker.accept())
            .await
            .expect("in time")
            .expect("a connection");
        let mut got = vec![0; sent.len()];
        let read = timeout(Duration::from_secs(2), stream.read_exact(&mut got)).await;
        if matches!(read, Ok(Ok(_))) && got == sent {
            break stream;
        }
    };
    let answer = [&[0, 0, 0, 9][..], &99_i32.to_be_bytes(), b"fine!"].concat();
    upstream.write_all(&answer).await.expect("the proxy reads");
    let mut got = vec![0; answer.len()];
    timeout(PATIENCE, app.read_exact(&mut got))
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(got, answer);
    drop(upstream);
    assert_eq!(
        app.read(&mut [0; 1]).await.unwrap_or(0),
        0,
        "a broker that is gone closes the application's connection"
    );
}
