//! Topics that change while an epoch is open: it fails with a reason or takes the change in, and the next one completes.
//!
//! An epoch is kept open by a service whose hook takes its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use integration_tests::{Sidecar, checkpoints, wait_until};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::world::{FLOW_DEADLINE, Options, World};

const LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// A hook that answers `pause` when it is told to.
struct SlowHook {
    url: String,
    asked: Arc<AtomicBool>,
    answers: Arc<AtomicBool>,
}

impl SlowHook {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let hook = Self {
            url,
            asked: Arc::clone(&asked),
            answers: Arc::clone(&answers),
        };
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    // One request comes in one piece, and is the only one of its connection.
                    let read = socket.read(&mut request).await.unwrap_or(0);
                    let is_pause = request[..read].starts_with(b"POST /cutline/pause");
                    if is_pause {
                        asked.store(true, Ordering::Relaxed);
                        while !answers.load(Ordering::Relaxed) {
                            tokio::time::sleep(LOOK).await;
                        }
                    }
                    let body = if is_pause {
                        r#"{"positions":{}}"#
                    } else {
                        r#"{"lease_held":true}"#
                    };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    // Whoever gave up waiting needs no answer.
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
        hook
    }
}

/// A world in which an epoch is open while `change` happens; every attempt, the last of them last.
async fn changed(
    world: &World,
    hook: &SlowHook,
    change: impl AsyncFnOnce(),
) -> checkpoints::Attempts {
    hook.answers.store(false, Ordering::Relaxed);
    hook.asked.store(false, Ordering::Relaxed);
    let request = json!({ "mode": "unaligned" });
    let (status, accepted) = world.admin.post("/v1/checkpoints", &request).await;
    assert_eq!(status, 202, "{accepted}");
    wait_until(FLOW_DEADLINE, "the epoch to be open", || async {
        hook.asked.load(Ordering::Relaxed)
    })
    .await;
    change().await;
    hook.answers.store(true, Ordering::Relaxed);
    checkpoints::follow(&world.admin, &accepted).await
}

async fn hooked(world: &World) -> (SlowHook, Sidecar) {
    let hook = SlowHook::start().await;
    let mut options = world.sidecar_options("h", "0");
    options.capture = Some(format!("hook={}", hook.url));
    let sidecar = Sidecar::start(&options).await;
    wait_until(FLOW_DEADLINE, "its sidecar to be connected", || async {
        let (_, all) = world.admin.get("/v1/sidecars").await;
        let all = all.as_array().cloned().unwrap_or_default();
        all.len() == 3 && all.iter().all(|one| one["state"] == "connected")
    })
    .await;
    (hook, sidecar)
}

fn last(attempts: &checkpoints::Attempts) -> &Value {
    attempts.values().next_back().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_while_an_epoch_is_open_are_part_of_it_or_of_the_next() {
    let flags = ["--drain-timeout", "6s", "--max-pause", "12s"];
    let options = Options {
        flags: flags.map(str::to_owned).into(),
        ..Options::default()
    };
    let world = World::start(options).await;
    let (hook, _sidecar) = hooked(&world).await;
    let mid = world.topic("mid");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.a[0].sidecar.bootstrap())
        .set("topic.metadata.refresh.interval.ms", "200")
        .create()
        .unwrap();
    let attempts = changed(&world, &hook, async || {
        world.kafka.topics().grow(&mid, 3).await;
        // The first that anyone writes there comes before the end of the epoch.
        tokio::task::block_in_place(|| {
            let record = BaseRecord::<[u8], [u8]>::to(&mid)
                .partition(2)
                .payload(b"new");
            let mut sent = producer.send(record);
            while let Err((_, again)) = sent {
                producer.poll(LOOK);
                sent = producer.send(again);
            }
            producer.flush(LIMIT).unwrap();
        });
    })
    .await;
    let detail = last(&attempts);
    assert_eq!(detail["status"], "COMPLETED", "{attempts:?}");
    let ends = detail["ends"].as_array().unwrap();
    let end = ends
        .iter()
        .find(|end| end["topic"] == mid && end["partition"] == 2);
    assert!(end.is_some(), "{detail}");
    let epoch = detail["epoch"].clone();
    world.wait_for_flow(100).await;
    world.restore(&json!({ "epoch": epoch })).await;
    world.wait_for_flow(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_while_an_epoch_is_open_fails_it_and_not_the_next() {
    let longer = ["--drain-timeout", "6s", "--max-pause", "12s"];
    let flags = [&longer[..], &["--checkpoint-retries", "0"]].concat();
    let options = Options {
        flags: flags.into_iter().map(str::to_owned).collect(),
        ..Options::default()
    };
    let world = World::start(options).await;
    let (hook, _sidecar) = hooked(&world).await;
    let side = world.topic("side");
    world.kafka.topics().create(&side, 1).await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", world.a[0].sidecar.bootstrap())
        .create()
        .unwrap();
    let record = BaseRecord::<[u8], [u8]>::to(&side)
        .partition(0)
        .payload(b"x");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    tokio::task::block_in_place(|| producer.flush(LIMIT).unwrap());
    let attempts = changed(&world, &hook, async || {
        world.kafka.topics().delete(&side).await;
        world.kafka.topics().create(&side, 1).await;
    })
    .await;
    let detail = last(&attempts);
    assert_eq!(detail["status"], "FAILED", "{detail}");
    let reason = detail["reason"].as_str().unwrap();
    assert!(
        reason.contains(&side) && reason.contains("made again"),
        "{reason}"
    );
    hook.answers.store(true, Ordering::Relaxed);
    world.checkpoint("aligned").await;
}
