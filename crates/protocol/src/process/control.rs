//! What a process does with the coordinator's messages, with time, and when it fails.

use std::{collections::BTreeMap, time::Duration};

use cutline_model::{
    Closing, Epoch, FromSidecar, InputPartition, Limits, MarkerId, Mode, PreparedSidecar, Purpose,
    Role, Timings, ToSidecar, TopicPartition,
};

use super::{Attempt, LateMark, MarkPair, Phase, Process, ProcessOutput};
use crate::moment::Moment;

impl Attempt {
    fn new(now: Moment, epoch: Epoch, mode: Mode, purpose: Purpose, limits: Limits) -> Self {
        Self {
            epoch,
            mode,
            purpose,
            limits,
            phase: Phase::Preparing,
            main: None,
            spare: None,
            markers: Default::default(),
            inputs: Vec::new(),
            outputs: Default::default(),
            role: Role::Solo,
            unaligned: mode != Mode::Aligned || purpose == Purpose::Stop,
            deadline: None,
            watchdog: None,
            poll_at: None,
            read: 0,
            read_open: false,
            admitted_at_read: 0,
            committed: BTreeMap::new(),
            before_gate: None,
            looked: BTreeMap::new(),
            looks_open: Default::default(),
            positions: BTreeMap::new(),
            hook_positions: None,
            admitted_when_paused: None,
            quiet: false,
            marked: Default::default(),
            marker_offsets: None,
            late: LateMark::Unused,
            late_marks: Vec::new(),
            confirm_asked: false,
            ranges: BTreeMap::new(),
            hook_paused: false,
            resumed: false,
            resume_sent: false,
            acknowledged: BTreeMap::new(),
            recorded: false,
            gone_at: now,
            first_hold: None,
            last_hold: None,
            quiet_at: None,
            recorded_at: None,
            timings: Timings::default(),
            last_obstacle: "nothing was read yet".to_owned(),
        }
    }

    /// How many groups are assigned `partition` behind this sidecar.
    pub(super) fn groups_on(&self, partition: &TopicPartition) -> usize {
        let inputs = self.inputs.iter();
        inputs.filter(|input| input.partition == *partition).count()
    }

    /// Armed markers count until this process has cut.
    pub(super) fn heeds_markers(&self) -> bool {
        matches!(self.phase, Phase::Armed | Phase::Aligning) && self.mode != Mode::Synchronous
    }

    /// True when this part of the epoch runs without markers: none are written, none are looked for.
    pub(super) fn is_markerless(&self) -> bool {
        self.mode == Mode::Synchronous || self.purpose == Purpose::Stop
    }

    /// The pair that marks at the cut or late. Markers are written only by attempts that took pairs.
    fn pair(&self, pair: MarkPair) -> MarkerId {
        let marker = match pair {
            MarkPair::Main => self.main,
            MarkPair::Spare => self.spare,
        };
        marker.expect("an attempt that marks took pairs when it prepared")
    }

    pub(super) fn mark_output(
        &self,
        pair: MarkPair,
        partitions: Vec<TopicPartition>,
    ) -> ProcessOutput {
        ProcessOutput::Mark {
            epoch: self.epoch,
            pair,
            marker: self.pair(pair),
            partitions,
        }
    }

    pub(super) fn locate_output(
        &self,
        pair: MarkPair,
        partitions: Vec<TopicPartition>,
    ) -> ProcessOutput {
        ProcessOutput::Locate {
            epoch: self.epoch,
            pair,
            marker: self.pair(pair),
            partitions,
        }
    }

    pub(super) fn enter(&mut self, now: Moment, phase: Phase, for_ms: u64) {
        self.phase = phase;
        self.deadline = Some(now + Duration::from_millis(for_ms));
    }

    pub(super) fn note_hold(&mut self, now: Moment) {
        if self.first_hold.is_none() {
            self.first_hold = Some(now);
            self.watchdog = Some(now + Duration::from_millis(self.limits.max_pause_ms));
            self.timings.start_delay_ms = now.millis_since(self.gone_at);
        }
    }
}

