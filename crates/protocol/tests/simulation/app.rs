//! The model application: it processes what it was delivered, sends, waits for the answers, commits.
//!
//! Plain at-least-once, without deduplication, so that a wrong cut shows. What a crash undoes is what was not committed,
//! as if state and commit were one; its sends that are in the log all the same are ghosts.

use rand::Rng;

use super::{
    event::{Event, Owner, Run},
    ledger::{Rec, Record},
    world::{Work, World},
};

/// How many records a consumer takes at once.
const ITEMS_MAX: usize = 4;

impl World {
    /// A consumer takes what it was delivered, unless it has something in hand or is parked.
    pub fn app_step(&mut self, run: Run, consumer: usize) {
        if !self.app_runs(run) {
            return;
        }
        let inst = &self.insts[run.inst];
        let this = &inst.consumers[consumer];
        let parked = inst.pausing.is_some() || inst.paused.is_some();
        if parked || this.work.is_some() || this.buffer.is_empty() {
            return;
        }
        let number = self.number();
        let take = self.rng.random_range(1..=ITEMS_MAX);
        let this = &mut self.insts[run.inst].consumers[consumer];
        let take = take.min(this.buffer.len());
        this.work = Some(Work {
            number,
            items: this.buffer.drain(..take).collect(),
            sends: Vec::new(),
            unanswered: 0,
            done: false,
            durable: false,
        });
        let usual = self.plan.work;
        let delay = self.delay(usual);
        self.after(delay, Event::WorkDone(run, consumer));
    }

    /// It was processed: the state changes, and what follows is sent.
    pub fn work_done(&mut self, run: Run, consumer: usize) {
        if !self.app_runs(run) {
            return;
        }
        let (inst, ledger) = (run.inst, self.insts[run.inst].ledger);
        let this = &mut self.insts[inst].consumers[consumer];
        let group = this.group;
        let Some(work) = this.work.as_mut().filter(|work| !work.done) else {
            return;
        };
        work.done = true;
        let (number, items) = (work.number, work.items.clone());
        for (part, offset, rec) in &items {
            this.position.insert(*part, offset + 1);
            self.ledgers[ledger].receive(group, *rec);
        }
        let mut sends: Vec<Rec> = Vec::new();
        for (_, _, rec) in &items {
            let hops = self.records.get(*rec).hops;
            // Less than one on average.
            let answers = match self.rng.random_range(0..10) {
                _ if hops == 0 => 0,
                0..=4 => 0,
                5..=8 => 1,
                _ => 2,
            };
            for _ in 0..answers {
                sends.extend(self.make_record(inst, hops - 1));
            }
        }
        self.ledgers[ledger].sent.extend(sends.iter().copied());
        let requests = self.requests(inst, &sends, Owner::Work(consumer, number));
        let work = self.insts[inst].consumers[consumer].work.as_mut();
        let work = work.expect("it was in hand above");
        work.sends = sends;
        work.unanswered = requests.len();
        for request in requests {
            let delay = self.rng.random_range(1..200);
            self.after(delay, Event::ProduceTry(run, request));
        }
        self.commit_if_answered(inst, consumer);
    }

    /// A record to one of the partitions the instance writes; none when it writes nothing.
    pub fn make_record(&mut self, inst: usize, hops: u8) -> Option<Rec> {
        let plan = self.service_plan(inst);
        let mut topics = plan.writes.clone();
        if self.insts[inst].late_from <= self.now {
            topics.extend(plan.late_writes.iter().copied());
        }
        if topics.is_empty() {
            return None;
        }
        let topic = topics[self.rng.random_range(0..topics.len())];
        let parts: Vec<usize> = self.broker.parts_of(topic).collect();
        let part = parts[self.rng.random_range(0..parts.len())];
        let readers = self.broker.readers_of(topic).count();
        // However many groups read it, what is sent dies out.
        if readers > 1
            && !self
                .rng
                .random_ratio(1, u32::try_from(readers).expect("few groups"))
        {
            return None;
        }
        let record = Record {
            part,
            ledger: self.insts[inst].ledger,
            hops,
            value: self.rng.random_range(1..10),
            readers: i64::try_from(readers).expect("few groups"),
            source: self.is_source(inst),
            ghost: false,
        };
        Some(self.records.add(record))
    }

