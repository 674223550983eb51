//! What an application's state says it received and sent, and what every record is worth.
//!
//! A ledger is the model of a recorded state: it is exact, so that a state and a log can be compared record by record.
//! It knows record and group numbers; it knows no offsets.

use std::collections::{BTreeMap, BTreeSet};

/// A business record. Every send makes a new one; a repetition of the same Produce carries the same.
pub type Rec = u32;

/// What each state starts with, in money.
pub const INITIAL: i64 = 1_000;

/// One state: of an instance, or of a service whose instances share it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// How often each record was received, by group.
    pub received: BTreeMap<(usize, Rec), u32>,
    /// What was sent.
    pub sent: BTreeSet<Rec>,
}

impl Ledger {
    /// The group received the record.
    pub fn receive(&mut self, group: usize, rec: Rec) {
        *self.received.entry((group, rec)).or_default() += 1;
    }

    /// The receipt was never made durable: it did not happen.
    pub fn forget(&mut self, group: usize, rec: Rec) {
        if let Some(count) = self.received.get_mut(&(group, rec)) {
            *count -= 1;
            if *count == 0 {
                self.received.remove(&(group, rec));
            }
        }
    }
}

/// One record, as its sender made it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The partition it is for.
    pub part: usize,
    /// The ledger that sent it.
    pub ledger: usize,
    /// How often it may still be answered by another record.
    pub hops: u8,
    /// What each group that reads it receives.
    pub value: i64,
    /// How many groups read it.
    pub readers: i64,
    /// True when its sender has no state: it has sent what landed, no more and no less.
    pub source: bool,
    /// True when its sender crashed before it knew: at least once, nobody's send, worth nothing.
    pub ghost: bool,
}

/// Every record there ever was.
#[derive(Debug, Default)]
pub struct Records(Vec<Record>);

impl Records {
    /// A new record.
    pub fn add(&mut self, record: Record) -> Rec {
        self.0.push(record);
        Rec::try_from(self.0.len() - 1).expect("a schedule makes far fewer records")
    }

    /// The record.
    pub fn get(&self, rec: Rec) -> Record {
        self.0[rec as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Its sender crashed before the send was durable.
    pub fn make_ghost(&mut self, rec: Rec) {
        let record = &mut self.0[rec as usize];
        record.ghost = true;
        record.value = 0;
    }

    /// What the state is worth.
    pub fn balance(&self, ledger: &Ledger) -> i64 {
        let received = ledger
            .received
            .iter()
            .map(|((_, rec), count)| self.get(*rec).value * i64::from(*count));
        let of_state = |rec: &&Rec| !self.get(**rec).source;
        let sent = ledger
            .sent
            .iter()
            .filter(of_state)
            .map(|rec| self.get(*rec).value * self.get(*rec).readers);
        INITIAL + received.sum::<i64>() - sent.sum::<i64>()
    }
}