impl Process {
    /// A message of the coordinator. Messages of another epoch than the one in progress are ignored, but for a `Prepare`
    /// of a later one, which ends it.
    pub fn handle_message(&mut self, now: Moment, message: ToSidecar) {
        if let ToSidecar::Prepare {
            epoch,
            mode,
            purpose,
            limits,
            ..
        } = message
        {
            self.prepare(now, epoch, mode, purpose, limits);
            return;
        }
        // Who has no such attempt stands by no report of it, and says so.
        let confirms = matches!(message, ToSidecar::Confirm { .. });
        if self.epoch() != Some(message.epoch()) && !confirms {
            return;
        }
        match message {
            ToSidecar::Prepare { .. } => {}
            ToSidecar::Arm {
                markers,
                inputs,
                outputs,
                role,
                ..
            } => self.arm(markers, inputs, outputs, role),
            ToSidecar::Go { .. } => self.go(now),
            ToSidecar::Record { .. } => self.told_to_record(now),
            ToSidecar::Mark { .. } => self.told_to_mark(now),
            ToSidecar::Release { .. } => self.told_to_release(now),
            ToSidecar::Confirm { epoch } => self.confirm(epoch),
            ToSidecar::Close { closing, .. } => self.close(&closing),
        }
    }

    /// The attempt an answer belongs to, unless it is over: whoever is slow must not answer for the next one.
    pub(super) fn attempt_of(&mut self, epoch: Epoch) -> Option<&mut Attempt> {
        self.attempt
            .as_mut()
            .filter(|attempt| attempt.epoch == epoch)
    }

    /// The connection to the coordinator is lost: no epoch can end well.
    pub fn handle_coordinator_lost(&mut self, now: Moment) {
        self.decline(now, "the connection to the admin API was lost".to_owned());
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.watchdog.is_some_and(|at| at <= now) {
            let limit = attempt.limits.max_pause_ms;
            self.decline(
                now,
                format!("held for max-pause ({limit} ms): everything was opened again"),
            );
            return;
        }
        if attempt.deadline.is_some_and(|at| at <= now) {
            self.missed_deadline(now);
        } else if attempt.poll_at.is_some_and(|at| at <= now) {
            attempt.poll_at = None;
            if attempt.phase == Phase::Gated && !attempt.quiet {
                self.step_gate(now);
            } else {
                self.poll_again(now);
            }
        }
    }

    /// The fresh pairs asked for with `TakePairs`, or why they cannot be had.
    pub fn handle_pairs(
        &mut self,
        now: Moment,
        epoch: Epoch,
        pairs: Result<(MarkerId, MarkerId), String>,
    ) {
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        if attempt.phase != Phase::Preparing {
            return;
        }
        match pairs {
            Ok((main, spare)) => {
                attempt.main = Some(main);
                attempt.spare = Some(spare);
                self.prepared(now);
            }
            Err(reason) => self.decline(now, reason),
        }
    }