    /// Everything sent is answered: commit.
    pub fn commit_if_answered(&mut self, inst: usize, consumer: usize) {
        let run = self.insts[inst].app_run(inst);
        let work = self.insts[inst].consumers[consumer].work.as_ref();
        if let Some(number) = work
            .filter(|w| w.done && w.unanswered == 0)
            .map(|w| w.number)
        {
            let delay = self.rng.random_range(1..1_500) + self.wire();
            self.after(delay, Event::CommitServe(run, consumer, number));
            self.try_pause(inst);
        }
    }

    /// The broker takes the commit, if the member still has what it commits.
    pub fn commit_serve(&mut self, run: Run, consumer: usize, number: u64) {
        let inst = &mut self.insts[run.inst];
        let current = inst.app == run.run && inst.running && !inst.fenced;
        let this = &mut inst.consumers[consumer];
        let Some(work) = this.work.as_mut().filter(|w| current && w.number == number) else {
            return;
        };
        if !inst.sidecar.up {
            // Its sidecar is down: the commit is made again.
            self.after(5_000, Event::CommitServe(run, consumer, number));
            return;
        }
        work.durable = true;
        let committed = &mut self.broker.groups[this.group].committed;
        for (part, offset, _) in &work.items {
            let at = committed.entry(*part).or_default();
            *at = (*at).max(offset + 1);
        }
        let delay = self.wire();
        if self.chance(self.plan.faults.call) {
            self.after(delay + 10_000, Event::CommitServe(run, consumer, number));
        } else {
            self.after(delay, Event::CommitAnswer(run, consumer, number));
        }
    }

    /// The commit is answered: the next.
    pub fn commit_answer(&mut self, run: Run, consumer: usize, number: u64) {
        if !self.app_runs(run) {
            return;
        }
        let now = self.moment();
        self.insts[run.inst].sidecar.process.handle_commit_seen(now);
        self.drain(run.inst);
        let this = &mut self.insts[run.inst].consumers[consumer];
        if this.work.as_ref().is_some_and(|work| work.number == number) {
            this.work = None;
        }
        self.try_pause(run.inst);
        self.after(1, Event::AppStep(run, consumer));
    }

    /// What a consumer has in hand comes to nothing: it crashed, or its partitions are somebody else's.
    pub fn abandon(&mut self, inst: usize, consumer: usize) {
        let ledger = self.insts[inst].ledger;
        let this = &mut self.insts[inst].consumers[consumer];
        this.buffer.clear();
        let group = this.group;
        let Some(work) = this.work.take().filter(|work| work.done && !work.durable) else {
            return;
        };
        for (_, _, rec) in &work.items {
            self.ledgers[ledger].forget(group, *rec);
        }
        self.make_ghosts(ledger, &work.sends);
    }

    /// Sends that nobody knows of any more.
    pub fn make_ghosts(&mut self, ledger: usize, sends: &[Rec]) {
        for rec in sends {
            self.ledgers[ledger].sent.remove(rec);
            self.records.make_ghost(*rec);
        }
    }

    // ---- the hook ----

    /// The hook answers when nothing is under way any more.
    pub fn try_pause(&mut self, inst: usize) {
        let this = &self.insts[inst];
        let Some(epoch) = this.pausing else { return };
        let busy = |w: &Work| !(w.done && w.unanswered == 0);
        let parked = !this
            .consumers
            .iter()
            .any(|c| c.work.as_ref().is_some_and(busy));
        if parked && this.open.is_empty() {
            let run = this.app_run(inst);
            self.insts[inst].pausing = None;
            self.insts[inst].paused = Some(epoch);
            let delay = self.wire();
            let side = self.insts[inst].sidecar_run(inst);
            self.after(delay, Event::HookPaused(side, epoch));
            let early = self.rng.random_ratio(1, 60) && !self.plan.calm;
            let lease = if early {
                self.rng.random_range(5_000..60_000)
            } else {
                self.plan.limits.max_pause_ms * 1_500
            };
            self.after(lease, Event::LeaseEnds(run, epoch));
        }
    }

    /// The hook's lease is over: the application goes on by itself.
    pub fn lease_ends(&mut self, run: Run, epoch: u64) {
        let this = &mut self.insts[run.inst];
        let ours = this.paused == Some(epoch) || this.pausing == Some(epoch);
        if ours && this.app == run.run {
            this.pausing = None;
            this.paused = None;
            self.wake(run.inst);
        }
    }

    /// Every consumer goes on.
    pub fn wake(&mut self, inst: usize) {
        let run = self.insts[inst].app_run(inst);
        for consumer in 0..self.insts[inst].consumers.len() {
            self.after(1, Event::AppStep(run, consumer));
        }
    }
}
