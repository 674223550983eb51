//! What a sidecar's application reads: how far each partition was delivered, where it is held, when it is finished.
//!
//! Inputs know offsets, connections and batch headers. They know nothing of epochs or of who committed what: a committed
//! offset is handed in and compared. A partition stands here once for all connections that read it, because "finished"
//! is asked of the highest offset delivered on any of them (1-protocol §4.4).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_model::{MarkerId, Offset, RangeSet, TopicPartition};

use crate::{
    batch::{Batch, Control, Delivery, Verdict},
    mask::Masks,
    moment::Moment,
};

/// One connection of the application, unique within a sidecar's run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What becomes of aborted records in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The client reads what is not committed: it is given them.
    Shown,
    /// The client reads what is committed, and is told of none.
    Absent,
    /// The client reads what is committed, and is told of some: it drops them.
    Hidden,
}

/// The highest record delivered that the client can see.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    last: Offset,
    /// False when a visible record at `last` is not certain: compaction gap, or an aborted transaction near it.
    certain: bool,
}

/// How long a connection that asked for a partition counts as reading it without asking again: longer than any client
/// waits between two fetches, shorter than anyone waits for a checkpoint to notice that a partition has moved.
const READER_LIVES: Duration = Duration::from_secs(10);

/// One connection that reads a partition.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// The next offset it still wants.
    position: Offset,
    asked_at: Moment,
}

#[derive(Debug)]
struct Input {
    readers: BTreeMap<ConnId, Reader>,
    first_fetch: Offset,
    delivered: Option<Delivered>,
    /// Where the delivered prefix of the log ends, control batches included.
    end: Offset,
    /// Nothing from this offset on is delivered.
    hold: Option<Offset>,
    /// What its answers told of aborted records: some were dropped by a client, or given to one.
    hides_aborted: bool,
    shows_aborted: bool,
    /// Records below this were delivered again although a group had committed past them: only a commit beyond it, or one
    /// seen below it, tells that their second delivery is finished.
    rewound: Option<Offset>,
    /// What every group that reads it was last seen to have committed at least.
    committed: Option<Offset>,
    /// True when the hold stands at a marker, which is then the position of every group that is finished.
    at_marker: bool,
}

impl Input {
    fn new(offset: Offset) -> Self {
        Self {
            readers: BTreeMap::new(),
            first_fetch: offset,
            delivered: None,
            end: offset,
            hold: None,
            at_marker: false,
            hides_aborted: false,
            shows_aborted: false,
            rewound: None,
            committed: None,
        }
    }

    /// A group must have committed at least this far.
    fn goal(&self) -> Offset {
        self.delivered
            .map_or(self.first_fetch, |delivered| delivered.last.next())
    }

    fn note_reader(&mut self, now: Moment, conn: ConnId, position: Offset) {
        let goal = self.goal();
        if position < goal && self.committed.is_some_and(|committed| position < committed) {
            self.rewound = Some(goal);
        }
        self.readers.insert(
            conn,
            Reader {
                position,
                asked_at: now,
            },
        );
        // A partition that moved to another connection leaves its former reader behind, where the client names only
        // what it wants and never what it no longer wants. The last reader always stays.
        self.readers
            .retain(|id, reader| *id == conn || now.since(reader.asked_at) < READER_LIVES);
    }

    fn note_reached(&mut self, conn: ConnId, end: Offset) {
        if let Some(reader) = self.readers.get_mut(&conn) {
            reader.position = reader.position.max(end);
        }
    }

    /// Nothing was delivered and nothing committed: each of several groups is where its reader is, and none of them is
    /// before the lowest.
    fn lowest(&self, groups: usize) -> Finished {
        match self.readers.values().map(|reader| reader.position).min() {
            Some(lowest) if self.readers.len() >= groups => Finished::Yes(Some(lowest)),
            _ => Finished::NotYet("not every group has fetched"),
        }
    }

    fn position(&self, committed: Offset) -> Offset {
        if self.at_marker {
            self.hold.unwrap_or(committed)
        } else {
            committed
        }
    }
}

