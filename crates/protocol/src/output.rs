//! What a sidecar's application produces: the gate, what is under way, and where it landed.
//!
//! Outputs know requests, answers and transactions. They know nothing of epochs: the process says when to close the gate
//! and when to start keeping ranges, and asks whether all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, OffsetRange, RangeSet, TopicName, TopicPartition};

use crate::input::ConnId;

/// How many separate ranges an epoch keeps for one sidecar before it declines: bounds its memory and its report.
pub const RANGES_MAX: usize = 200_000;

/// A Produce that was let through and is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A Produce request as the gate sees it.
#[derive(Clone, Copy, Debug)]
pub struct ProduceIntent<'a> {
    /// The connection it came on.
    pub conn: ConnId,
    /// Set inside a transaction.
    pub transactional_id: Option<&'a str>,
    /// False for acks=0, which is never answered.
    pub answered: bool,
    /// Where it goes.
    pub partitions: &'a [TopicPartition],
}

/// Whether a request passes the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It passes; the ticket is given back with the answer (none for acks=0).
    Pass(Option<Ticket>),
    /// It waits; ask again when the gate changes.
    Wait,
}

/// How one partition of a Produce was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceAnswer {
    /// Appended at these offsets.
    Landed(OffsetRange),
    /// The client will send it again, or nobody knows: unanswered still.
    Doubtful,
    /// Appended before, nobody says where (a duplicate sequence the broker no longer remembers).
    Somewhere,
    /// Refused for good: nothing was appended.
    Refused,
}

/// Everything the application has under way towards the broker.
#[derive(Debug, Default)]
pub struct Outputs {
    closed: bool,
    knocked: bool,
    next_ticket: u64,
    admitted: u64,
    waiting: BTreeMap<Ticket, Vec<TopicPartition>>,
    /// Partitions with a lost or retriable answer, until one that was sent after it lands.
    doubtful: BTreeMap<TopicPartition, Ticket>,
    /// No connection of the application is left: nobody will repeat what is in doubt.
    gone: bool,
    unacked: BTreeSet<ConnId>,
    unacked_partitions: BTreeSet<TopicPartition>,
    transactions: BTreeSet<String>,
    known_topics: BTreeSet<TopicName>,
    asked_topics: BTreeSet<TopicName>,
    acknowledged: BTreeMap<TopicPartition, Offset>,
    ranges: Option<BTreeMap<TopicPartition, RangeSet>>,
    ranges_held: usize,
    ranges_unknown: bool,
}

impl Outputs {
    /// True when the Produce belongs to a transaction that is open already.
    #[must_use]
    pub fn goes_on(&self, intent: &ProduceIntent<'_>) -> bool {
        intent
            .transactional_id
            .is_some_and(|id| self.transactions.contains(id))
    }

    /// Asks to let a Produce through.
    pub fn admit(&mut self, intent: &ProduceIntent<'_>) -> Admission {
        if self.closed && !self.goes_on(intent) {
            self.knocked = true;
            return Admission::Wait;
        }
        self.gone = false;
        if let Some(id) = intent.transactional_id {
            self.transactions.insert(id.to_owned());
        }
        self.admitted += 1;
        if !intent.answered {
            self.unacked.insert(intent.conn);
            self.unacked_partitions
                .extend(intent.partitions.iter().cloned());
            return Admission::Pass(None);
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.insert(ticket, intent.partitions.to_vec());
        Admission::Pass(Some(ticket))
    }

    /// Asks to let a request through that may start a transaction (AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit).
    pub fn admit_transaction(&mut self, transactional_id: &str) -> Admission {
        if self.closed && !self.transactions.contains(transactional_id) {
            self.knocked = true;
            return Admission::Wait;
        }
        self.gone = false;
        if self.transactions.insert(transactional_id.to_owned()) {
            self.admitted += 1;
        }
        Admission::Pass(None)
    }

    /// The transaction is over: EndTxn succeeded, or a new producer took the id over.
    pub fn transaction_ended(&mut self, transactional_id: &str) {
        self.transactions.remove(transactional_id);
    }

    /// The transactional ids with a transaction that began here and has not ended.
    #[must_use]
    pub fn open_transactions(&self) -> &BTreeSet<String> {
        &self.transactions
    }

    /// Those of them that nobody is left to end; `None` while the application has a connection.
    #[must_use]
    pub fn abandoned_transactions(&self) -> Option<&BTreeSet<String>> {
        self.gone.then_some(&self.transactions)
    }

    /// The broker has ended these. An application that came back meanwhile speaks for itself.
    pub fn abandoned_ended(&mut self, transactional_ids: &BTreeSet<String>) {
        if self.gone {
            self.transactions
                .retain(|id| !transactional_ids.contains(id));
        }
    }

    /// The Produce behind `ticket` was answered.
    pub fn answered(&mut self, ticket: Ticket, answers: &[(TopicPartition, ProduceAnswer)]) {
        if self.waiting.remove(&ticket).is_none() {
            return;
        }
        for (partition, answer) in answers {
            match answer {
                ProduceAnswer::Landed(range) => self.landed(ticket, partition, *range),
                ProduceAnswer::Doubtful => self.doubt(partition),
                ProduceAnswer::Somewhere => {
                    self.settle(ticket, partition);
                    self.ranges_unknown = true;
                }
                ProduceAnswer::Refused => self.settle(ticket, partition),
            }
        }
    }

    /// The connection broke before the answer came.
    pub fn lost(&mut self, ticket: Ticket) {
        for partition in self.waiting.remove(&ticket).into_iter().flatten() {
            self.doubt(&partition);
        }
    }

    /// The connection is gone, and what was sent on it without an answer with it.
    pub fn close_connection(&mut self, conn: ConnId) {
        self.unacked.remove(&conn);
    }

    /// The application has no connection left: nobody will repeat what is in doubt.
    pub fn application_gone(&mut self) {
        self.gone = true;
        self.doubtful.clear();
        self.unacked.clear();
    }

    /// Connections with acks=0 requests that nothing has proved yet.
    #[must_use]
    pub fn unproved(&self) -> Vec<ConnId> {
        self.unacked.iter().copied().collect()
    }

    /// A later request on each of these connections was answered.
    pub fn proved(&mut self, conns: &[ConnId]) {
        for conn in conns {
            self.unacked.remove(conn);
        }
    }

    /// Partitions ever written with acks=0 in this run.
    #[must_use]
    pub fn unacked_partitions(&self) -> &BTreeSet<TopicPartition> {
        &self.unacked_partitions
    }

    /// Shuts the gate; forgets who knocked before.
    pub fn close_gate(&mut self) {
        self.closed = true;
        self.knocked = false;
    }

    /// Opens the gate.
    pub fn open_gate(&mut self) {
        self.closed = false;
        self.knocked = false;
    }

    /// True while the gate is shut.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True when a request met the shut gate.
    #[must_use]
    pub fn was_knocked(&self) -> bool {
        self.knocked
    }

    /// True when this run of the application has produced to `topic`.
    #[must_use]
    pub fn wrote(&self, topic: &TopicName) -> bool {
        self.acknowledged
            .keys()
            .chain(&self.unacked_partitions)
            .any(|partition| partition.topic == *topic)
    }

    /// True when no Produce is unanswered or in doubt, none waits for its topic to be registered, and no transaction is
    /// open.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.doubtful.is_empty()
            && self.transactions.is_empty()
            && self.asked_topics.is_empty()
    }

