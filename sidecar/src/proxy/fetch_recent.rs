//! What a client without fetch sessions asked for lately: it names everything anew each time, and says nothing of what it
//! has given up.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cutline_model::TopicPartition;
use cutline_protocol::ConnId;

use super::{
    decide::Decide,
    fetch_list::Part,
    fetch_session::{Held, Marks},
};

// A client that has not asked for a partition for so long reads it no more.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// Partitions of one connection's fetches without a session.
#[derive(Debug, Default)]
pub struct Recent {
    /// When each was asked for last, and what was heard of it.
    seen: BTreeMap<TopicPartition, (Instant, Option<Marks>)>,
    swept: Option<Instant>,
}

impl Recent {
    /// These are asked for now. The core is told of those that have not been for long.
    pub fn asked(&mut self, conn: ConnId, parts: &[Part], decide: &Decide) {
        let now = Instant::now();
        for partition in parts.iter().filter_map(|part| part.partition.as_ref()) {
            match self.seen.get_mut(partition) {
                Some((seen, _)) => *seen = now,
                None => {
                    self.seen.insert(partition.clone(), (now, None));
                }
            }
        }
        if self
            .swept
            .is_some_and(|swept| now.duration_since(swept) < STALE_AFTER)
        {
            return;
        }
        self.swept = Some(now);
        let is_stale = |seen: &Instant| now.duration_since(*seen) >= STALE_AFTER;
        let stale = self.seen.iter().filter(|(_, (seen, _))| is_stale(seen));
        let gone: Vec<TopicPartition> = stale.map(|(partition, _)| partition.clone()).collect();
        decide.forgotten(conn, gone.iter());
        self.seen.retain(|_, (seen, _)| !is_stale(seen));
    }

    /// This was heard of a partition.
    pub fn heard(&mut self, partition: &TopicPartition, marks: Marks) {
        if let Some((_, heard)) = self.seen.get_mut(partition) {
            *heard = Some(marks);
        }
    }

    /// What the application is told of a partition that is held.
    #[must_use]
    pub fn held(&self, part: &Part) -> Held {
        let seen = part
            .partition
            .as_ref()
            .and_then(|partition| self.seen.get(partition));
        Held {
            key: (part.want.topic.clone(), part.want.index),
            marks: seen.and_then(|(_, marks)| *marks).unwrap_or(part.marks),
        }
    }
}
