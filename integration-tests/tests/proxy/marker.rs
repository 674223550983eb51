//! Markers on a real Kafka: where they stand, what is not one, and who does not see them.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, TopicPartition};
use cutline_wire::{
    batch::{Control, batches},
    client::Spot,
    marker::{MarkerWriter, locate},
};
use integration_tests::{Kafka, topics::unique_name};

use super::side::{client, produce, producer, read_exactly, reader};

fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|index| TopicPartition::new(topic, index))
        .collect()
}

fn from_start(partitions: &[TopicPartition]) -> BTreeMap<TopicPartition, Offset> {
    partitions
        .iter()
        .map(|partition| (partition.clone(), Offset(0)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_marks_many_partitions_and_no_client_sees_it() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("many", 64).await;
    let all = partitions(&topic, 64);
    let client = client(&kafka.bootstrap()).await;
    let feeder = producer(&kafka.bootstrap(), &[]);
    produce(&feeder, &all[7], ["before".to_owned()].into_iter()).await;
    let mut writer = MarkerWriter::new(client.clone(), unique_name("marker"));
    let pair = writer.init().await.expect("the id is free");
    assert_eq!(
        writer
            .write(&all)
            .await
            .expect("the markers are taken")
            .pair,
        pair
    );
    let next = writer.settle().await.expect("the markers are written");
    assert!(next.producer_epoch > pair.producer_epoch || next.producer_id != pair.producer_id);
    let found = locate(&client, pair, &from_start(&all))
        .await
        .expect("every partition has one");
    assert_eq!(found.len(), 64);
    assert_eq!((found[&all[7]], found[&all[8]]), (Offset(1), Offset(0)));
    produce(&feeder, &all[7], ["after".to_owned()].into_iter()).await;
    for isolation in ["read_committed", "read_uncommitted"] {
        let consumer = reader(&kafka.bootstrap(), &all, &[("isolation.level", isolation)]);
        let (_, seen) = read_exactly(consumer, 2).await;
        assert_eq!(
            seen.iter().map(|record| record.offset).collect::<Vec<_>>(),
            [0, 2]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_while_partitions_are_marked_is_marked_with_them() {
    let kafka = Kafka::shared().await;
    let there = kafka.topics().create_unique("there", 1).await;
    let made = unique_name("made");
    let all = [partitions(&there, 1), partitions(&made, 1)].concat();
    let client = client(&kafka.bootstrap()).await;
    let mut writer = MarkerWriter::new(client.clone(), unique_name("marker"));
    let pair = writer.init().await.expect("the id is free");
    let topics = kafka.topics();
    let (written, ()) = tokio::join!(writer.write(&all), topics.create(&made, 1));
    written.expect("the markers are taken");
    writer.settle().await.expect("the markers are written");
    let found = locate(&client, pair, &from_start(&all)).await;
    assert_eq!(found.expect("every partition has one").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_the_one_that_is_named() {
    let kafka = Kafka::shared().await;
    let there = kafka.topics().create_unique("there", 1).await;
    let gone = unique_name("gone");
    let all = [partitions(&there, 1), partitions(&gone, 1)].concat();
    let client = client(&kafka.bootstrap()).await;
    let mut writer = MarkerWriter::new(client, unique_name("marker"));
    writer.init().await.expect("the id is free");
    let error = writer.write(&all).await.unwrap_err().to_string();
    assert!(error.contains(&gone), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_after_settling_stands_above_the_marker() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("gate", 4).await;
    let all = partitions(&topic, 4);
    let client = client(&kafka.bootstrap()).await;
    let feeder = producer(&kafka.bootstrap(), &[("linger.ms", "0")]);
    let mut writer = MarkerWriter::new(client.clone(), unique_name("marker"));
    writer.init().await.expect("the id is free");
    for round in 0..50 {
        let ends = client
            .list_offsets(&all, Spot::End)
            .await
            .expect("the ends are told");
        let pair = writer
            .write(&all)
            .await
            .expect("the markers are taken")
            .pair;
        writer.settle().await.expect("the markers are written");
        for partition in &all {
            produce(&feeder, partition, [format!("{round}")].into_iter()).await;
        }
        let from = ends
            .iter()
            .map(|(partition, end)| (partition.clone(), end.offset))
            .collect();
        let found = locate(&client, pair, &from)
            .await
            .expect("every partition has one");
        // Nothing else is written: the marker is the first thing after the old end.
        assert_eq!(found, from, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_died_before_committing_leaves_no_marker() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("dead", 1).await;
    let all = partitions(&topic, 1);
    let client = client(&kafka.bootstrap()).await;
    let id = unique_name("marker");
    let mut dying = MarkerWriter::new(client.clone(), id.as_str());
    let pair = dying.init().await.expect("the id is free");
    dying.open(&all).await.expect("the transaction is opened");
    drop(dying);
    let mut heir = MarkerWriter::new(client.clone(), id.as_str());
    let fresh = heir.init().await.expect("what was open is aborted");
    assert!(locate(&client, pair, &from_start(&all)).await.is_err());
    let fetched = client
        .fetch(&all[0], Offset(0), 1_000)
        .await
        .expect("the log can be read");
    let controls: Vec<_> = batches(&fetched.records)
        .map(|batch| batch.control)
        .collect();
    assert_eq!(controls, [Some(Control::Abort)]);
    heir.write(&all).await.expect("the markers are taken");
    heir.settle().await.expect("the markers are written");
    let found = locate(&client, fresh, &from_start(&all))
        .await
        .expect("it has one");
    assert_eq!(found[&all[0]], Offset(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_topics_take_markers() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("compacted");
    kafka
        .topics()
        .create_with(&topic, 1, &[("cleanup.policy", "compact")])
        .await;
    let all = partitions(&topic, 1);
    let client = client(&kafka.bootstrap()).await;
    let configs = client
        .topic_configs(&[topic.as_str().into()])
        .await
        .expect("it is described");
    assert!(configs[&topic.as_str().into()].compacted);
    let mut writer = MarkerWriter::new(client.clone(), unique_name("marker"));
    let pair = writer.init().await.expect("the id is free");
    writer.write(&all).await.expect("the markers are taken");
    writer.settle().await.expect("the markers are written");
    locate(&client, pair, &from_start(&all))
        .await
        .expect("it has one");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_an_empty_group_are_committed_read_back_and_deleted() {
    let kafka = Kafka::shared().await;
    let topic = kafka.topics().create_unique("offsets", 2).await;
    let all = partitions(&topic, 2);
    let client = client(&kafka.bootstrap()).await;
    let group = unique_name("group").as_str().into();
    let offsets: BTreeMap<_, _> = all.iter().cloned().zip([Offset(5), Offset(7)]).collect();
    client
        .commit(&group, &offsets)
        .await
        .expect("nobody is in the group");
    assert_eq!(
        client.committed(&group, true).await.expect("they are told"),
        offsets
    );
    client
        .delete_committed(&group, &all[..1])
        .await
        .expect("nobody is in the group");
    let left = client
        .committed_on(&group, &all, true)
        .await
        .expect("they are told");
    assert_eq!(left, BTreeMap::from([(all[1].clone(), Offset(7))]));
    let state = client
        .describe_group(&group)
        .await
        .expect("it is described");
    assert!(state.is_empty() && state.is_settled());
    let known: BTreeSet<_> = client.list_groups().await.expect("they are listed");
    assert!(known.contains(&group));
}