/// Whether what was delivered of one partition to one group is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Finished; the group's position.
    Yes(Option<Offset>),
    /// Work is still under way.
    NotYet(&'static str),
    /// Finished if no record in `[from, to)` is visible to the client: somebody has to look.
    LookAside {
        /// The first offset in question.
        from: Offset,
        /// The first offset no longer in question.
        to: Offset,
        /// True when aborted records do not count.
        committed_only: bool,
    },
    /// It cannot be known; the process declines.
    Unknown(&'static str),
}

/// Every partition the application reads.
#[derive(Debug, Default)]
pub struct Inputs {
    partitions: BTreeMap<TopicPartition, Input>,
    /// Holds of a restore (1-protocol §6.2): no watchdog opens them.
    bounds: BTreeMap<TopicPartition, Offset>,
    /// Every partition is held, those never fetched before too.
    closed: bool,
    /// Nothing is fetched at all: what is masked is not known.
    suspended: bool,
}

impl Inputs {
    /// The application's connection `conn` wants `partition` from `offset` on. Answers whether it may be fetched.
    pub fn may_fetch(
        &mut self,
        now: Moment,
        conn: ConnId,
        partition: &TopicPartition,
        offset: Offset,
    ) -> bool {
        if !self.partitions.contains_key(partition) {
            self.partitions
                .insert(partition.clone(), Input::new(offset));
        }
        let input = self
            .partitions
            .get_mut(partition)
            .expect("inserted above when absent");
        input.note_reader(now, conn, offset);
        if input.delivered.is_none() {
            input.first_fetch = input.first_fetch.max(offset);
        }
        input.end = input.end.max(offset);
        if self.closed && input.hold.is_none() {
            input.hold = Some(input.end);
        }
        !self.suspended && self.hold_of(partition).is_none_or(|hold| offset < hold)
    }

    /// While suspended nothing may be fetched.
    pub fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// The connection reads `partition` no more.
    pub fn forget(&mut self, conn: ConnId, partition: &TopicPartition) {
        if let Some(input) = self.partitions.get_mut(partition) {
            input.readers.remove(&conn);
        }
    }

    /// The connection is gone.
    pub fn close(&mut self, conn: ConnId) {
        for input in self.partitions.values_mut() {
            input.readers.remove(&conn);
        }
    }

    /// Decides what of `batches` reaches the connection. Fills `verdicts` (one a batch, up to the first `Stop`) only
    /// when something changes; answers the marker the partition is now held at, if one was met.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call per partition on the data path: a struct would only be taken apart again"
    )]
    pub fn deliver(
        &mut self,
        conn: ConnId,
        partition: &TopicPartition,
        aborted: Aborted,
        batches: &[Batch],
        armed: &BTreeSet<MarkerId>,
        masks: &Masks,
        verdicts: &mut Vec<Verdict>,
    ) -> (Delivery, Option<Offset>) {
        verdicts.clear();
        let bound = self.bounds.get(partition).copied();
        let masked = masks.of(partition);
        let start = batches.first().map_or(Offset(0), |batch| batch.base);
        let input = self
            .partitions
            .entry(partition.clone())
            .or_insert_with(|| Input::new(start));
        if self.closed && input.hold.is_none() {
            input.hold = Some(input.end);
        }
        let hold = input.hold.into_iter().chain(bound).min();
        // A restore's hold is no cut: markers below it are met all the same.
        let none = BTreeSet::new();
        let armed = if input.hold.is_none() { armed } else { &none };
        let mut met = None;
        let mut delivery = Delivery::Unchanged;
        input.hides_aborted |= aborted == Aborted::Hidden;
        input.shows_aborted |= aborted == Aborted::Shown;
        for batch in batches {
            let verdict = verdict_of(batch, hold, armed, masked);
            verdicts.push(verdict);
            if verdict != Verdict::Pass {
                delivery = Delivery::Changed;
            }
            if verdict == Verdict::Stop {
                if hold.is_none_or(|hold| batch.base < hold) {
                    met = Some(batch.base);
                    input.hold = Some(batch.base);
                    input.at_marker = true;
                    input.end = input.end.max(batch.base);
                    input.note_reached(conn, batch.base);
                }
                break;
            }
            if batch.complete {
                note_delivered(input, conn, batch, verdict, aborted);
            }
        }
        (delivery, met)
    }

    /// Holds `partition` where its delivered prefix ends, unless it is held already.
    pub fn hold_here(&mut self, partition: &TopicPartition) {
        if let Some(input) = self.partitions.get_mut(partition) {
            input.hold.get_or_insert(input.end);
        }
    }

    /// Holds every partition where it is, also those not fetched so far.
    pub fn hold_all(&mut self) {
        self.closed = true;
        for input in self.partitions.values_mut() {
            input.hold.get_or_insert(input.end);
        }
    }

    /// Lets go of every hold but those of a restore.
    pub fn release(&mut self) {
        self.closed = false;
        for input in self.partitions.values_mut() {
            input.hold = None;
            input.at_marker = false;
        }
    }

    /// Forgets every partition, as after a fence: no reader is left. A restore's holds stay.
    pub fn reset(&mut self) {
        self.closed = false;
        self.partitions.clear();
    }

    /// Replaces the holds of a restore.
    pub fn hold_at_bounds(&mut self, bounds: BTreeMap<TopicPartition, Offset>) {
        self.bounds = bounds;
    }

    /// True when `partition` is held by an epoch.
    #[must_use]
    pub fn is_held(&self, partition: &TopicPartition) -> bool {
        self.closed
            || self
                .partitions
                .get(partition)
                .is_some_and(|input| input.hold.is_some())
    }

    /// How many partitions are held, by an epoch or a restore.
    #[must_use]
    pub fn held(&self) -> usize {
        let by_epoch = self
            .partitions
            .values()
            .filter(|input| input.hold.is_some())
            .count();
        by_epoch + self.bounds.len() + usize::from(self.suspended)
    }

    /// Partitions some live connection asked for lately.
    pub fn read_now(&self, now: Moment) -> impl Iterator<Item = &TopicPartition> {
        self.partitions
            .iter()
            .filter(move |(_, input)| {
                let lately = |reader: &Reader| now.since(reader.asked_at) < READER_LIVES;
                input.readers.values().any(lately)
            })
            .map(|(partition, _)| partition)
    }

    /// Where the delivered prefix of `partition` ends.
    #[must_use]
    pub fn delivered_end(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition).map(|input| input.end)
    }

    /// True once the partition was fetched in this run of the sidecar.
    #[must_use]
    pub fn is_known(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Every group that reads `partition` here was seen to have committed at least this much.
    pub fn note_committed(&mut self, partition: &TopicPartition, committed: Option<Offset>) {
        let Some(input) = self.partitions.get_mut(partition) else {
            return;
        };
        let (goal, rewound) = (input.goal(), input.rewound);
        let beyond = committed.zip(rewound).is_some_and(|(c, until)| c > until);
        if beyond || committed.is_none_or(|committed| committed < goal) {
            input.rewound = None;
        }
        input.committed = committed;
    }

    /// Whether a group that has `committed` has finished what was delivered of `partition`. `fresh`: every member of the
    /// group behind this sidecar joined in this run, so nothing was delivered to it before. `groups`: how many groups are
    /// assigned the partition behind this sidecar; whose fetch was whose is not known.
    #[must_use]
    pub fn finished(
        &self,
        partition: &TopicPartition,
        committed: Option<Offset>,
        fresh: bool,
        groups: usize,
    ) -> Finished {
        let Some(input) = self.partitions.get(partition) else {
            return if fresh {
                Finished::Yes(committed)
            } else {
                Finished::Unknown("not fetched since the sidecar started")
            };
        };
        let goal = input.goal();
        if input.readers.values().any(|reader| reader.position < goal) {
            return Finished::NotYet(
                "a reader is behind what was delivered before (a backward seek, or a slower group)",
            );
        }
        if input.rewound.is_some() {
            return Finished::Unknown("records were delivered again after they were committed");
        }
        match (committed, input.delivered) {
            (None, None) if groups > 1 && fresh => input.lowest(groups),
            (Some(committed), _) if committed > input.end => {
                Finished::Unknown("committed beyond what was delivered")
            }
            (Some(committed), _) if committed >= goal => {
                Finished::Yes(Some(input.position(committed)))
            }
            // Nothing was delivered, so nothing can be unfinished; what lies between is read again.
            (Some(committed), None) if fresh => Finished::Yes(Some(committed)),
            (None, None) if fresh => Finished::Yes(Some(input.position(input.first_fetch))),
            (None, None) => Finished::Unknown(
                "nothing committed and nothing delivered since the sidecar started",
            ),
            (Some(_), Some(delivered)) if delivered.certain => {
                Finished::NotYet("delivered records are not committed")
            }
            (None, Some(delivered)) if delivered.certain => {
                Finished::NotYet("nothing was ever committed")
            }
            (committed, _) => Finished::LookAside {
                from: committed.unwrap_or(input.first_fetch),
                to: goal,
                // Of two readers of different isolation one may have aborted records in its hands.
                committed_only: input.hides_aborted && !input.shows_aborted,
            },
        }
    }

    /// The position after somebody looked at `[from, goal)` and found nothing visible.
    #[must_use]
    pub fn position_after_look(&self, partition: &TopicPartition, from: Offset) -> Offset {
        self.partitions
            .get(partition)
            .map_or(from, |input| input.position(from))
    }

    fn hold_of(&self, partition: &TopicPartition) -> Option<Offset> {
        let by_epoch = self.partitions.get(partition).and_then(|input| input.hold);
        let by_restore = self.bounds.get(partition).copied();
        by_epoch.into_iter().chain(by_restore).min()
    }
}

