//! The sidecar's shell in the model: it carries out what the core asks for, each thing after a delay, and feeds the answers.
//!
//! It holds no rule, except that it can be told to break one: to report markers as written when EndTxn has answered.

use std::collections::BTreeMap;

use cutline_model::{
    FromSidecar, InputPartition, MarkerId, Offset, PartRef, PartitionOffset, ToSidecar,
    TopicPartition,
};
use cutline_protocol::{Committed, MarkPair, Process, ProcessConfig, ProcessOutput};
use rand::Rng;

use super::{
    broker::{Kind, Marking},
    event::{Event, Job, Run},
    schedule::Danger,
    world::World,
};

impl World {
    /// The core of a sidecar's new run.
    pub fn new_process(&self, id: &cutline_model::SidecarId, service: usize, run: u32) -> Process {
        let plan = &self.plan.services[service];
        let mut process = Process::new(ProcessConfig {
            id: id.clone(),
            incarnation: format!("{id}#{run}").into(),
            scope: plan.scope,
            capture: plan.capture,
            guarantee: cutline_model::Guarantee::Consistent,
            has_state: plan.has_state,
            rebuildable: Default::default(),
        });
        process.set_rules(self.rules);
        process
    }

    /// Carries out everything the core of an instance's sidecar asks for.
    pub fn drain(&mut self, inst: usize) {
        while let Some(output) = self.insts[inst].sidecar.process.poll_output() {
            self.carry_out(inst, output);
        }
        self.watch(inst);
    }

    /// Nothing may stay held longer than the watchdog allows; the core's timer is set.
    fn watch(&mut self, inst: usize) {
        let (now, limit) = (self.now, self.plan.limits.max_pause_ms * 1_000);
        let bounds = self.bounds.len();
        let sidecar = &mut self.insts[inst].sidecar;
        let outputs = sidecar.process.outputs().is_closed();
        let held = outputs || sidecar.process.inputs().held() > bounds;
        sidecar.held_since = held.then(|| sidecar.held_since.unwrap_or(now));
        let since = sidecar.held_since.unwrap_or(now);
        let due = sidecar.process.poll_timeout();
        let due = due.map(|at| u64::try_from(at.0.as_micros()).expect("a schedule is short"));
        let run = Run {
            inst,
            run: sidecar.run,
        };
        if let Some(at) = due.filter(|at| sidecar.timer.is_none_or(|set| *at < set)) {
            sidecar.timer = Some(at);
            self.at(at, Event::Timer(run));
        }
        if now > since + limit {
            let id = self.insts[inst].id.clone();
            self.violate(format!(
                "{id} held for {} µs, longer than max-pause",
                now - since
            ));
        }
    }

    /// The core's time has come.
    pub fn timer(&mut self, run: Run) {
        if !self.sidecar_runs(run) {
            return;
        }
        let now = self.moment();
        let sidecar = &mut self.insts[run.inst].sidecar;
        sidecar.timer = None;
        sidecar.process.handle_timeout(now);
        self.drain(run.inst);
    }

    fn carry_out(&mut self, inst: usize, output: ProcessOutput) {
        let run = self.insts[inst].sidecar_run(inst);
        let wire = self.wire();
        let later = |world: &mut Self, job| world.after(wire, Event::Job(run, job));
        match output {
            ProcessOutput::Send(message) => self.send_up(inst, message),
            ProcessOutput::TakePairs(epoch) => later(self, Job::Pairs(epoch.0)),
            ProcessOutput::ReadCommitted { read, inputs } => {
                later(self, Job::ReadCommitted(read, inputs));
            }
            ProcessOutput::LookAside {
                partition,
                from,
                to,
                ..
            } => later(self, Job::Look(partition, from, to)),
            ProcessOutput::ProveUnacked(conns) => later(self, Job::Proved(conns)),
            ProcessOutput::PauseHook(epoch) => {
                if self.insts[inst].running {
                    self.insts[inst].pausing = Some(epoch.0);
                    self.try_pause(inst);
                } else {
                    self.after(wire, Event::HookPaused(run, epoch.0));
                }
            }
            ProcessOutput::ResumeHook(epoch) => later(self, Job::Resumed(epoch.0)),
            ProcessOutput::Record(epoch) => later(self, Job::Fix(epoch.0)),
            ProcessOutput::Discard(_) => {}
            ProcessOutput::Mark {
                epoch,
                pair,
                marker,
                partitions,
            } => {
                self.snapshot_virtual(inst, epoch.0);
                later(self, Job::EndTxn(epoch.0, pair, marker, partitions));
            }
            ProcessOutput::Locate {
                epoch,
                pair,
                marker,
                partitions,
            } => later(self, Job::Locate(epoch.0, pair, marker, partitions)),
            ProcessOutput::RegisterTopics(topics) => later(self, Job::Registered(topics)),
            ProcessOutput::HoldsChanged => self.fetch_soon(inst),
            ProcessOutput::GateChanged => {
                let (run, delay) = (self.insts[inst].app_run(inst), self.rng.random_range(1..50));
                self.after(delay, Event::GateRetry(run));
            }
        }
    }

