//! Producing: requests ask to pass the gate, land, are answered or lost, and are repeated.

use std::collections::BTreeMap;

use cutline_model::{Offset, OffsetRange};
use cutline_protocol::{Admission, ProduceAnswer, ProduceIntent, Ticket};
use rand::{Rng, seq::SliceRandom};

use super::{
    event::{Event, Fate, Owner, Request, Run},
    ledger::Rec,
    world::World,
};

/// How many sends of its own an application has under way at most.
const FREE_MAX: usize = 4;
/// How many records a schedule makes, but for those that answer others.
const RECORDS_MAX: usize = 700;

impl World {
    /// Puts records into requests, one or more to each partition.
    pub fn requests(&mut self, inst: usize, sends: &[Rec], owner: Owner) -> Vec<Request> {
        let mut by_part: BTreeMap<usize, Vec<Rec>> = BTreeMap::new();
        for rec in sends {
            by_part
                .entry(self.records.get(*rec).part)
                .or_default()
                .push(*rec);
        }
        let mut requests = Vec::new();
        for (part, records) in by_part {
            let number = self.number();
            let request = Request {
                number,
                part,
                records,
                owner,
            };
            self.insts[inst].open.insert(number, request.clone());
            requests.push(request);
        }
        requests
    }

    /// An application sends something that no record caused.
    pub fn send_tick(&mut self, run: Run) {
        if !self.app_runs(run) || self.settling {
            return;
        }
        let Some(every) = self.service_plan(run.inst).every else {
            return;
        };
        let delay = self.rng.random_range(every / 4..every * 2);
        self.after(delay, Event::SendTick(run));
        let inst = &self.insts[run.inst];
        let parked = inst.pausing.is_some() || inst.paused.is_some();
        if parked || inst.free_sends() >= FREE_MAX || self.records.len() > RECORDS_MAX {
            return;
        }
        let hops = self.rng.random_range(1..=4);
        let sends: Vec<Rec> = (0..self.rng.random_range(1..=2))
            .filter_map(|_| self.make_record(run.inst, hops))
            .collect();
        if !self.is_source(run.inst) {
            let ledger = self.insts[run.inst].ledger;
            self.ledgers[ledger].sent.extend(sends.iter().copied());
        }
        for request in self.requests(run.inst, &sends, Owner::Free) {
            self.after(1, Event::ProduceTry(run, request));
        }
    }

    /// A Produce asks to pass.
    pub fn produce_try(&mut self, run: Run, request: Request) {
        if !self.app_runs(run) {
            return;
        }
        if !self.insts[run.inst].sidecar.up {
            self.insts[run.inst].waiting.push(request);
            return;
        }
        let (now, tp) = (self.moment(), self.tp(request.part));
        let inst = &mut self.insts[run.inst];
        let intent = ProduceIntent {
            conn: inst.producer_conn(request.part),
            transactional_id: None,
            answered: true,
            partitions: std::slice::from_ref(&tp),
        };
        let number = request.number;
        let outcome = inst.sidecar.process.admit_produce(now, &intent);
        match outcome {
            Admission::Pass(Some(ticket)) => {
                inst.under_way
                    .insert(request.number, (request.clone(), ticket));
                let fate = self.fate();
                let delay = self.wire();
                let side = self.insts[run.inst].sidecar.run;
                self.after(delay, Event::ProduceServe(run, side, request, ticket, fate));
            }
            Admission::Pass(None) => unreachable!("it is answered"),
            Admission::Wait => inst.waiting.push(request),
        }
        let id = &self.insts[run.inst].id;
        self.tell(|| format!("{id} produces {number} to {tp}: {outcome:?}"));
        self.drain(run.inst);
    }

    fn fate(&mut self) -> Fate {
        if !self.chance(self.plan.faults.produce) {
            return Fate::Normal;
        }
        match self.rng.random_range(0..3) {
            0 => Fate::LostBefore,
            1 => Fate::LostAfter,
            _ => Fate::Retriable,
        }
    }

