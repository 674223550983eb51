//! How old the record at a position is, read from the header of its batch: needed where a checkpoint left a backlog.
//!
//! A header never changes, so each is read once; so many in one look and no more, those of the newest checkpoints first.

use std::collections::BTreeMap;

use cutline_model::{Epoch, Offset, TopicPartition};
use cutline_wire::{
    batch::batches,
    client::{Client, ClientError},
};

use super::{log::Logs, need::Need};

/// Positions read in one look.
const READS_MAX: usize = 1_000;
/// Positions in one question; an answer has at most 16 MiB of each leader.
const READS_ASKED: usize = 100;

/// Reads what is not known yet.
///
/// # Errors
/// When Kafka does not answer.
pub async fn read(
    kafka: &Client,
    logs: &Logs,
    needs: &mut BTreeMap<Epoch, Need>,
) -> Result<(), ClientError> {
    let wanted = wanted(logs, needs);
    let mut found: BTreeMap<(TopicPartition, Offset), i64> = BTreeMap::new();
    // A partition is in one question once; the same one at another offset is in another.
    for question in questions(wanted) {
        let answer = kafka
            .retrying(|client| {
                let question = &question;
                async move { client.fetch_many(question, 0, false).await }
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            // What retention removed while it was asked for is seen in the next look.
            Err(error) if !error.is_retryable() => {
                tracing::debug!(%error, "ages of records were not read");
                continue;
            }
            Err(error) => return Err(error),
        };
        for (partition, fetched) in answer {
            let from = question[&partition];
            let first = batches(&fetched.records).find(|batch| batch.last_offset >= from);
            // One that had no room in the answer is asked for again in the next look.
            if let Some(batch) = first.filter(|batch| batch.max_timestamp >= 0) {
                found.insert((partition, from), batch.max_timestamp);
            }
        }
    }
    for need in needs.values_mut() {
        let topics = std::mem::take(&mut need.topics);
        for position in need.positions.iter_mut().filter(|p| p.since_ms.is_none()) {
            let name = topics[position.topic].0.clone();
            let at = (
                TopicPartition::new(name, position.partition),
                position.offset,
            );
            position.since_ms = found.get(&at).copied();
        }
        need.topics = topics;
    }
    Ok(())
}

/// Positions of unknown age in topics that remove by age, newest checkpoints first.
fn wanted(logs: &Logs, needs: &BTreeMap<Epoch, Need>) -> Vec<(TopicPartition, Offset)> {
    let unknown = needs.values().rev().flat_map(|need| {
        let positions = need.positions.iter();
        positions
            .filter(|position| position.since_ms.is_none())
            .map(|position| (need.partition(position), position.offset))
    });
    let mut wanted: Vec<(TopicPartition, Offset)> = unknown
        .filter(|(partition, offset)| {
            let config = logs.configs.get(&partition.topic);
            let ages = config.is_some_and(|c| c.deleted && c.retention_ms.is_some());
            let log = logs.partitions.get(partition);
            ages && log.is_some_and(|log| log.start <= *offset && *offset < log.end)
        })
        .take(READS_MAX)
        .collect();
    wanted.sort();
    wanted.dedup();
    wanted
}

fn questions(wanted: Vec<(TopicPartition, Offset)>) -> Vec<BTreeMap<TopicPartition, Offset>> {
    let mut questions: Vec<BTreeMap<TopicPartition, Offset>> = Vec::new();
    for (partition, offset) in wanted {
        let has_room = |question: &BTreeMap<TopicPartition, Offset>| {
            question.len() < READS_ASKED && !question.contains_key(&partition)
        };
        match questions.iter().position(has_room) {
            Some(at) => {
                questions[at].insert(partition, offset);
            }
            None => questions.push(BTreeMap::from([(partition, offset)])),
        }
    }
    questions
}
