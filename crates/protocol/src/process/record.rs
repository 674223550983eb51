//! Record, mark, release, report (1-protocol §4.5), and late marks.

use cutline_model::{
    Epoch, FromSidecar, Mode, PartRef, PartitionOffset, PartitionRanges, Position, Purpose, Report,
    Role, TopicPartition,
};

use super::{LateMark, MarkPair, Phase, Process, ProcessOutput};
use crate::moment::Moment;

impl Process {
    /// Input held, work finished, gate shut, nothing under way.
    pub(super) fn quiesced(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.deadline = None;
        attempt.phase = Phase::Quiesced;
        attempt.quiet_at = Some(now);
        attempt.timings.quiesce_ms = now.millis_since(attempt.last_hold.unwrap_or(now));
        let (epoch, role, purpose) = (attempt.epoch, attempt.role, attempt.purpose);
        // Without markers the listed ends are the only bound, and only topics known at *arm* are listed.
        let unlisted = self.outputs.known_topics().iter().find(|topic| {
            attempt.mode == Mode::Synchronous && !attempt.outputs.iter().any(|p| p.topic == **topic)
        });
        if let Some(topic) = unlisted.filter(|topic| self.outputs.wrote(topic)) {
            let reason = format!("{topic} was first produced to during the epoch");
            return self.decline(now, reason);
        }
        if purpose == Purpose::Stop {
            self.release(now);
        } else if role == Role::Solo {
            self.record(now);
        } else {
            self.send(FromSidecar::Quiesced { epoch });
        }
    }

    pub(super) fn told_to_record(&mut self, now: Moment) {
        if self
            .attempt
            .as_ref()
            .is_some_and(|a| a.phase == Phase::Quiesced && a.role == Role::Elected)
        {
            self.record(now);
        }
    }

    fn record(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let (epoch, limit) = (attempt.epoch, attempt.limits.record_ms);
        attempt.enter(now, Phase::Recording, limit);
        if self.config.has_state {
            self.queue.push_back(ProcessOutput::Record(epoch));
        } else {
            self.handle_recorded(now, epoch, Ok(()));
        }
    }

    /// The state is fixed, or could not be.
    pub fn handle_recorded(&mut self, now: Moment, epoch: Epoch, answer: Result<(), String>) {
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        if attempt.phase != Phase::Recording {
            return;
        }
        if let Err(reason) = answer {
            self.decline(now, format!("the state could not be recorded: {reason}"));
            return;
        }
        attempt.recorded = true;
        attempt.deadline = None;
        attempt.phase = Phase::Recorded;
        attempt.recorded_at = Some(now);
        attempt.timings.sync_ms = now.millis_since(attempt.quiet_at.unwrap_or(now));
        let (role, mode) = (attempt.role, attempt.mode);
        if role == Role::Elected || mode == Mode::Synchronous {
            self.send(FromSidecar::Recorded { epoch });
        }
        if role == Role::Solo && mode != Mode::Synchronous {
            self.mark(now);
        }
        if !self.config.has_state || role == Role::Follower {
            self.send(FromSidecar::Stored { epoch, part: None });
        }
    }

    /// The elected sidecar has recorded; this gate never opened, or there would be no attempt any more.
    pub(super) fn told_to_mark(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        let ready = match attempt.role {
            Role::Follower => attempt.phase == Phase::Quiesced,
            Role::Elected | Role::Solo => attempt.phase == Phase::Recorded,
        };
        if ready {
            assert!(
                self.outputs.is_closed(),
                "a gate stays shut until its process's state is recorded"
            );
            self.mark(now);
        }
    }

    pub(super) fn told_to_release(&mut self, now: Moment) {
        let Some(attempt) = &self.attempt else { return };
        if attempt.mode == Mode::Synchronous
            && matches!(attempt.phase, Phase::Recorded | Phase::Quiesced)
        {
            self.release(now);
        }
    }