    fn send_up(&mut self, inst: usize, message: FromSidecar) {
        match &message {
            FromSidecar::Recorded { epoch } => self.snapshot_virtual(inst, epoch.0),
            FromSidecar::Reported { epoch, .. } => {
                self.snapshot_virtual(inst, epoch.0);
                self.seek_danger_at_report(inst);
            }
            _ => {}
        }
        let id = self.insts[inst].id.clone();
        self.tell(|| format!("{id} → {}", brief(&message)));
        for at in self.copies(inst, 0) {
            self.at(at, Event::Up(id.clone(), Box::new(message.clone())));
        }
    }

    /// When the copies of a message arrive: usually one, sometimes none or two.
    pub fn copies(&mut self, inst: usize, direction: usize) -> Vec<u64> {
        let faults = self.plan.faults;
        if self.chance(faults.lose) {
            return Vec::new();
        }
        let mut first = self.now + self.wire();
        if self.chance(faults.reorder) {
            first += self.rng.random_range(1..10 * self.plan.wire);
        } else {
            // One link carries messages one after the other.
            let last = &mut self.insts[inst].link[direction];
            first = first.max(*last + 1);
            *last = first;
        }
        if self.chance(faults.double) {
            vec![first, first + self.rng.random_range(1..20_000)]
        } else {
            vec![first]
        }
    }

    /// A message of the coordinator arrives.
    pub fn down(&mut self, id: &cutline_model::SidecarId, message: ToSidecar) {
        let Some(inst) = self.inst_of(id).filter(|inst| self.insts[*inst].sidecar.up) else {
            return;
        };
        self.tell(|| format!("{id} ← {}", brief(&message)));
        let now = self.moment();
        let process = &mut self.insts[inst].sidecar.process;
        process.handle_message(now, message);
        self.drain(inst);
    }

    /// Something the shell started is done.
    pub fn job(&mut self, run: Run, job: Job) {
        if let Job::Registered(topics) = &job {
            // What is in the control topic stays there, whoever wrote it.
            let service = self.insts[run.inst].service;
            let name = self.services[service].name.clone();
            self.outputs
                .entry(name)
                .or_default()
                .extend(topics.iter().cloned());
        }
        if !self.sidecar_runs(run) {
            return;
        }
        self.answer(run, job);
        self.drain(run.inst);
    }

