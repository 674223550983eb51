//! How far behind each group is: committed offsets against the ends of their partitions, for people to look at.
//!
//! It promises a bounded cost however often it is asked: one look serves everyone for [`FRESH_FOR`], in one question per
//! group and one per broker, and a look that takes longer than [`LOOK_MAX`] is given up and told as such. No decision
//! of a checkpoint or a restore is made by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_client::{GroupLag, PartitionLag};
use cutline_model::{GroupId, Offset, TopicPartition};
use cutline_wire::client::{Client, ClientError, Spot};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{sync::Mutex, time::Instant};

/// For how long what was seen is shown again.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// How long a look may take: a partition without a leader must not keep people from seeing everything else.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// Groups asked about at the same time.
const QUESTIONS_MAX: usize = 16;

/// What was seen, or why nothing was.
pub type Seen = Result<Vec<GroupLag>, String>;

/// What was seen last. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lags(Arc<Mutex<Option<Look>>>);

#[derive(Debug)]
struct Look {
    at: Instant,
    groups: BTreeSet<GroupId>,
    seen: Arc<Seen>,
}

impl Lags {
    /// How far behind `groups` are. Who asks while somebody looks waits for what they see.
    pub async fn of(&self, kafka: &Client, groups: BTreeSet<GroupId>) -> Arc<Seen> {
        let mut last = self.0.lock().await;
        if let Some(look) = last.as_ref()
            && look.at.elapsed() < FRESH_FOR
            && look.groups == groups
        {
            return Arc::clone(&look.seen);
        }
        let seen = match tokio::time::timeout(LOOK_MAX, look(kafka, &groups)).await {
            Ok(Ok(lags)) => Ok(lags),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("Kafka took longer than {LOOK_MAX:?} to tell")),
        };
        let seen = Arc::new(seen);
        *last = Some(Look {
            at: Instant::now(),
            groups,
            seen: Arc::clone(&seen),
        });
        seen
    }
}

async fn look(kafka: &Client, groups: &BTreeSet<GroupId>) -> Result<Vec<GroupLag>, ClientError> {
    let committed: Vec<(GroupId, BTreeMap<TopicPartition, Offset>)> =
        stream::iter(groups.iter().cloned())
            .map(|group| async move {
                let committed = kafka.committed(&group, false).await?;
                Ok::<_, ClientError>((group, committed))
            })
            .buffered(QUESTIONS_MAX)
            .try_collect()
            .await?;
    let metadata = kafka.metadata();
    let known: BTreeSet<TopicPartition> = committed
        .iter()
        .flat_map(|(_, committed)| committed.keys())
        // Offsets outlive the topics they are of.
        .filter(|partition| metadata.leader_of(partition).is_ok())
        .cloned()
        .collect();
    let known: Vec<TopicPartition> = known.into_iter().collect();
    let ends = if known.is_empty() {
        BTreeMap::new()
    } else {
        kafka.list_offsets(&known, Spot::End).await?
    };
    let ends: BTreeMap<TopicPartition, Offset> = ends
        .into_iter()
        .map(|(partition, listed)| (partition, listed.offset))
        .collect();
    let lag = |(group, committed)| group_lag(group, committed, &ends);
    Ok(committed.into_iter().map(lag).collect())
}

fn group_lag(
    group: GroupId,
    committed: BTreeMap<TopicPartition, Offset>,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> GroupLag {
    let partitions: Vec<PartitionLag> = committed
        .into_iter()
        .filter_map(|(partition, committed)| {
            let end = ends.get(&partition)?.0;
            Some(PartitionLag {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                committed: committed.0,
                end,
                // A commit that came after the end was listed is no lag.
                lag: u64::try_from(end.saturating_sub(committed.0)).unwrap_or(0),
            })
        })
        .collect();
    GroupLag {
        group: group.to_string(),
        lag: partitions.iter().map(|partition| partition.lag).sum(),
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_lies_between_commit_and_end_and_never_less_than_nothing() {
        let at = |partition| TopicPartition::new("t", partition);
        let committed = [(0, 5), (1, 9), (2, 1)];
        let committed = committed.map(|(partition, offset)| (at(partition), Offset(offset)));
        // Partition 1 was committed after its end was listed; partition 2 is gone.
        let ends = BTreeMap::from([(at(0), Offset(12)), (at(1), Offset(8))]);
        let lag = group_lag("g".into(), committed.into(), &ends);
        assert_eq!((lag.lag, lag.partitions.len()), (7, 2));
        assert_eq!(lag.partitions[1].lag, 0);
    }
}