    fn mark(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let limit = attempt.limits.mark_ms;
        attempt.enter(now, Phase::Marking, limit);
        // What was produced to since *arm* may lie on partitions that the coordinator did not know.
        attempt
            .outputs
            .extend(self.outputs.acknowledged().keys().cloned());
        // Nor are those that only acks=0 wrote to acknowledged.
        attempt
            .outputs
            .extend(self.outputs.unacked_partitions().iter().cloned());
        attempt.marked = attempt.outputs.clone();
        if attempt.outputs.is_empty() {
            let epoch = attempt.epoch;
            self.handle_marked(now, epoch, MarkPair::Main, Ok(()));
        } else {
            let partitions = attempt.outputs.iter().cloned().collect();
            self.queue
                .push_back(attempt.mark_output(MarkPair::Main, partitions));
        }
    }

    /// The markers are in the log (the next InitProducerId succeeded), or could not be written.
    pub fn handle_marked(
        &mut self,
        now: Moment,
        epoch: Epoch,
        pair: MarkPair,
        answer: Result<(), String>,
    ) {
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        match (pair, answer) {
            (_, Err(reason)) => {
                self.decline(now, format!("the markers could not be written: {reason}"))
            }
            (MarkPair::Main, Ok(())) if attempt.phase == Phase::Marking => {
                attempt.timings.mark_ms =
                    now.millis_since(attempt.recorded_at.or(attempt.quiet_at).unwrap_or(now));
                self.release(now);
            }
            (MarkPair::Spare, Ok(())) => {
                if let LateMark::Writing(partitions) =
                    std::mem::replace(&mut attempt.late, LateMark::Locating)
                {
                    attempt.marked.extend(partitions.iter().cloned());
                    let locate = attempt.locate_output(MarkPair::Spare, partitions);
                    self.queue.push_back(locate);
                    self.queue.push_back(ProcessOutput::GateChanged);
                }
            }
            (MarkPair::Main, Ok(())) => {}
        }
    }