    /// Ends the attempt from the shell's side: the application or the sidecar cannot take part.
    pub fn decline(&mut self, now: Moment, reason: String) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        let _ = now;
        if attempt.hook_paused && !attempt.resume_sent {
            self.call_hook(ProcessOutput::ResumeHook(attempt.epoch));
        }
        if attempt.phase >= Phase::Recording {
            self.queue.push_back(ProcessOutput::Discard(attempt.epoch));
        }
        self.outputs.take_ranges();
        self.open_all();
        self.send(FromSidecar::Declined {
            epoch: attempt.epoch,
            reason,
        });
    }

    fn prepare(&mut self, now: Moment, epoch: Epoch, mode: Mode, purpose: Purpose, limits: Limits) {
        // Whoever declined, was thawed or closed n never takes part in n again, however often it is asked.
        if self.last_epoch.is_some_and(|last| epoch <= last) {
            return;
        }
        self.last_epoch = Some(epoch);
        self.decline(now, format!("epoch {epoch} began"));
        self.attempt = Some(Attempt::new(now, epoch, mode, purpose, limits));
        self.outputs.keep_ranges();
        if mode == Mode::Synchronous || purpose == Purpose::Stop {
            self.prepared(now);
        } else {
            self.queue.push_back(ProcessOutput::TakePairs(epoch));
        }
    }

    fn prepared(&mut self, now: Moment) {
        let groups = self.group_members();
        let outputs = self.outputs.known_topics().iter().cloned().collect();
        let config = &self.config;
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.phase = Phase::Prepared;
        let loose = self
            .inputs
            .read_now(now)
            .filter(|p| !config.rebuildable.contains(&p.topic))
            .cloned()
            .collect();
        let message = FromSidecar::Prepared {
            epoch: attempt.epoch,
            prepared: PreparedSidecar {
                incarnation: config.incarnation.clone(),
                marker: attempt.main,
                spare: attempt.spare,
                scope: config.scope,
                capture: config.capture,
                guarantee: config.guarantee,
                groups,
                loose_readers: loose,
                outputs,
            },
        };
        self.send(message);
    }

    fn arm(
        &mut self,
        markers: Vec<MarkerId>,
        inputs: Vec<InputPartition>,
        outputs: Vec<TopicPartition>,
        role: Role,
    ) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.phase != Phase::Prepared {
            return;
        }
        attempt.markers = markers.into_iter().collect();
        attempt.inputs = inputs;
        attempt.outputs = outputs.into_iter().collect();
        attempt.role = role;
        attempt.phase = Phase::Armed;
        let epoch = attempt.epoch;
        self.send(FromSidecar::Armed { epoch });
    }

    fn missed_deadline(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.deadline = None;
        let (epoch, obstacle) = (attempt.epoch, attempt.last_obstacle.clone());
        match attempt.phase {
            Phase::Aligning => self.give_up_alignment(now),
            Phase::Draining | Phase::Gated => {
                self.decline(now, format!("not quiet within drain-timeout: {obstacle}"));
            }
            Phase::Recording => self.decline(now, "the state was not fixed in time".to_owned()),
            Phase::Marking => self.decline(now, "the markers were not written in time".to_owned()),
            phase => debug_assert!(
                phase >= Phase::Quiesced,
                "epoch {epoch}: no deadline is set in {phase:?}"
            ),
        }
    }

    /// Late marks are in the log before their offsets are known: the answer waits for them, or it would hide one that a
    /// Produce has already followed.
    pub(super) fn confirm(&mut self, epoch: Epoch) {
        let attempt = self.attempt.as_mut().filter(|a| a.epoch == epoch);
        let (held, late_marks) = match attempt {
            Some(attempt) if attempt.late == LateMark::Locating => {
                attempt.confirm_asked = true;
                return;
            }
            Some(attempt) => (attempt.phase == Phase::Reported, attempt.late_marks.clone()),
            None => (false, Vec::new()),
        };
        let incarnation = self.config.incarnation.clone();
        self.send(FromSidecar::Confirmed {
            epoch,
            incarnation,
            held,
            late_marks,
        });
    }

    fn close(&mut self, closing: &Closing) {
        let Some(attempt) = &self.attempt else { return };
        let stays = attempt.purpose.stays_held() && attempt.phase == Phase::Reported;
        if *closing == Closing::Committed && stays {
            // Held until the fence; the watchdog opens everything if that never comes.
            return;
        }
        let attempt = self.attempt.take().expect("looked at above");
        if attempt.hook_paused && !attempt.resume_sent {
            self.call_hook(ProcessOutput::ResumeHook(attempt.epoch));
        }
        if *closing != Closing::Committed && attempt.phase >= Phase::Recording {
            self.queue.push_back(ProcessOutput::Discard(attempt.epoch));
        }
        self.outputs.take_ranges();
        self.open_all();
    }
}
