//! What a process says to its application's hook, and what it makes of the answers (1-protocol §4.3).
//!
//! One call is under way at a time. A checkpoint takes the application where it stands still; a restore wants it finished.

use std::{collections::BTreeMap, time::Duration};

use cutline_model::{Capture, Epoch, InputPartition, Offset, TopicPartition};

use super::{Committed, Phase, Process, ProcessOutput, quiesce::Drained};
use crate::{input::Finished, moment::Moment};

/// How long an application goes on before its hook is asked to pause again, unless a commit is seen earlier.
const WORK_ON: Duration = Duration::from_millis(50);

impl Process {
    pub(super) fn pause_hook(&mut self) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.hook_paused = true;
        attempt.poll_at = None;
        let epoch = attempt.epoch;
        self.call_hook(ProcessOutput::PauseHook(epoch));
    }

    /// It is time to look at a drain again: at the committed offsets, or at an application that was left to work on.
    pub(super) fn poll_again(&mut self, now: Moment) {
        let works_on = self.attempt.as_ref().is_some_and(|attempt| {
            self.config.capture == Capture::Hook
                && attempt.phase == Phase::Draining
                && !attempt.hook_paused
        });
        if works_on {
            self.pause_hook();
        } else {
            self.read_committed(now);
        }
    }

    /// The hook's answer to `pause`.
    pub fn handle_paused(
        &mut self,
        now: Moment,
        epoch: Epoch,
        answer: Result<BTreeMap<TopicPartition, Offset>, String>,
    ) {
        self.hook_answered();
        let admitted = self.outputs.admitted();
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        if attempt.phase != Phase::Draining || !attempt.hook_paused {
            return;
        }
        match answer {
            Ok(positions) => {
                attempt.hook_positions = Some(positions);
                attempt.admitted_when_paused = Some(admitted);
                self.read_committed(now);
            }
            Err(reason) => self.decline(now, format!("the hook did not pause: {reason}")),
        }
    }

    pub(super) fn step_hook(&mut self, now: Moment) {
        let attempt = self
            .attempt
            .as_ref()
            .expect("a hook's answer belongs to an attempt");
        if attempt.admitted_when_paused != Some(self.outputs.admitted()) {
            return self.decline(
                now,
                "something was produced while the hook was paused".to_owned(),
            );
        }
        let positions = match self.hook_drained() {
            Ok(positions) => positions,
            Err(reason) => return self.decline(now, reason),
        };
        if attempt.purpose.stays_held() && self.rules.finish_before_fence {
            match self.drained(&positions) {
                Drained::Yes(_) => {}
                Drained::No(why) => return self.work_on(now, why),
                Drained::Never(why) => return self.decline(now, why),
                Drained::Look(looks) => return self.look_aside(looks),
            }
        }
        let attempt = self
            .attempt
            .as_mut()
            .expect("a hook's answer belongs to an attempt");
        attempt.positions = positions;
        attempt.phase = Phase::Gated;
        attempt.quiet = false;
        self.outputs.close_gate();
        self.step_gate(now);
    }

    /// What its client fetched ahead is in the application's hands, and no fence takes it away: it would be worked on when
    /// the state is another one, or when the hook's lease ends. So it goes on, with nothing new to read, until all is done.
    fn work_on(&mut self, now: Moment, why: String) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.last_obstacle = why;
        attempt.hook_paused = false;
        attempt.hook_positions = None;
        attempt.admitted_when_paused = None;
        attempt.poll_at = Some(now + WORK_ON);
        let epoch = attempt.epoch;
        self.call_hook(ProcessOutput::ResumeHook(epoch));
    }

    /// The hook's positions, each at most what was delivered; the committed offset where the hook names none.
    fn hook_drained(&self) -> Result<Committed, String> {
        let attempt = self
            .attempt
            .as_ref()
            .expect("a hook's answer belongs to an attempt");
        let named = attempt
            .hook_positions
            .as_ref()
            .ok_or("the hook has not answered")?;
        let mut positions = BTreeMap::new();
        for InputPartition { group, partition } in &attempt.inputs {
            let key = (group.clone(), partition.clone());
            let position = match named.get(partition) {
                Some(&position) => {
                    let delivered = self.inputs.delivered_end(partition);
                    if delivered.is_some_and(|end| position > end) {
                        return Err(format!(
                            "the hook's position {position} on {partition} lies past what was delivered"
                        ));
                    }
                    Some(position)
                }
                None => match self.inputs.finished(
                    partition,
                    attempt.committed.get(&key).copied().flatten(),
                    self.groups.get(group).is_some_and(|here| here.fresh),
                    attempt.groups_on(partition),
                ) {
                    Finished::Yes(position) => position,
                    _ => {
                        return Err(format!(
                            "the hook names no position for {partition}, where work is under way"
                        ));
                    }
                },
            };
            positions.insert(key, position);
        }
        Ok(positions)
    }

    /// One call of the hook at a time: a `resume` that is still on its way must not undo the next `pause`.
    pub(super) fn call_hook(&mut self, call: ProcessOutput) {
        self.hook_calls.push_back(call);
        if !self.hook_busy {
            self.next_hook_call();
        }
    }

    /// The call under way was answered; every call is, if only by the shell's own timeout.
    pub(super) fn hook_answered(&mut self) {
        self.hook_busy = false;
        self.next_hook_call();
    }

    fn next_hook_call(&mut self) {
        while let Some(call) = self.hook_calls.pop_front() {
            let over = |epoch: &Epoch| self.epoch() != Some(*epoch);
            if matches!(&call, ProcessOutput::PauseHook(epoch) if over(epoch)) {
                continue;
            }
            self.hook_busy = true;
            self.queue.push_back(call);
            return;
        }
    }

    /// The hook's answer to `resume`: whether its lease had held until now.
    pub fn handle_resumed(&mut self, now: Moment, epoch: Epoch, answer: Result<bool, String>) {
        self.hook_answered();
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        if attempt.phase != Phase::Released || attempt.resumed {
            return;
        }
        match answer {
            Ok(true) => {
                attempt.resumed = true;
                self.try_report();
            }
            Ok(false) => self.decline(
                now,
                "the hook went on by itself before the state was recorded".to_owned(),
            ),
            Err(reason) => self.decline(
                now,
                format!("the hook did not say whether its lease held: {reason}"),
            ),
        }
    }
}
