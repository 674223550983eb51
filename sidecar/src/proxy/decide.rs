//! The one place where the data path asks the core.
//!
//! A short lock is taken, the question is put, what the core wants done is put aside for whoever drives it, and waiters
//! are woken when holds or the gate changed. Without a core everything is let through. No rule of the protocol is here.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cutline_model::{GroupId, Offset, TopicPartition};
use cutline_protocol::{
    Aborted, Admission, Batch, ConnId, Delivery, Moment, Process, ProcessOutput, ProduceAnswer,
    ProduceIntent, Ticket, Verdict,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::metrics::LongestHold;

/// What the data path asks, and what the shell drives.
#[derive(Debug)]
pub struct Decide {
    core: Option<Mutex<Core>>,
    /// True while some partition may be held: fetches must be looked at partition by partition.
    holding: AtomicBool,
    holds: watch::Sender<u64>,
    gate: watch::Sender<u64>,
    wake: Notify,
    origin: Instant,
    longest_hold: LongestHold,
}

#[derive(Debug)]
struct Core {
    process: Process,
    /// What the process wants done, without what was done here already.
    outbox: VecDeque<ProcessOutput>,
    bounds: bool,
    /// The process's next deadline, as whoever drives it knows it.
    due: Option<Moment>,
    /// Since when a checkpoint keeps something from the application.
    withheld: Option<Moment>,
}

/// The batches of one partition of a Fetch response.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Which partition.
    pub partition: &'a TopicPartition,
    /// What the client does with aborted records.
    pub aborted: Aborted,
    /// Every whole batch.
    pub batches: &'a [Batch],
}

impl Decide {
    /// Lets everything through.
    #[must_use]
    pub fn without_core() -> Self {
        Self::new(None)
    }

    /// Asks `process`.
    #[must_use]
    pub fn with_core(process: Process) -> Self {
        Self::new(Some(process))
    }

    /// Tells `longest` of every hold that has ended.
    #[must_use]
    pub fn measured(mut self, longest: LongestHold) -> Self {
        self.longest_hold = longest;
        self
    }

    fn new(process: Option<Process>) -> Self {
        let core = process.map(|process| {
            Mutex::new(Core {
                process,
                outbox: VecDeque::new(),
                bounds: false,
                due: None,
                withheld: None,
            })
        });
        Self {
            core,
            holding: AtomicBool::new(false),
            holds: watch::Sender::new(0),
            gate: watch::Sender::new(0),
            wake: Notify::new(),
            origin: Instant::now(),
            longest_hold: LongestHold::default(),
        }
    }

    /// True when there is a core to ask.
    #[must_use]
    pub fn has_core(&self) -> bool {
        self.core.is_some()
    }

    /// The present moment as the core counts.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    // ---- for the shell that drives the core ----

    /// Gives the process one input, or asks it something; `None` without a core.
    pub fn with<T>(&self, input: impl FnOnce(&mut Process, Moment) -> T) -> Option<T> {
        let mut core = self.core.as_ref()?.lock();
        let now = self.now();
        let answer = input(&mut core.process, now);
        self.put_aside(&mut core);
        Some(answer)
    }

    /// The next thing the process wants done by the shell. Changes of holds and of the gate never come here.
    #[must_use]
    pub fn poll_output(&self) -> Option<ProcessOutput> {
        self.core.as_ref()?.lock().outbox.pop_front()
    }

    /// Waits until [`Self::poll_output`] may have something, the process's timeout has passed (then
    /// `handle_timeout` is due), or `longest` is over.
    pub async fn wait(&self, longest: Duration) {
        let due = self.core.as_ref().and_then(|core| core.lock().due);
        let wait = due.map_or(longest, |due| due.since(self.now()).min(longest));
        // A waker that came first has left its permit.
        let _woken = tokio::time::timeout(wait, self.wake.notified()).await;
    }

