//! Fetching: a consumer's connection asks, the sidecar may hold it back, the answer passes what the core lets pass.

use cutline_model::Offset;
use cutline_protocol::{Aborted, Verdict};
use rand::Rng;

use super::{
    broker::{Kind, LogBatch},
    event::{Event, Run},
    world::World,
};

/// How long a consumer waits before it asks again, at most (microseconds).
const POLL: u64 = 6_000;
/// How many records a consumer takes ahead of processing them.
const AHEAD_MAX: usize = 12;

impl World {
    /// Every connection of an instance's consumers asks soon.
    pub fn fetch_soon(&mut self, inst: usize) {
        let run = self.insts[inst].app_run(inst);
        for consumer in 0..self.insts[inst].consumers.len() {
            for lane in 0..2 {
                let delay = self.rng.random_range(1..300);
                self.after(delay, Event::FetchTick(run, consumer, lane));
            }
        }
    }

    /// A connection asks for every partition that may be fetched.
    pub fn fetch_tick(&mut self, run: Run, consumer: usize, lane: usize) {
        if !self.app_runs(run) || !self.insts[run.inst].sidecar.up {
            return;
        }
        let now = self.moment();
        let this = &self.insts[run.inst].consumers[consumer];
        if this.fetching[lane].is_some() || this.assigned.is_empty() {
            return;
        }
        let this_full = this.buffer.len() > AHEAD_MAX;
        let conn = self.insts[run.inst].conn(consumer, lane);
        let wanted: Vec<(usize, i64)> = this
            .assigned
            .iter()
            .filter(|part| *part % 2 == lane)
            .map(|part| (*part, this.fetch[part]))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let mut asks = Vec::new();
        for (part, at) in wanted {
            let tp = self.tp(part);
            let process = &mut self.insts[run.inst].sidecar.process;
            if process.may_fetch(now, conn, &tp, Offset(at)) {
                asks.push((part, at));
            }
        }
        let fetch = self.number();
        self.insts[run.inst].consumers[consumer].fetching[lane] = Some(fetch);
        if this_full || asks.is_empty() {
            // The answer waits as a long poll would.
            let delay = self.rng.random_range(POLL / 2..POLL);
            self.after(
                delay,
                Event::FetchArrive(run, fetch, consumer, lane, Vec::new()),
            );
        } else {
            let delay = self.wire();
            self.after(delay, Event::FetchServe(run, fetch, consumer, lane, asks));
        }
    }

    /// The broker answers with what is below its high watermark.
    pub fn fetch_serve(
        &mut self,
        run: Run,
        fetch: u64,
        consumer: usize,
        lane: usize,
        asks: &[(usize, i64)],
    ) {
        let batches_max = self.rng.random_range(1..=5);
        let mut answers: Vec<(usize, Vec<LogBatch>)> = Vec::new();
        for (part, from) in asks {
            let found = self.broker.logs[*part].read(*from, batches_max);
            if !found.is_empty() {
                answers.push((*part, found.to_vec()));
            }
        }
        let delay = if answers.is_empty() {
            self.rng.random_range(POLL / 2..POLL)
        } else {
            self.wire()
        };
        self.after(
            delay,
            Event::FetchArrive(run, fetch, consumer, lane, answers),
        );
    }

    /// The answer passes the sidecar.
    pub fn fetch_arrive(
        &mut self,
        run: Run,
        fetch: u64,
        consumer: usize,
        lane: usize,
        answers: Vec<(usize, Vec<LogBatch>)>,
    ) {
        let alive = self.app_runs(run) && self.insts[run.inst].sidecar.up;
        let this = &mut self.insts[run.inst].consumers[consumer];
        // The connection was closed since: nobody gets this.
        if !alive || this.fetching[lane] != Some(fetch) {
            return;
        }
        this.fetching[lane] = None;
        for (part, batches) in answers {
            self.pass(run.inst, consumer, lane, part, &batches);
        }
        self.drain(run.inst);
        self.after(1, Event::AppStep(run, consumer));
        let delay = self.rng.random_range(1..400);
        self.after(delay, Event::FetchTick(run, consumer, lane));
    }

    fn pass(
        &mut self,
        inst: usize,
        consumer: usize,
        lane: usize,
        part: usize,
        batches: &[LogBatch],
    ) {
        let (now, tp) = (self.moment(), self.tp(part));
        let torn = self.rng.random_ratio(1, 20);
        let last = batches.len() - 1;
        let headers: Vec<_> = batches
            .iter()
            .enumerate()
            .map(|(index, batch)| batch.header(!(torn && index == last)))
            .collect();
        let conn = self.insts[inst].conn(consumer, lane);
        let mut verdicts = Vec::new();
        let process = &mut self.insts[inst].sidecar.process;
        process.deliver(now, conn, &tp, Aborted::Shown, &headers, &mut verdicts);
        let this = &mut self.insts[inst].consumers[consumer];
        let Some(fetch) = this.fetch.get_mut(&part) else {
            return;
        };
        if batches[0].base > *fetch {
            // Asked for before its position moved: a client throws it away.
            return;
        }
        for ((batch, header), verdict) in batches.iter().zip(&headers).zip(&verdicts) {
            if *verdict == Verdict::Stop || !header.complete {
                break;
            }
            if let (Kind::Data { records, .. }, Verdict::Pass) = (&batch.kind, verdict) {
                for (offset, rec) in (batch.base..).zip(records) {
                    if offset >= *fetch {
                        this.buffer.push_back((part, offset, *rec));
                    }
                }
            }
            *fetch = (*fetch).max(batch.last + 1);
        }
    }
}