    fn answer(&mut self, run: Run, job: Job) {
        let (inst, now) = (run.inst, self.moment());
        let failed = self.chance(self.plan.faults.call);
        match job {
            Job::Pairs(epoch) => {
                let pairs = (self.fresh_pair(inst, 0), self.fresh_pair(inst, 1));
                let answer = if failed { trouble() } else { Ok(pairs) };
                self.process(inst)
                    .handle_pairs(now, epoch.into_epoch(), answer);
            }
            Job::ReadCommitted(read, inputs) => {
                let answer = if failed {
                    trouble()
                } else {
                    Ok(self.committed(&inputs))
                };
                let delay = self.wire();
                self.after(delay, Event::Job(run, Job::Committed(read, answer)));
            }
            Job::Committed(read, answer) => self.process(inst).handle_committed(now, read, answer),
            Job::Look(partition, from, to) => {
                let answer = if failed {
                    trouble()
                } else {
                    Ok(self.is_visible(&partition, from, to))
                };
                self.process(inst)
                    .handle_looked(now, &partition, from, to, answer);
            }
            Job::Proved(conns) => self.process(inst).handle_proved(now, &conns),
            Job::Resumed(epoch) => {
                let held = self.insts[inst].paused == Some(epoch);
                self.insts[inst].pausing = None;
                self.insts[inst].paused = None;
                self.wake(inst);
                let answer = if failed { trouble() } else { Ok(held) };
                self.process(inst)
                    .handle_resumed(now, epoch.into_epoch(), answer);
            }
            Job::Registered(topics) => {
                let service = self.insts[inst].service;
                for other in 0..self.insts.len() {
                    let of_service = self.insts[other].service == service;
                    if of_service && self.insts[other].sidecar.up {
                        self.process(other).handle_registered(topics.clone());
                        self.drain(other);
                    }
                }
            }
            other => self.part_answer(run, other, failed),
        }
    }

    /// Answers about the part: its state and its markers.
    fn part_answer(&mut self, run: Run, job: Job, failed: bool) {
        let (inst, now) = (run.inst, self.moment());
        match job {
            Job::Fix(epoch) => {
                self.snapshot(inst, epoch);
                let delay = self.wire();
                self.after(delay, Event::Job(run, Job::Recorded(epoch)));
            }
            Job::Recorded(epoch) => {
                let answer = if failed { trouble() } else { Ok(()) };
                self.process(inst)
                    .handle_recorded(now, epoch.into_epoch(), answer);
                let delay = self.delay(20_000);
                self.after(delay, Event::Job(run, Job::Stored(epoch)));
            }
            Job::Stored(epoch) => {
                let part = PartRef {
                    key: format!("{epoch}/{inst}"),
                    hash: String::new(),
                    state_bytes: 1,
                    uploaded_bytes: 1,
                    provider: "model".to_owned(),
                    async_ms: 1,
                };
                let answer = if failed { trouble() } else { Ok(Some(part)) };
                self.process(inst)
                    .handle_stored(now, epoch.into_epoch(), answer);
            }
            Job::EndTxn(epoch, pair, ..) if failed => {
                self.process(inst)
                    .handle_marked(now, epoch.into_epoch(), pair, trouble());
            }
            Job::EndTxn(epoch, pair, marker, partitions) => {
                self.end_txn(run, epoch, pair, marker, &partitions);
            }
            Job::Settle(epoch, pair, marking) => {
                if self.broker.markings.contains_key(&marking) {
                    // CONCURRENT_TRANSACTIONS: not all markers are in the log.
                    self.after(300, Event::Job(run, Job::Settle(epoch, pair, marking)));
                } else {
                    self.process(inst)
                        .handle_marked(now, epoch.into_epoch(), pair, Ok(()));
                }
            }
            Job::Locate(epoch, pair, marker, partitions) => {
                match self.locate(marker, &partitions) {
                    Some(found) => {
                        self.process(inst)
                            .handle_located(now, epoch.into_epoch(), pair, Ok(found));
                    }
                    None => {
                        let again = Job::Locate(epoch, pair, marker, partitions);
                        self.after(500, Event::Job(run, again));
                    }
                }
            }
            _ => unreachable!("answered elsewhere"),
        }
    }

    /// EndTxn: the markers are appended later, each partition in its own time.
    fn end_txn(
        &mut self,
        run: Run,
        epoch: u64,
        pair: MarkPair,
        marker: MarkerId,
        partitions: &[TopicPartition],
    ) {
        let marking = self.start_marking(marker, partitions);
        let delay = self.wire();
        if self.plan.danger == Danger::GateOnEndTxn {
            let now = self.moment();
            self.process(run.inst)
                .handle_marked(now, epoch.into_epoch(), pair, Ok(()));
        } else {
            self.after(delay, Event::Job(run, Job::Settle(epoch, pair, marking)));
        }
    }