    /// How many partitions are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.with(|process, _| process.inputs().held()).unwrap_or(0)
    }

    fn put_aside(&self, core: &mut Core) {
        let mut woken = false;
        while let Some(output) = core.process.poll_output() {
            match output {
                ProcessOutput::HoldsChanged => {
                    core.bounds = core.process.inputs().held() > 0;
                    self.holds.send_modify(|version| *version += 1);
                }
                ProcessOutput::GateChanged => self.gate.send_modify(|version| *version += 1),
                output => {
                    core.outbox.push_back(output);
                    woken = true;
                }
            }
        }
        let withheld = core.process.withheld_since();
        if withheld != core.withheld
            && let Some(began) = std::mem::replace(&mut core.withheld, withheld)
        {
            self.longest_hold.ended(self.now().since(began));
        }
        let holding = core.bounds || core.process.epoch().is_some();
        self.holding.store(holding, Ordering::Release);
        // Whoever waits waits for the deadline it knew. Waking it for less than a change would wake it for its own looks.
        let due = core.process.poll_timeout();
        if woken || due != core.due {
            core.due = due;
            self.wake.notify_one();
        }
    }

    // ---- for the data path ----

    /// True while some partition may be held.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Acquire)
    }

    /// Changes whenever holds do.
    #[must_use]
    pub fn holds(&self) -> watch::Receiver<u64> {
        self.holds.subscribe()
    }

    /// Changes whenever the gate does.
    #[must_use]
    pub fn gate(&self) -> watch::Receiver<u64> {
        self.gate.subscribe()
    }

    /// For each of `wants`: may it be fetched now?
    pub fn may_fetch<'a>(
        &self,
        conn: ConnId,
        wants: impl Iterator<Item = (&'a TopicPartition, Offset)>,
    ) -> Vec<bool> {
        let Some(core) = &self.core else {
            return wants.map(|_| true).collect();
        };
        let mut core = core.lock();
        let now = self.now();
        let wants = wants.map(|(partition, at)| core.process.may_fetch(now, conn, partition, at));
        wants.collect()
    }

    /// For each of `arrivals`: which of its batches go on? `None`: all of them, as they are.
    pub fn deliver(&self, conn: ConnId, arrivals: &[Arrival<'_>]) -> Vec<Option<Vec<Verdict>>> {
        let Some(core) = &self.core else {
            return arrivals.iter().map(|_| None).collect();
        };
        let mut core = core.lock();
        let now = self.now();
        let mut verdicts = Vec::new();
        let mut answers = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let delivery = core.process.deliver(
                now,
                conn,
                arrival.partition,
                arrival.aborted,
                arrival.batches,
                &mut verdicts,
            );
            answers.push((delivery == Delivery::Changed).then(|| verdicts.clone()));
        }
        self.put_aside(&mut core);
        answers
    }

    /// May this Produce pass?
    pub fn admit_produce(&self, intent: &ProduceIntent<'_>) -> Admission {
        self.with(|process, now| process.admit_produce(now, intent))
            .unwrap_or(Admission::Pass(None))
    }

    /// May a request pass that can start a transaction?
    pub fn admit_transaction(&self, transactional_id: &str) -> Admission {
        self.with(|process, now| process.admit_transaction(now, transactional_id))
            .unwrap_or(Admission::Pass(None))
    }

    /// A Produce was answered.
    pub fn produce_answered(&self, ticket: Ticket, answers: &[(TopicPartition, ProduceAnswer)]) {
        self.with(|process, now| process.handle_produce_answer(now, ticket, answers));
    }

    /// The connection broke before a Produce was answered.
    pub fn produce_lost(&self, ticket: Ticket) {
        self.with(|process, now| process.handle_produce_lost(now, ticket));
    }

    /// A transaction ended.
    pub fn transaction_ended(&self, transactional_id: &str) {
        self.with(|process, now| process.handle_transaction_ended(now, transactional_id));
    }

    /// A commit passed by.
    pub fn commit_seen(&self) {
        self.with(Process::handle_commit_seen);
    }

    /// A member is in a group through this sidecar; `new`: it joined in this run.
    pub fn member(&self, group: &GroupId, member: &str, new: bool) {
        self.with(|process, _| process.handle_member(group, member, new));
    }

    /// A member left.
    pub fn member_left(&self, group: &GroupId, member: &str) {
        self.with(|process, _| process.handle_member_left(group, member));
    }

    /// A group's membership or assignment changes.
    pub fn rebalance(&self, group: &GroupId) {
        self.with(|process, now| process.handle_rebalance(now, group));
    }

    /// The connection reads these partitions no more.
    pub fn forgotten<'a>(
        &self,
        conn: ConnId,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) {
        self.with(|process, _| {
            partitions.for_each(|partition| process.handle_forgotten(conn, partition));
        });
    }

    /// A connection is gone; `last`: none is left.
    pub fn disconnected(&self, conn: ConnId, last: bool) {
        self.with(|process, now| process.handle_disconnected(now, conn, last));
    }
}
