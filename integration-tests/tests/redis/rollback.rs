//! A service that counts what it reads into Redis is rolled back to exactly the prefix that the checkpoint says.

use std::{sync::Arc, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, Redis, RedisOptions, Sidecar, SidecarOptions, Topics, checkpoints,
    topics::unique_name, wait_for, wait_until,
};
use rdkafka::{
    ClientConfig, Message,
    consumer::{CommitMode, Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(60);

/// Counts each record and remembers its offset, then commits it.
fn count(bootstrap: String, topic: String, redis: Arc<Redis>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", &bootstrap)
            .set("group.id", "counter")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .create()
            .expect("settings are right");
        consumer
            .subscribe(&[&topic])
            .expect("a topic can be subscribed to");
        loop {
            let Ok(message) = consumer.recv().await else {
                continue;
            };
            let offset = message.offset().to_string();
            let script =
                "redis.call('SADD', 'app:seen', ARGV[1]) return redis.call('INCR', 'app:count')";
            redis.command(&["EVAL", script, "0", &offset]).await;
            // A commit that is refused is made up for by the next one.
            let _ = consumer.commit_message(&message, CommitMode::Sync);
        }
    })
}

async fn counted(redis: &Redis) -> (u64, u64) {
    let number = |text: String| text.parse().unwrap_or(0);
    let count = number(redis.command(&["GET", "app:count"]).await);
    (count, number(redis.command(&["SCARD", "app:seen"]).await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_in_redis_come_back_to_the_exact_prefix_and_go_on_from_it() {
    let kafka = Kafka::shared().await;
    let redis = Arc::new(Redis::start(&RedisOptions::default()).await);
    let deployment = unique_name("counts");
    let mut options = AdminOptions::over(&kafka.bootstrap());
    options.arguments = vec![
        "--deployment".into(),
        deployment.clone(),
        "--redis".into(),
        redis.url(),
    ];
    let admin = Admin::start(&options).await;
    let topic = Topics::of(&kafka.bootstrap()).create_unique("in", 1).await;
    let sidecar = Sidecar::start(&SidecarOptions {
        service: "counter".into(),
        deployment,
        admin: Some(admin.url()),
        state: vec![format!("{}/0?prefix=app:", redis.url())],
        ..SidecarOptions::transparent(&kafka.bootstrap())
    })
    .await;
    let feeding = tokio::spawn(feed(kafka.bootstrap(), topic.clone()));
    let application = count(sidecar.bootstrap(), topic.clone(), Arc::clone(&redis));
    checkpoints::wait_connected(&admin, 1).await;
    wait_until(SOON, "some to be counted", || async {
        counted(&redis).await.0 > 20
    })
    .await;

    let attempts = checkpoints::take(&admin, "aligned").await;
    let (epoch, taken) = attempts.into_iter().next_back().unwrap();
    assert_eq!(taken["status"], "COMPLETED", "{taken}");
    let prefix = position(&taken);
    wait_until(SOON, "more to be counted", || async {
        counted(&redis).await.0 > prefix + 20
    })
    .await;

    application.abort();
    let _ = application.await;
    for spoil in [
        &["SET", "app:count", "7"][..],
        &["SREM", "app:seen", "0"],
        &["SET", "app:more", "1"],
    ] {
        redis.command(spoil).await;
    }
    let (status, begun) = admin
        .post(
            "/v1/restores",
            &json!({ "epoch": epoch, "safety_checkpoint": false }),
        )
        .await;
    assert_eq!(status, 202, "{begun}");
    let path = format!("/v1/restores/{}", begun["id"].as_str().unwrap());
    let restored = wait_for(SOON, "the restore to have put state back", || async {
        let (_, restore) = admin.get(&path).await;
        assert!(
            restore["status"] != "FAILED" && restore["status"] != "ABORTED",
            "{restore}"
        );
        (restore["status"] == "COMPLETED").then_some(restore)
    })
    .await;
    assert_eq!(counted(&redis).await, (prefix, prefix), "{restored}");
    assert_eq!(redis.command(&["EXISTS", "app:more"]).await, "0");

    let application = count(sidecar.bootstrap(), topic.clone(), Arc::clone(&redis));
    let fed = feeding.await.unwrap();
    wait_until(SOON, "all to be counted", || async {
        counted(&redis).await.0 >= fed
    })
    .await;
    assert_eq!(counted(&redis).await, (fed, fed), "each once");
    application.abort();
    // Before the sidecar: its last commit is answered by then.
    let _ = application.await;
}

/// Produces from outside every sidecar; how many there were.
async fn feed(bootstrap: String, topic: String) -> u64 {
    const RECORDS: u64 = 400;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .create()
        .expect("settings are right");
    for at in 0..RECORDS {
        let payload = at.to_string();
        let record = FutureRecord::<(), str>::to(&topic).payload(&payload);
        producer
            .send(record, SOON)
            .await
            .expect("a record is taken");
        // A load spread over the test: checkpoint and rollback happen while records come.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    RECORDS
}

/// c of the one partition.
fn position(detail: &Value) -> u64 {
    let positions = &detail["processes"][0]["positions"];
    positions[0]["offset"]
        .as_u64()
        .unwrap_or_else(|| panic!("a position in {detail}"))
}