    /// The broker has decided a marker transaction.
    pub fn start_marking(&mut self, marker: MarkerId, partitions: &[TopicPartition]) -> u64 {
        let marking = self.number();
        let pending = partitions.iter().map(|p| self.broker.part(p)).collect();
        self.broker
            .markings
            .insert(marking, Marking { marker, pending });
        for partition in partitions {
            let usual = self.plan.marker_lag;
            let delay = self.delay(usual);
            self.after(delay, Event::Land(marking, self.broker.part(partition)));
        }
        marking
    }

    /// A marker is appended.
    pub fn land(&mut self, marking: u64, part: usize) {
        let Some(this) = self.broker.markings.get_mut(&marking) else {
            return;
        };
        if !this.pending.remove(&part) {
            return;
        }
        let (marker, done) = (this.marker, this.pending.is_empty());
        if done {
            self.broker.markings.remove(&marking);
        }
        let offset = self.broker.logs[part].append_control(marker, true);
        self.tell(|| format!("marker {marker} at {}@{offset}", self.tp(part)));
        self.raise_high(part);
    }

    /// Where the markers are; none while one of them cannot be read yet.
    pub fn locate(
        &self,
        marker: MarkerId,
        partitions: &[TopicPartition],
    ) -> Option<Vec<PartitionOffset>> {
        let find = |partition: &TopicPartition| {
            let offset = self.broker.logs[self.broker.part(partition)].find(marker)?;
            let partition = partition.clone();
            Some(PartitionOffset { partition, offset })
        };
        partitions.iter().map(find).collect()
    }

    fn committed(&self, inputs: &[InputPartition]) -> Committed {
        let read = |input: &InputPartition| {
            let group = &self.broker.groups[self.broker.group(&input.group)];
            let part = self.broker.part(&input.partition);
            let offset = group.committed.get(&part).map(|at| Offset(*at));
            ((input.group.clone(), input.partition.clone()), offset)
        };
        inputs.iter().map(read).collect()
    }

    fn is_visible(&self, partition: &TopicPartition, from: Offset, to: Offset) -> bool {
        let log = &self.broker.logs[self.broker.part(partition)];
        let masked = self.masks.of(partition);
        log.batches.iter().any(|batch| {
            let hidden = masked.is_some_and(|ranges| ranges.overlaps(batch.span()));
            let data = matches!(batch.kind, Kind::Data { .. });
            data && !hidden && batch.base < to.0 && batch.last >= from.0
        })
    }

    /// The hook has paused: its positions.
    pub fn hook_paused(&mut self, run: Run, epoch: u64) {
        if !self.sidecar_runs(run) {
            return;
        }
        let now = self.moment();
        let paused = self.insts[run.inst].paused == Some(epoch);
        self.tell(|| format!("{} paused for {epoch}: {paused}", self.insts[run.inst].id));
        let answer = if self.chance(self.plan.faults.call) || !paused {
            Err("something went wrong".to_owned())
        } else {
            let consumers = self.insts[run.inst].consumers.iter();
            let all = consumers.flat_map(|c| c.position.iter());
            Ok(all
                .map(|(part, at)| (self.tp(*part), Offset(*at)))
                .collect::<BTreeMap<_, _>>())
        };
        self.process(run.inst)
            .handle_paused(now, epoch.into_epoch(), answer);
        self.drain(run.inst);
    }

    /// The core of an instance's sidecar.
    pub fn process(&mut self, inst: usize) -> &mut Process {
        &mut self.insts[inst].sidecar.process
    }
}

/// The model counts epochs in numbers.
trait IntoEpoch {
    fn into_epoch(self) -> cutline_model::Epoch;
}

impl IntoEpoch for u64 {
    fn into_epoch(self) -> cutline_model::Epoch {
        cutline_model::Epoch(self)
    }
}

/// A message in short, for people.
pub fn brief(message: &impl std::fmt::Debug) -> String {
    let text = format!("{message:?}");
    text.chars().take(400).collect()
}

/// What the broker, the hook or the store may answer to anything.
fn trouble<T>() -> Result<T, String> {
    Err("something went wrong".to_owned())
}