/// `armed` is empty for a partition that an epoch holds already.
fn verdict_of(
    batch: &Batch,
    hold: Option<Offset>,
    armed: &BTreeSet<MarkerId>,
    masked: Option<&RangeSet>,
) -> Verdict {
    if hold.is_some_and(|hold| batch.base >= hold) {
        return Verdict::Stop;
    }
    let is_marker = batch.control == Some(Control::Commit)
        && batch.producer.is_some_and(|id| armed.contains(&id));
    if is_marker {
        return Verdict::Stop;
    }
    let span = cutline_model::OffsetRange::new(batch.base, batch.last.next());
    if batch.control.is_none() && masked.is_some_and(|ranges| ranges.overlaps(span)) {
        return Verdict::Mask;
    }
    Verdict::Pass
}

fn note_delivered(
    input: &mut Input,
    conn: ConnId,
    batch: &Batch,
    verdict: Verdict,
    aborted: Aborted,
) {
    let end = batch.last.next();
    input.end = input.end.max(end);
    input.note_reached(conn, end);
    if batch.control.is_some() || verdict == Verdict::Mask {
        return;
    }
    if input
        .delivered
        .is_none_or(|delivered| delivered.last < batch.last)
    {
        let certain = batch.is_dense() && (aborted != Aborted::Hidden || !batch.transactional);
        input.delivered = Some(Delivered {
            last: batch.last,
            certain,
        });
    }
}
