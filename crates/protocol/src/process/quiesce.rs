//! Hold, drain, shut the gate, look again (1-protocol §4.3 and §4.4).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cutline_model::{Capture, InputPartition, Offset, TopicPartition};

use super::{Committed, Phase, Process, ProcessOutput};
use crate::{
    input::{ConnId, Finished},
    moment::Moment,
};

/// How long to wait before committed offsets are read again when no commit was seen passing by.
const READ_AGAIN: Duration = Duration::from_millis(10);

/// What one look at every input came to.
pub(super) enum Drained {
    Yes(Committed),
    No(String),
    Look(BTreeSet<(TopicPartition, Offset, Offset, bool)>),
    Never(String),
}

impl Process {
    /// *Go*: an aligned process waits for its markers, any other holds at once.
    pub(super) fn go(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        // Who is not armed knows neither the markers nor what to report; whoever has met a marker is under way already.
        if attempt.phase != Phase::Armed {
            return;
        }
        attempt.gone_at = now;
        if attempt.unaligned {
            attempt.phase = Phase::Aligning;
            self.hold_everything(now);
        } else {
            let alignment = attempt.limits.alignment_ms;
            attempt.enter(now, Phase::Aligning, alignment);
            self.check_aligned(now);
        }
    }

    /// An armed marker was met while delivering; the partition is held at it already.
    pub(super) fn met_marker(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.phase == Phase::Armed {
            // Somebody was told to go before us: this marker is our *go*.
            attempt.gone_at = now;
            let alignment = attempt.limits.alignment_ms;
            attempt.enter(now, Phase::Aligning, alignment);
        }
        attempt.note_hold(now);
        if attempt.unaligned {
            self.hold_everything(now);
        } else {
            self.check_aligned(now);
        }
    }

    pub(super) fn give_up_alignment(&mut self, now: Moment) {
        if let Some(attempt) = &mut self.attempt {
            attempt.unaligned = true;
        }
        self.hold_everything(now);
    }

    fn check_aligned(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        if attempt
            .inputs
            .iter()
            .all(|input| self.inputs.is_held(&input.partition))
        {
            self.hold_everything(now);
        }
    }

    fn hold_everything(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.phase != Phase::Aligning {
            return;
        }
        self.inputs.hold_all();
        attempt.note_hold(now);
        attempt.last_hold = Some(now);
        attempt.timings.alignment_ms = now.millis_since(attempt.first_hold.unwrap_or(now));
        let drain = attempt.limits.drain_ms;
        attempt.enter(now, Phase::Draining, drain);
        self.queue.push_back(ProcessOutput::HoldsChanged);
        match self.config.capture {
            Capture::Hook => self.pause_hook(),
            Capture::Commit => self.read_committed(now),
        }
    }

    /// Asks for the committed offsets, unless an answer is already under way.
    pub(super) fn read_committed(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.read_open || !matches!(attempt.phase, Phase::Draining | Phase::Gated) {
            return;
        }
        self.reads += 1;
        attempt.read = self.reads;
        attempt.poll_at = None;
        attempt.admitted_at_read = self.outputs.admitted();
        if attempt.inputs.is_empty() {
            self.looked_at_commits(now);
            return;
        }
        attempt.read_open = true;
        self.queue.push_back(ProcessOutput::ReadCommitted {
            read: attempt.read,
            inputs: attempt.inputs.clone(),
        });
    }

