//! The journal of a restore: what was done, and from that alone the next step (1-protocol §6).
//!
//! Entries come in one order; an entry that is there already may be recorded again. Up to the moment the first state is
//! touched a restore may be given up, and one found unfinished is; from then on it only rolls forward. The journal knows
//! no clock and no store: the shell makes each entry durable before it acts on the next step.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Epoch, Offset, ProcessId, Timeline, TopicPartition};

use super::{Entry, Repairs, Step};
use crate::mask::Masks;

/// What becomes of a restore that is found unfinished when a coordinator starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Go on with the next step.
    RollForward,
    /// No state was touched: give it up.
    GiveUp,
    /// It is over.
    Over,
}

/// An entry that cannot stand where it was to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry} cannot be recorded when the next step is {step:?}")]
pub struct OutOfOrder {
    /// The entry's name.
    pub entry: &'static str,
    /// What is to be done instead.
    pub step: Step,
}

/// What was done of one restore, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    states: BTreeSet<ProcessId>,
    tables: bool,
    entries: Vec<Entry>,
}

impl Journal {
    /// A restore that was planned and has these states to put back; `tables` when compacted topics go back too.
    #[must_use]
    pub fn new(states: BTreeSet<ProcessId>, tables: bool) -> Self {
        Self {
            states,
            tables,
            entries: vec![Entry::Planned],
        }
    }

