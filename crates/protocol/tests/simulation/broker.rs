//! A model Kafka: logs of batches with high watermarks, groups with committed offsets, marker transactions.
//!
//! It appends, answers and forgets nothing. It knows no sidecar, no epoch and no time: when something lands is the world's
//! business.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{GroupId, MarkerId, Offset, OffsetRange, TopicName, TopicPartition};
use cutline_protocol::{Batch, Control};

use super::ledger::Rec;

/// What a batch is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Records of one writer.
    Data {
        /// The instance that wrote it.
        writer: usize,
        /// Its service.
        service: usize,
        /// The records.
        records: Vec<Rec>,
    },
    /// A transaction's end.
    Control {
        /// Whose.
        marker: MarkerId,
        /// COMMIT rather than ABORT.
        commit: bool,
    },
}

/// A batch in a log.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Its first offset.
    pub base: i64,
    /// Its last offset.
    pub last: i64,
    /// What it is.
    pub kind: Kind,
}

impl LogBatch {
    /// Its offsets.
    pub fn span(&self) -> OffsetRange {
        OffsetRange::new(Offset(self.base), Offset(self.last + 1))
    }

    /// What a header scan shows of it.
    pub fn header(&self, complete: bool) -> Batch {
        let (producer, control) = match &self.kind {
            Kind::Data { writer, .. } => (business_producer(*writer), None),
            Kind::Control {
                marker,
                commit: true,
            } => (*marker, Some(Control::Commit)),
            Kind::Control {
                marker,
                commit: false,
            } => (*marker, Some(Control::Abort)),
        };
        Batch {
            base: Offset(self.base),
            last: Offset(self.last),
            records: i32::try_from(self.last - self.base + 1).expect("batches are small"),
            producer: Some(producer),
            transactional: control.is_some(),
            control,
            complete,
        }
    }
}

/// The producer id of an instance's application, apart from every marker's.
fn business_producer(writer: usize) -> MarkerId {
    MarkerId {
        producer_id: 1_000_000 + i64::try_from(writer).expect("few writers"),
        producer_epoch: 0,
    }
}

/// One partition.
#[derive(Debug)]
pub struct Log {
    /// Its name.
    pub name: TopicPartition,
    /// False until somebody produces to a topic made by its first Produce.
    pub exists: bool,
    /// What was appended.
    pub batches: Vec<LogBatch>,
    /// The high watermark.
    pub high: i64,
    landed: BTreeMap<Rec, OffsetRange>,
}

impl Log {
    /// One past the last offset.
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.last + 1)
    }

    fn push(&mut self, count: i64, kind: Kind) -> OffsetRange {
        let base = self.end();
        let batch = LogBatch {
            base,
            last: base + count - 1,
            kind,
        };
        let span = batch.span();
        self.batches.push(batch);
        span
    }

    /// Appends a Produce. A repetition is answered with where the first one landed.
    pub fn append(&mut self, writer: usize, service: usize, records: &[Rec]) -> OffsetRange {
        if let Some(span) = self.landed.get(&records[0]) {
            return *span;
        }
        self.exists = true;
        let count = i64::try_from(records.len()).expect("batches are small");
        let records = records.to_vec();
        let first = records[0];
        let span = self.push(
            count,
            Kind::Data {
                writer,
                service,
                records,
            },
        );
        self.landed.insert(first, span);
        span
    }

    /// Appends a control batch.
    pub fn append_control(&mut self, marker: MarkerId, commit: bool) -> Offset {
        self.push(1, Kind::Control { marker, commit }).start
    }

    /// Batches from the one that holds `from`, below the high watermark.
    pub fn read(&self, from: i64, batches_max: usize) -> &[LogBatch] {
        let start = self.batches.partition_point(|batch| batch.last < from);
        let end = self.batches.partition_point(|batch| batch.last < self.high);
        let end = end.min(start + batches_max);
        &self.batches[start.min(end)..end]
    }

    /// Where the first COMMIT of `marker` is, as far as it can be read.
    pub fn find(&self, marker: MarkerId) -> Option<Offset> {
        let is_marker = |batch: &&LogBatch| matches!(&batch.kind, Kind::Control { marker: m, commit: true } if *m == marker);
        let found = self.batches.iter().find(is_marker)?;
        (found.last < self.high).then_some(Offset(found.base))
    }
}

/// A consumer group.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: GroupId,
    /// Whose it is.
    pub service: usize,
    /// What it subscribes to.
    pub topics: Vec<usize>,
    /// Its members: the instance and which of its consumers.
    pub members: BTreeMap<String, (usize, usize)>,
    /// Members that joined since the last assignment.
    pub newcomers: BTreeSet<String>,
    /// Who is assigned what.
    pub assignment: BTreeMap<usize, String>,
    /// False while members join.
    pub stable: bool,
    /// Counts rebalances.
    pub generation: u32,
    /// Committed offsets.
    pub committed: BTreeMap<usize, i64>,
}

/// A transaction that marks partitions.
#[derive(Debug)]
pub struct Marking {
    /// The pair.
    pub marker: MarkerId,
    /// Partitions whose marker is not in the log.
    pub pending: BTreeSet<usize>,
}

/// The cluster.
#[derive(Debug, Default)]
pub struct Broker {
    /// Topics' names.
    pub topics: Vec<TopicName>,
    /// Every partition, existing or not.
    pub logs: Vec<Log>,
    /// Which topic each partition is of.
    pub topic_of: Vec<usize>,
    /// Every group.
    pub groups: Vec<Group>,
    /// Marker transactions that have not all landed, by number.
    pub markings: BTreeMap<u64, Marking>,
    numbers: BTreeMap<TopicPartition, usize>,
}

impl Broker {
    /// A new topic.
    pub fn add_topic(&mut self, name: &str, partitions: usize, exists: bool) -> usize {
        let topic = self.topics.len();
        self.topics.push(name.into());
        for partition in 0..partitions {
            let index = i32::try_from(partition).expect("few partitions");
            let name = TopicPartition::new(name, index);
            self.numbers.insert(name.clone(), self.logs.len());
            self.topic_of.push(topic);
            self.logs.push(Log {
                name,
                exists,
                batches: Vec::new(),
                high: 0,
                landed: BTreeMap::new(),
            });
        }
        topic
    }

    /// The partitions of `topic`.
    pub fn parts_of(&self, topic: usize) -> impl Iterator<Item = usize> + '_ {
        let all = self.topic_of.iter().enumerate();
        all.filter(move |(_, t)| **t == topic).map(|(part, _)| part)
    }

    /// A partition by its name.
    pub fn part(&self, name: &TopicPartition) -> usize {
        self.numbers[name]
    }

    /// A group by its name.
    pub fn group(&self, name: &GroupId) -> usize {
        let found = self.groups.iter().position(|group| group.name == *name);
        found.expect("only known groups are asked for")
    }

    /// Groups that read `topic`.
    pub fn readers_of(&self, topic: usize) -> impl Iterator<Item = usize> + '_ {
        let all = self.groups.iter().enumerate();
        all.filter(move |(_, group)| group.topics.contains(&topic))
            .map(|(number, _)| number)
    }
}