    /// The part is fixed and marked: go on, or stay held for the fence.
    fn release(&mut self, now: Moment) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        let incomplete = self.outputs.ranges_are_incomplete();
        attempt.ranges = self.outputs.take_ranges();
        attempt.deadline = None;
        attempt.phase = Phase::Released;
        attempt.timings.pause_ms = now.millis_since(attempt.first_hold.unwrap_or(now));
        let stays = attempt.purpose.stays_held();
        let (resume, locate) = (
            attempt.hook_paused && !stays,
            !attempt.is_markerless() && !attempt.outputs.is_empty(),
        );
        attempt.resumed = !resume;
        attempt.resume_sent = resume;
        attempt.acknowledged = self.outputs.acknowledged().clone();
        if !locate {
            attempt.marker_offsets = Some(Vec::new());
        }
        let locate = locate.then(|| {
            attempt.locate_output(MarkPair::Main, attempt.outputs.iter().cloned().collect())
        });
        let epoch = attempt.epoch;
        let follower_part =
            (attempt.role == Role::Follower && !attempt.recorded).then_some(attempt.epoch);
        if !stays {
            attempt.watchdog = None;
            self.open_all();
        }
        if resume {
            self.call_hook(ProcessOutput::ResumeHook(epoch));
        }
        if incomplete {
            self.decline(now, "where its output landed is not fully known".to_owned());
            return;
        }
        if let Some(epoch) = follower_part {
            self.send(FromSidecar::Stored { epoch, part: None });
        }
        self.queue.extend(locate);
        self.try_report();
    }

    /// Where the markers are.
    pub fn handle_located(
        &mut self,
        now: Moment,
        epoch: Epoch,
        pair: MarkPair,
        answer: Result<Vec<PartitionOffset>, String>,
    ) {
        let Some(attempt) = self.attempt_of(epoch) else {
            return;
        };
        match (pair, answer) {
            (_, Err(reason)) => self.decline(
                now,
                format!("the markers were not found in the log: {reason}"),
            ),
            (MarkPair::Main, Ok(offsets)) => {
                attempt.marker_offsets = Some(offsets);
                self.try_report();
            }
            (MarkPair::Spare, Ok(offsets)) => {
                attempt.late_marks.extend(offsets);
                attempt.late = LateMark::Used;
                if std::mem::take(&mut attempt.confirm_asked) {
                    self.confirm(epoch);
                }
            }
        }
    }

    pub(super) fn try_report(&mut self) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if attempt.phase != Phase::Released || !attempt.resumed {
            return;
        }
        let Some(markers) = attempt.marker_offsets.clone() else {
            return;
        };
        attempt.phase = Phase::Reported;
        let positions = attempt
            .positions
            .iter()
            .map(|((group, partition), offset)| Position {
                group: group.clone(),
                partition: partition.clone(),
                offset: *offset,
            });
        let ranges = attempt
            .ranges
            .iter()
            .map(|(partition, ranges)| PartitionRanges {
                partition: partition.clone(),
                ranges: ranges.clone(),
            });
        // With markers an end below anything acknowledged so far is stale. Without, the ends were listed while everything
        // stood still, and what was acknowledged since lies above them by right.
        let acknowledged = if attempt.mode == Mode::Synchronous {
            &attempt.acknowledged
        } else {
            self.outputs.acknowledged()
        };
        let acknowledged = acknowledged
            .iter()
            .map(|(partition, &offset)| PartitionOffset {
                partition: partition.clone(),
                offset,
            });
        let mut unacknowledged: Vec<_> = self
            .outputs
            .unacked_partitions()
            .iter()
            .map(|p| p.topic.clone())
            .collect();
        unacknowledged.dedup();
        let report = Report {
            incarnation: self.config.incarnation.clone(),
            positions: positions.collect(),
            markers,
            ranges: ranges.collect(),
            acknowledged: acknowledged.collect(),
            unacknowledged,
            unaligned: attempt.unaligned,
            timings: attempt.timings,
        };
        let message = FromSidecar::Reported {
            epoch: attempt.epoch,
            report: Box::new(report),
        };
        self.send(message);
    }

    /// The fixed state is durable in the store, or could not be made so.
    pub fn handle_stored(
        &mut self,
        now: Moment,
        epoch: Epoch,
        answer: Result<Option<PartRef>, String>,
    ) {
        if self.epoch() != Some(epoch) {
            return;
        }
        match answer {
            Ok(part) => self.send(FromSidecar::Stored { epoch, part }),
            Err(reason) => self.decline(now, format!("the state could not be stored: {reason}")),
        }
    }

    /// A Produce to a partition that this cut did not mark, while the epoch is open, is preceded by a late mark with the
    /// spare pair. Answers whether the Produce has to wait for it.
    pub(super) fn wants_late_mark(&mut self, now: Moment, partitions: &[TopicPartition]) -> bool {
        let Some(attempt) = &mut self.attempt else {
            return false;
        };
        if !self.rules.late_marks || attempt.is_markerless() || attempt.phase < Phase::Marking {
            return false;
        }
        let missing: Vec<_> = partitions
            .iter()
            .filter(|p| !attempt.marked.contains(*p))
            .cloned()
            .collect();
        if missing.is_empty() {
            return false;
        }
        match &attempt.late {
            LateMark::Writing(_) => true,
            LateMark::Unused => {
                attempt.late = LateMark::Writing(missing.clone());
                self.queue
                    .push_back(attempt.mark_output(MarkPair::Spare, missing));
                true
            }
            // There is one spare pair: a second new partition within one epoch ends the epoch, not the application's work.
            LateMark::Locating | LateMark::Used => {
                self.decline(
                    now,
                    "more new partitions than one late mark can cover".to_owned(),
                );
                false
            }
        }
    }
}