    /// What was recorded, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Records an entry; one that is there already changes nothing.
    ///
    /// # Errors
    /// When it does not follow from what was recorded.
    pub fn record(&mut self, entry: Entry) -> Result<(), OutOfOrder> {
        if self.entries.contains(&entry) {
            return Ok(());
        }
        let step = self.next();
        let gives_up = matches!(entry, Entry::GivingUp { .. }) && self.may_give_up();
        if gives_up || entry.follows(&step) {
            self.entries.push(entry);
            return Ok(());
        }
        let entry = entry.name();
        Err(OutOfOrder { entry, step })
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Step {
        let last = self.entries.last().expect("a journal begins with its plan");
        match last {
            Entry::Planned => Step::WriteHolds,
            Entry::HoldsWritten { .. } => Step::Quiesce,
            Entry::Quiesced { .. } => Step::Fence,
            Entry::Fenced { .. } => Step::Empty,
            Entry::Emptied { .. } => Step::FixEnds,
            Entry::EndsFixed { .. } => Step::MakeMasks,
            Entry::MasksMade { .. } if self.tables => Step::ReadTables,
            Entry::MasksMade { .. } | Entry::TablesRead { .. } => Step::BeginState,
            Entry::StateBegun | Entry::StateRestored { .. } => {
                let left = self.states_left();
                if left.is_empty() {
                    Step::CommitOffsets
                } else {
                    Step::RestoreStates(left)
                }
            }
            Entry::OffsetsCommitted if self.tables => Step::AppendTables,
            Entry::OffsetsCommitted | Entry::TablesAppended => Step::TakeTimeline,
            Entry::TimelineTaken { .. } => Step::CommitTimeline,
            Entry::TimelineCommitted { .. } => Step::Lift,
            Entry::Lifted => Step::Finish,
            Entry::GivingUp { .. } => Step::GiveUp,
            Entry::Completed | Entry::GivenUp => Step::Over,
        }
    }

    /// True while nothing of the services was touched.
    #[must_use]
    pub fn may_give_up(&self) -> bool {
        let past = |entry: &Entry| {
            matches!(entry, Entry::StateBegun | Entry::GivingUp { .. }) || entry.is_last()
        };
        !self.entries.iter().any(past)
    }

    /// What becomes of it when it is found unfinished.
    #[must_use]
    pub fn resumption(&self) -> Resumption {
        if self.next() == Step::Over {
            Resumption::Over
        } else if self.may_give_up() {
            Resumption::GiveUp
        } else {
            Resumption::RollForward
        }
    }

    /// True when it was given up, or is being.
    #[must_use]
    pub fn given_up(&self) -> Option<&str> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::GivingUp { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// The masks it puts in force, once they are made.
    #[must_use]
    pub fn masks(&self) -> Option<&Masks> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::MasksMade { masks } => Some(masks),
            _ => None,
        })
    }

    /// What is appended to compacted topics, once that is known.
    #[must_use]
    pub fn repairs(&self) -> Option<&Repairs> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::TablesRead { repairs } => Some(repairs),
            _ => None,
        })
    }

    /// e(p), once they are fixed.
    #[must_use]
    pub fn ends(&self) -> Option<&BTreeMap<TopicPartition, Offset>> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::EndsFixed { ends, .. } => Some(ends),
            _ => None,
        })
    }

    /// The timeline, once its number is taken.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::TimelineTaken { timeline } => Some(*timeline),
            _ => None,
        })
    }

    /// The safety checkpoint, when one was taken.
    #[must_use]
    pub fn safety(&self) -> Option<Epoch> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Quiesced { safety, .. } => *safety,
            _ => None,
        })
    }

    fn states_left(&self) -> BTreeSet<ProcessId> {
        let mut left = self.states.clone();
        for entry in &self.entries {
            if let Entry::StateRestored { process } = entry {
                left.remove(process);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use cutline_model::MarkerId;

    use super::*;

    fn process(name: &str) -> ProcessId {
        ProcessId {
            service: name.into(),
            instance: None,
        }
    }

    fn through() -> Vec<Entry> {
        let marker = MarkerId {
            producer_id: 1,
            producer_epoch: 0,
        };
        vec![
            Entry::HoldsWritten { offset: Offset(1) },
            Entry::Quiesced {
                epoch: Epoch(7),
                safety: Some(Epoch(7)),
            },
            Entry::Fenced { offset: Offset(2) },
            Entry::Emptied {
                transactional_ids: Vec::new(),
            },
            Entry::EndsFixed {
                marker,
                ends: BTreeMap::new(),
            },
            Entry::MasksMade {
                masks: Masks::default(),
            },
            Entry::StateBegun,
            Entry::StateRestored {
                process: process("b"),
            },
            Entry::StateRestored {
                process: process("a"),
            },
            Entry::OffsetsCommitted,
            Entry::TimelineTaken {
                timeline: Timeline(1),
            },
            Entry::TimelineCommitted { offset: Offset(3) },
            Entry::Lifted,
            Entry::Completed,
        ]
    }

    #[test]
    fn every_step_is_reached_in_order_and_entries_may_be_doubled() {
        let mut journal = Journal::new([process("a"), process("b")].into(), false);
        for entry in through() {
            assert_ne!(journal.next(), Step::Over);
            journal.record(entry.clone()).unwrap();
            let after = journal.clone();
            journal.record(entry).unwrap();
            assert_eq!(journal, after);
        }
        assert_eq!(journal.next(), Step::Over);
    }

    #[test]
    fn before_state_is_touched_it_is_given_up_and_afterwards_rolled_forward() {
        let mut journal = Journal::new([process("a"), process("b")].into(), false);
        let mut touched = false;
        for entry in through() {
            let expected = if touched {
                Resumption::RollForward
            } else {
                Resumption::GiveUp
            };
            assert_eq!(journal.resumption(), expected, "before {}", entry.name());
            let mut given_up = journal.clone();
            let reason = "x".to_owned();
            let gave_up = given_up.record(Entry::GivingUp { reason });
            assert_eq!(gave_up.is_ok(), !touched, "before {}", entry.name());
            touched |= entry == Entry::StateBegun;
            journal.record(entry).unwrap();
        }
        assert_eq!(journal.resumption(), Resumption::Over);
    }

    #[test]
    fn nothing_but_lifting_follows_giving_up() {
        let mut journal = Journal::new(BTreeSet::new(), false);
        let reason = "changed my mind".to_owned();
        journal.record(Entry::GivingUp { reason }).unwrap();
        assert_eq!(journal.next(), Step::GiveUp);
        assert_eq!(journal.resumption(), Resumption::RollForward);
        assert!(journal.record(Entry::Fenced { offset: Offset(9) }).is_err());
        journal.record(Entry::GivenUp).unwrap();
        assert_eq!(journal.next(), Step::Over);
    }

    #[test]
    fn a_step_cannot_be_skipped() {
        let mut journal = Journal::new(BTreeSet::new(), false);
        for entry in through().into_iter().skip(1) {
            assert!(journal.record(entry).is_err());
        }
    }

    #[test]
    fn without_state_offsets_follow_at_once() {
        let mut journal = Journal::new(BTreeSet::new(), false);
        for entry in through().into_iter().take(7) {
            journal.record(entry).unwrap();
        }
        assert_eq!(journal.next(), Step::CommitOffsets);
    }

    #[test]
    fn tables_are_read_before_anything_is_touched_and_appended_before_the_fence_lifts() {
        let mut journal = Journal::new([process("a"), process("b")].into(), true);
        let repairs = Repairs {
            name: "x".to_owned(),
            pieces: 1,
            records: 2,
            hash: "h".to_owned(),
        };
        for entry in through() {
            if entry == Entry::StateBegun {
                assert_eq!(journal.next(), Step::ReadTables);
                assert!(journal.clone().record(entry.clone()).is_err());
                let repairs = repairs.clone();
                journal.record(Entry::TablesRead { repairs }).unwrap();
                assert!(journal.may_give_up());
            }
            if matches!(entry, Entry::TimelineTaken { .. }) {
                assert_eq!(journal.next(), Step::AppendTables);
                assert!(journal.clone().record(entry.clone()).is_err());
                journal.record(Entry::TablesAppended).unwrap();
            }
            journal.record(entry).unwrap();
        }
        assert_eq!(journal.repairs(), Some(&repairs));
        assert_eq!(journal.next(), Step::Over);
    }
}
