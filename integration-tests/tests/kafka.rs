//! The harness itself: a Kafka that starts, loses brokers and gets them back.

use integration_tests::{Kafka, KafkaOptions};

#[tokio::test]
async fn a_shared_kafka_takes_topics() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("shared", 3).await;
    assert_eq!(kafka.topics().watermarks(&topic), vec![(0, 0); 3]);
    kafka.topics().delete(&topic).await;
}

#[tokio::test]
async fn three_brokers_survive_the_kill_of_one() {
    let mut kafka = Kafka::start(KafkaOptions {
        brokers: 3,
        heap_mib: 384,
        ..KafkaOptions::default()
    })
    .await;
    kafka.broker(1).kill();
    let topic = kafka.topics().create_unique("two-of-three", 4).await;
    assert_eq!(kafka.topics().partitions(&topic), 4);
    kafka.broker(1).start_again();
    kafka.wait_ready().await;
}