    /// What keeps it from being quiet, for people.
    #[must_use]
    pub fn unrest(&self) -> String {
        format!(
            "{} Produce unanswered, {} partitions with a lost or retriable answer, {} transactions open, {} topics \
             not registered yet",
            self.waiting.len(),
            self.doubtful.len(),
            self.transactions.len(),
            self.asked_topics.len()
        )
    }

    /// How many requests were let through so far: changes whenever anything new was produced.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.admitted
    }

    /// The service is known to produce to these topics.
    pub fn know_topics(&mut self, topics: impl IntoIterator<Item = TopicName>) {
        for topic in topics {
            self.asked_topics.remove(&topic);
            self.known_topics.insert(topic);
        }
    }

    /// Every topic the service ever produced to, as far as this sidecar knows.
    #[must_use]
    pub fn known_topics(&self) -> &BTreeSet<TopicName> {
        &self.known_topics
    }

    /// Topics among `partitions` that are not registered; each is named once.
    pub fn unregistered(&mut self, partitions: &[TopicPartition]) -> (bool, Vec<TopicName>) {
        let missing: BTreeSet<&TopicName> = partitions
            .iter()
            .map(|p| &p.topic)
            .filter(|topic| !self.known_topics.contains(*topic))
            .collect();
        let any = !missing.is_empty();
        let fresh: Vec<TopicName> = missing
            .into_iter()
            .filter(|topic| !self.asked_topics.contains(*topic))
            .cloned()
            .collect();
        self.asked_topics.extend(fresh.iter().cloned());
        (any, fresh)
    }

    /// Starts keeping the ranges where Produces land.
    pub fn keep_ranges(&mut self) {
        self.ranges = Some(BTreeMap::new());
        self.ranges_held = 0;
        self.ranges_unknown = false;
    }

    /// Stops keeping ranges and hands them over.
    pub fn take_ranges(&mut self) -> BTreeMap<TopicPartition, RangeSet> {
        self.ranges.take().unwrap_or_default()
    }

    /// True when the kept ranges are not the whole truth: more than [`RANGES_MAX`], or one whose offsets nobody said.
    #[must_use]
    pub fn ranges_are_incomplete(&self) -> bool {
        self.ranges_unknown || self.ranges_held > RANGES_MAX
    }

    /// One past the highest acknowledged offset, by partition.
    #[must_use]
    pub fn acknowledged(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.acknowledged
    }

    fn doubt(&mut self, partition: &TopicPartition) {
        if !self.gone {
            self.doubtful
                .insert(partition.clone(), Ticket(self.next_ticket));
        }
    }

    /// What was sent before the doubt arose is not the repetition that settles it.
    fn settle(&mut self, ticket: Ticket, partition: &TopicPartition) {
        if self
            .doubtful
            .get(partition)
            .is_some_and(|doubt| ticket > *doubt)
        {
            self.doubtful.remove(partition);
        }
    }

    fn landed(&mut self, ticket: Ticket, partition: &TopicPartition, range: OffsetRange) {
        self.settle(ticket, partition);
        let end = self
            .acknowledged
            .entry(partition.clone())
            .or_insert(range.end);
        *end = (*end).max(range.end);
        if let Some(ranges) = &mut self.ranges {
            let set = ranges.entry(partition.clone()).or_default();
            let before = set.ranges().len();
            set.insert(range);
            self.ranges_held =
                self.ranges_held + set.ranges().len() - before.min(set.ranges().len());
        }
    }
}
