//! A Kafka that starts, loses brokers and gets them back: the harness itself, and the raw client on it.

use std::time::Duration;

use cutline_model::{GroupId, Offset, TopicPartition};
use cutline_wire::client::{Client, ClientOptions};
use integration_tests::{Kafka, KafkaOptions, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(30);

async fn three_brokers() -> Kafka {
    Kafka::start(KafkaOptions {
        brokers: 3,
        heap_mib: 384,
        ..KafkaOptions::default()
    })
    .await
}

async fn is_missed(client: &Client, broker: i32) {
    wait_until(SOON, "the broker to be none any more", || async {
        let seen = client.refresh_metadata().await;
        seen.is_ok_and(|metadata| metadata.broker(broker).is_none())
    })
    .await;
}

#[tokio::test]
async fn a_shared_kafka_takes_topics() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("shared", 3).await;
    assert_eq!(kafka.topics().watermarks(&topic), vec![(0, 0); 3]);
    kafka.topics().delete(&topic).await;
}

#[tokio::test]
async fn three_brokers_survive_the_kill_of_one() {
    let mut kafka = three_brokers().await;
    let brokers: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    let client = Client::connect(&brokers, ClientOptions::default()).await;
    let client = client.expect("the cluster answers");
    kafka.broker(1).kill();
    // It may have been the controller: what is asked before there is another waits for the one that is gone.
    is_missed(&client, 2).await;
    let topic = kafka.topics().create_unique("two-of-three", 4).await;
    assert_eq!(kafka.topics().partitions(&topic), 4);
    kafka.broker(1).start_again();
    kafka.wait_ready().await;
}

/// Chaos seed 12: a sidecar had looked at the cluster while a broker was away, knew that one as its group's coordinator, and asked it for
/// ever, though it was back: no checkpoint and no restore could be taken any more.
#[tokio::test]
async fn a_coordinator_that_was_no_broker_for_a_moment_is_looked_for_again() {
    let mut kafka = three_brokers().await;
    let topic = kafka.topics().create_unique("committed", 1).await;
    let partitions = [TopicPartition::new(topic.as_str(), 0)];
    let brokers: Vec<String> = kafka.bootstrap().split(',').map(str::to_owned).collect();
    let client = Client::connect(&brokers, ClientOptions::default()).await;
    let client = client.expect("the cluster answers");
    let group = GroupId::from("g");
    let offsets = [(partitions[0].clone(), Offset(7))].into();
    client.commit(&group, &offsets).await.expect("it is taken");
    let coordinator = client.coordinator_of_group("g").await;
    let coordinator = coordinator.expect("there is one");

    let broker = usize::try_from(coordinator - 1).expect("counted from 1 up");
    kafka.broker(broker).kill();
    is_missed(&client, coordinator).await;
    // As a sidecar asks while it drains: again and again, and nobody looks at the brokers for it.
    let ask = || async { client.committed_on(&group, &partitions, true).await.ok() };
    let found = wait_for(SOON, "another coordinator to answer", ask).await;
    assert_eq!(found, offsets);
    kafka.broker(broker).start_again();
    kafka.wait_ready().await;
}