    /// The gate has changed: whoever waits asks again, in any order.
    pub fn gate_retry(&mut self, run: Run) {
        if !self.app_runs(run) || !self.insts[run.inst].sidecar.up {
            return;
        }
        let mut waiting = std::mem::take(&mut self.insts[run.inst].waiting);
        waiting.shuffle(&mut self.rng);
        for request in waiting {
            let delay = self.rng.random_range(0..100);
            self.after(delay, Event::ProduceTry(run, request));
        }
    }

    /// It reaches the broker. What was sent before a crash may still do so.
    pub fn produce_serve(
        &mut self,
        run: Run,
        side: u32,
        request: Request,
        ticket: Ticket,
        fate: Fate,
    ) {
        let mut base = 0;
        let (app, fenced) = (self.insts[run.inst].app, self.insts[run.inst].fenced_app);
        // A fence closes connections after their Produces are answered; a crash may leave one behind.
        let crashed = app != run.run && self.rng.random_ratio(1, 2);
        let appended =
            matches!(fate, Fate::Normal | Fate::LostAfter) && run.run >= fenced && !crashed;
        if appended {
            let fresh = !self.broker.logs[request.part].exists;
            let service = self.insts[run.inst].service;
            let log = &mut self.broker.logs[request.part];
            base = log.append(run.inst, service, &request.records).start.0;
            self.raise_high(request.part);
            if fresh {
                self.topic_made(request.part);
            }
        }
        let delay = self.wire();
        self.after(
            delay,
            Event::ProduceAnswer(run, side, request, ticket, fate, base),
        );
    }

    /// The high watermark follows the end, sooner or later.
    pub fn raise_high(&mut self, part: usize) {
        let end = self.broker.logs[part].end();
        if self.plan.high_lag == 0 {
            self.broker.logs[part].high = end;
        } else {
            let usual = self.plan.high_lag;
            let delay = self.delay(usual);
            self.after(delay, Event::High(part, end));
        }
    }

    /// Its answer, or the news that the connection broke, reaches the sidecar.
    pub fn produce_answer(
        &mut self,
        run: Run,
        side: u32,
        request: Request,
        ticket: Ticket,
        fate: Fate,
        base: i64,
    ) {
        let known = self.insts[run.inst].under_way.contains_key(&request.number);
        if !self.app_runs(run) || self.insts[run.inst].sidecar.run != side || !known {
            return;
        }
        let (now, tp) = (self.moment(), self.tp(request.part));
        self.insts[run.inst].under_way.remove(&request.number);
        let count = i64::try_from(request.records.len()).expect("batches are small");
        let process = &mut self.insts[run.inst].sidecar.process;
        match fate {
            Fate::Normal => {
                let span = OffsetRange::new(Offset(base), Offset(base + count));
                process.handle_produce_answer(now, ticket, &[(tp, ProduceAnswer::Landed(span))]);
                self.acknowledged(run, &request);
            }
            Fate::Retriable => {
                process.handle_produce_answer(now, ticket, &[(tp, ProduceAnswer::Doubtful)]);
                self.repeat(run, request);
            }
            Fate::LostBefore | Fate::LostAfter => {
                process.handle_produce_lost(now, ticket);
                self.repeat(run, request);
            }
        }
        self.drain(run.inst);
    }

    fn repeat(&mut self, run: Run, request: Request) {
        let backoff = self.rng.random_range(500..5_000);
        self.after(backoff, Event::ProduceTry(run, request));
    }

    fn acknowledged(&mut self, run: Run, request: &Request) {
        self.insts[run.inst].open.remove(&request.number);
        if self.is_source(run.inst) {
            let ledger = self.insts[run.inst].ledger;
            self.ledgers[ledger]
                .sent
                .extend(request.records.iter().copied());
        }
        match request.owner {
            Owner::Free => {}
            Owner::Work(consumer, number) => {
                let work = self.insts[run.inst].consumers[consumer].work.as_mut();
                if let Some(work) = work.filter(|work| work.number == number) {
                    work.unanswered -= 1;
                    self.commit_if_answered(run.inst, consumer);
                }
            }
        }
        self.try_pause(run.inst);
    }
}