    /// What the broker says is committed; an error means: ask again.
    pub fn handle_committed(&mut self, now: Moment, read: u64, answer: Result<Committed, String>) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.read != read || !attempt.read_open {
            return;
        }
        attempt.read_open = false;
        match answer {
            Ok(committed) => {
                let mut lowest: BTreeMap<&TopicPartition, Option<Offset>> = BTreeMap::new();
                for ((_, partition), offset) in &committed {
                    let least = lowest.entry(partition).or_insert(*offset);
                    *least = (*least).min(*offset);
                }
                for (partition, offset) in lowest {
                    self.inputs.note_committed(partition, offset);
                }
                attempt.committed = committed;
                self.looked_at_commits(now);
            }
            Err(reason) => {
                attempt.last_obstacle = reason;
                attempt.poll_at = Some(now + READ_AGAIN);
            }
        }
    }

    /// Whether a record of `[from, to)` is visible to the client; an error means: look again.
    pub fn handle_looked(
        &mut self,
        now: Moment,
        partition: &TopicPartition,
        from: Offset,
        to: Offset,
        visible: Result<bool, String>,
    ) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.looks_open.remove(partition);
        match visible {
            Ok(visible) => {
                attempt
                    .looked
                    .insert(partition.clone(), (from, to, visible));
            }
            Err(reason) => return self.wait_for_commits(now, reason),
        }
        if attempt.looks_open.is_empty() && !attempt.read_open {
            self.looked_at_commits(now);
        }
    }

    fn looked_at_commits(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        match attempt.phase {
            // A commit that passes before the hook has answered says nothing.
            Phase::Draining if attempt.hook_paused && attempt.hook_positions.is_none() => {}
            Phase::Draining if attempt.hook_paused => self.step_hook(now),
            // It works on, to be paused again.
            Phase::Draining if self.config.capture == Capture::Hook => {}
            Phase::Draining => self.step_drain(now),
            Phase::Gated => self.look_again(now),
            _ => {}
        }
    }

    fn step_drain(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        match self.drained(&attempt.committed) {
            Drained::Yes(_) if self.produced_since_read() => {
                self.wait_for_commits(
                    now,
                    "something was produced while the committed offsets were read".to_owned(),
                );
            }
            Drained::Yes(positions) => {
                let attempt = self
                    .attempt
                    .as_mut()
                    .expect("a drain belongs to an attempt");
                attempt.positions = positions;
                attempt.before_gate = Some(attempt.committed.clone());
                attempt.phase = Phase::Gated;
                attempt.quiet = false;
                self.outputs.close_gate();
                self.step_gate(now);
            }
            Drained::No(why) => self.wait_for_commits(now, why),
            Drained::Never(why) => self.decline(now, why),
            Drained::Look(looks) => self.look_aside(looks),
        }
    }

    pub(super) fn look_aside(&mut self, looks: BTreeSet<(TopicPartition, Offset, Offset, bool)>) {
        let attempt = self
            .attempt
            .as_mut()
            .expect("a drain belongs to an attempt");
        for (partition, from, to, committed_only) in looks {
            if attempt.looks_open.insert(partition.clone()) {
                self.queue.push_back(ProcessOutput::LookAside {
                    partition,
                    from,
                    to,
                    committed_only,
                });
            }
        }
    }

    /// Work that is not driven by what was delivered shows as a Produce after everything was committed.
    fn produced_since_read(&self) -> bool {
        let attempt = self
            .attempt
            .as_ref()
            .expect("a drain belongs to an attempt");
        !self.is_source() && attempt.admitted_at_read != self.outputs.admitted()
    }

    fn wait_for_commits(&mut self, now: Moment, why: String) {
        if let Some(attempt) = &mut self.attempt {
            attempt.last_obstacle = why;
            attempt.poll_at = Some(now + READ_AGAIN);
        }
    }

    /// Whether every input is finished, where `finished` says how far the application is.
    pub(super) fn drained(&self, finished: &Committed) -> Drained {
        let attempt = self
            .attempt
            .as_ref()
            .expect("a drain belongs to an attempt");
        let mut positions = BTreeMap::new();
        let mut looks = BTreeSet::new();
        for InputPartition { group, partition } in &attempt.inputs {
            let key = (group.clone(), partition.clone());
            let committed = finished.get(&key).copied().flatten();
            let fresh = self.groups.get(group).is_some_and(|here| here.fresh);
            let groups = attempt.groups_on(partition);
            match self.inputs.finished(partition, committed, fresh, groups) {
                Finished::Yes(position) => {
                    positions.insert(key, position);
                }
                Finished::NotYet(why) => {
                    return Drained::No(format!("{group} on {partition}: {why}"));
                }
                Finished::Unknown(why) => {
                    return Drained::Never(format!("{group} on {partition}: {why}"));
                }
                Finished::LookAside {
                    from,
                    to,
                    committed_only,
                } => match attempt.looked.get(partition) {
                    Some(&(f, t, false)) if f <= from && t >= to => {
                        positions
                            .insert(key, Some(self.inputs.position_after_look(partition, from)));
                    }
                    Some(&(f, t, true)) if (f, t) == (from, to) => {
                        return Drained::No(format!(
                            "{group} on {partition}: delivered records are not committed"
                        ));
                    }
                    _ => {
                        looks.insert((partition.clone(), from, to, committed_only));
                    }
                },
            }
        }
        if looks.is_empty() {
            Drained::Yes(positions)
        } else {
            Drained::Look(looks)
        }
    }

    /// The gate is shut: is anything still under way?
    pub(super) fn step_gate(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.phase != Phase::Gated || attempt.quiet {
            return;
        }
        if !self.outputs.is_quiet() {
            attempt.last_obstacle = self.outputs.unrest();
            return;
        }
        let unproved = self.outputs.unproved();
        if !unproved.is_empty() {
            if self.proving.is_none() {
                self.proving = Some(self.outputs.admitted());
                self.queue.push_back(ProcessOutput::ProveUnacked(unproved));
            }
            return;
        }
        attempt.quiet = true;
        // An answer under way is to a question asked before the gate was shut.
        attempt.read_open = false;
        if attempt.hook_paused {
            self.quiesced(now);
        } else {
            self.read_committed(now);
        }
    }

    /// Everything sent on these connections was processed by the broker.
    pub fn handle_proved(&mut self, now: Moment, conns: &[ConnId]) {
        // Whatever was let through after the question was asked is not covered by its answer.
        if self.proving.take() == Some(self.outputs.admitted()) {
            self.outputs.proved(conns);
        }
        self.step_gate(now);
    }

    /// The gate was shut on an application whose work is finished: whoever comes now was not finished.
    pub(super) fn after_gate_knock(&mut self, now: Moment) {
        if !self.outputs.was_knocked() || self.is_source() {
            return;
        }
        let Some(attempt) = &self.attempt else { return };
        match attempt.phase {
            Phase::Gated if !attempt.hook_paused => self.reopen(now, "a Produce met the shut gate"),
            Phase::Gated | Phase::Quiesced | Phase::Recording if !attempt.recorded => {
                self.decline(
                    now,
                    "a Produce met the shut gate before the state was recorded".to_owned(),
                );
            }
            _ => {}
        }
    }

    /// A process without input and without state: whatever it wants to send has no cause that a cut could miss.
    fn is_source(&self) -> bool {
        !self.config.has_state
            && self
                .attempt
                .as_ref()
                .is_none_or(|attempt| attempt.inputs.is_empty())
    }

    fn look_again(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        if !attempt.quiet {
            return;
        }
        let advanced = attempt.before_gate.as_ref() != Some(&attempt.committed);
        if advanced {
            self.reopen(now, "a committed offset advanced after the gate was shut");
        } else {
            self.quiesced(now);
        }
    }

    fn reopen(&mut self, now: Moment, why: &str) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.phase = Phase::Draining;
        attempt.quiet = false;
        attempt.read_open = false;
        attempt.last_obstacle = why.to_owned();
        attempt.poll_at = Some(now + READ_AGAIN);
        self.outputs.open_gate();
        self.queue.push_back(ProcessOutput::GateChanged);
    }
}
