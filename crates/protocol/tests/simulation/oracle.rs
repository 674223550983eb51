//! The judge: compares states, logs, positions and masks record by record.
//!
//! It sees everything at once, which no part of the protocol can, and it takes nothing of the protocol on trust but the
//! arithmetic of masks, which it puts to the test: what a restore would keep must be what the recorded states sent.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{Offset, RangeSet, ServiceName};
use cutline_protocol::{
    Cut,
    mask::{Masks, new_mask},
};

use super::{
    broker::{Kind, LogBatch},
    ledger::{INITIAL, Ledger, Rec, Record},
    world::World,
};

/// A committed epoch, with what its parts would hold.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The manifest.
    pub cut: Cut,
    /// Every state, by number.
    pub ledgers: BTreeMap<usize, Ledger>,
    /// The masks in force then.
    pub masks: Masks,
    /// Which instances each service had, and which of them had ended.
    pub roster: BTreeMap<usize, Vec<(usize, bool)>>,
}

/// One look over states and logs.
#[derive(Default)]
struct Look {
    received: BTreeMap<(usize, Rec), u32>,
    matched: u64,
    sent: BTreeMap<usize, u64>,
    channel: i64,
    /// What records of senders without state cost: they have no balance that could show it.
    sources: i64,
    in_flight: u64,
}

impl Look {
    /// What is in flight to one group, and what senders without a state have paid for it.
    fn note_channel(&mut self, record: &Record, sent: bool, below: bool) {
        if record.source && sent {
            self.sources += record.value;
        }
        if !below && (sent || record.ghost) {
            self.channel += record.value;
            self.in_flight += 1;
        }
    }
}

impl World {
    /// The state of an instance is fixed for an epoch.
    pub fn snapshot(&mut self, inst: usize, epoch: u64) {
        let ledger = self.insts[inst].ledger;
        let state = self.ledgers[ledger].clone();
        self.tell(|| format!("{} recorded for {epoch}", self.insts[inst].id));
        self.snaps.insert((epoch, ledger), state);
    }

    /// Where there is nothing to fix, the model's state is taken when the process would have recorded.
    pub fn snapshot_virtual(&mut self, inst: usize, epoch: u64) {
        let key = (epoch, self.insts[inst].ledger);
        if !self.service_plan(inst).has_state && !self.snaps.contains_key(&key) {
            self.snapshot(inst, epoch);
        }
    }

    /// The instances of each service, and which of them have ended.
    pub fn roster(&self) -> BTreeMap<usize, Vec<(usize, bool)>> {
        let mut roster: BTreeMap<usize, Vec<(usize, bool)>> = BTreeMap::new();
        for (inst, this) in self.insts.iter().enumerate() {
            roster
                .entry(this.service)
                .or_default()
                .push((inst, this.gone));
        }
        roster
    }

    /// A manifest is written: it has to be a consistent cut.
    pub fn commit(&mut self, cut: &Cut) {
        let epoch = cut.epoch.0;
        let mut ledgers = BTreeMap::new();
        for ledger in 0..self.ledgers.len() {
            // Nobody records what nobody had any more when the epoch began; who joined since has recorded nothing.
            let began = self.admin.began;
            let ended =
                |i: &super::world::Instance| i.ledger != ledger || (i.gone && i.gone_at <= began);
            let state = match self.snaps.get(&(epoch, ledger)) {
                Some(state) => state.clone(),
                None if self.insts.iter().all(ended) => self.ledgers[ledger].clone(),
                None => Ledger::default(),
            };
            ledgers.insert(ledger, state);
        }
        if let Err(violation) = self.check_cut(cut, &ledgers) {
            self.violate(format!("epoch {epoch}: {violation}"));
        }
        for part in cut.sidecars.values() {
            self.stats.late_marks += part.late.len() as u64;
            self.stats.ranges += part.ranges.len() as u64;
        }
        self.checkpoints.push(Checkpoint {
            cut: cut.clone(),
            ledgers,
            masks: self.masks.clone(),
            roster: self.roster(),
        });
    }

    fn check_cut(&mut self, cut: &Cut, ledgers: &BTreeMap<usize, Ledger>) -> Result<(), String> {
        let mut look = Look::default();
        for ledger in ledgers.values() {
            for (key, count) in &ledger.received {
                *look.received.entry(*key).or_default() += count;
            }
        }
        let positions: BTreeMap<(usize, usize), i64> = cut
            .positions()
            .filter_map(|(group, partition, at)| {
                let key = (self.broker.group(group), self.broker.part(partition));
                Some((key, at?.0))
            })
            .collect();
        for part in 0..self.broker.logs.len() {
            self.check_part(cut, part, &positions, ledgers, &mut look)?;
        }
        self.stats.in_flight += look.in_flight;
        self.check_sums(ledgers, &look)
    }

    fn check_part(
        &mut self,
        cut: &Cut,
        part: usize,
        positions: &BTreeMap<(usize, usize), i64>,
        ledgers: &BTreeMap<usize, Ledger>,
        look: &mut Look,
    ) -> Result<(), String> {
        let tp = self.tp(part);
        let groups: Vec<usize> = self.broker.readers_of(self.broker.topic_of[part]).collect();
        let all: BTreeSet<ServiceName> = self.services.iter().map(|s| s.name.clone()).collect();
        let fence = Offset(self.broker.logs[part].end());
        let mask = |services: &BTreeSet<ServiceName>| {
            new_mask(cut, &tp, services, fence, &RangeSet::default(), &self.rules)
        };
        let of_all = mask(&all);
        let of_each: Vec<RangeSet> = self
            .services
            .iter()
            .map(|s| mask(&[s.name.clone()].into()))
            .collect();
        for (batch, service, records) in self.visible(part) {
            let base = Offset(batch.base);
            let kept = !of_each[service].contains(base);
            for (offset, rec) in (batch.base..).zip(records) {
                let record = self.records.get(*rec);
                let known = ledgers[&record.ledger].sent.contains(rec);
                let sent = if record.source { kept } else { known };
                let at = format_args!("record {rec} at {tp}@{offset} of s{service}");
                for group in &groups {
                    let below = positions.get(&(*group, part)).is_some_and(|c| offset < *c);
                    let got = look.received.get(&(*group, *rec)).copied().unwrap_or(0);
                    if below && !record.ghost && !sent {
                        return Err(format!(
                            "orphan: {at} is inside group {group}'s cut, not its sender's"
                        ));
                    }
                    if got != u32::from(below) {
                        return Err(format!(
                            "{at} was received {got} times by group {group}, below its position: {below}"
                        ));
                    }
                    look.matched += u64::from(got);
                    look.note_channel(&record, sent, below);
                }
                if record.ghost {
                    continue;
                }
                if kept != sent || (known && !kept) {
                    return Err(format!(
                        "{at} is in its sender's state: {known}, but a restore keeps it: {kept}"
                    ));
                }
                if (known || !record.source) && kept == of_all.contains(base) {
                    return Err(format!(
                        "{at} is kept: {kept}, but not so when all are restored"
                    ));
                }
                *look.sent.entry(record.ledger).or_default() += u64::from(known);
            }
        }
        Ok(())
    }

    fn check_sums(&mut self, ledgers: &BTreeMap<usize, Ledger>, look: &Look) -> Result<(), String> {
        for (number, ledger) in ledgers {
            let real = ledger
                .sent
                .iter()
                .filter(|rec| !self.records.get(**rec).ghost)
                .count() as u64;
            let seen = look.sent.get(number).copied().unwrap_or(0);
            if real != seen {
                return Err(format!(
                    "state {number} sent {real} records, {seen} of them are in the log"
                ));
            }
        }
        let received: u64 = look.received.values().map(|count| u64::from(*count)).sum();
        if received != look.matched {
            return Err(format!(
                "{received} receipts in states, {} of them of visible records",
                look.matched
            ));
        }
        let states: i64 = ledgers
            .values()
            .map(|ledger| self.records.balance(ledger))
            .sum();
        let total = INITIAL * i64::try_from(ledgers.len()).expect("few states");
        let channel = look.channel - look.sources;
        if states + channel != total {
            return Err(format!(
                "money: {states} in states and {channel} in channels, not {total}"
            ));
        }
        Ok(())
    }

    /// Every data batch of a partition that is not masked, with its service and records.
    fn visible(&self, part: usize) -> impl Iterator<Item = (&LogBatch, usize, &Vec<Rec>)> {
        let masked = self.masks.of(&self.broker.logs[part].name);
        self.broker.logs[part]
            .batches
            .iter()
            .filter_map(move |batch| {
                let hidden = masked.is_some_and(|ranges| ranges.overlaps(batch.span()));
                match &batch.kind {
                    Kind::Data {
                        service, records, ..
                    } if !hidden => Some((batch, *service, records)),
                    _ => None,
                }
            })
    }

    // ---- the end ----

    /// Nothing new is made from now on; what is there has to be received.
    pub fn settle(&mut self) {
        self.settling = true;
        self.tell(|| "settle".to_owned());
        for service in 0..self.services.len() {
            let lives = self.insts.iter().any(|i| i.service == service && !i.gone);
            if !lives {
                self.add_instance(service);
            }
        }
        self.settle_by = self.now + 20_000_000;
        self.after(20_000, super::event::Event::Settled);
    }

    /// Is everything received? Then the world has to be one that no restore was needed for.
    pub fn settled(&mut self) {
        match self.unsettled() {
            Some(why) if self.now > self.settle_by => {
                self.violate(format!("does not settle: {why}"));
            }
            Some(_) => self.after(10_000, super::event::Event::Settled),
            None => {
                if let Err(violation) = self.check_end() {
                    self.violate(format!("at the end: {violation}"));
                }
                self.stats.records = self.records.len() as u64;
                self.over = true;
            }
        }
    }

    fn unsettled(&self) -> Option<String> {
        for inst in self.insts.iter().filter(|inst| !inst.gone) {
            let busy = inst
                .consumers
                .iter()
                .any(|c| c.work.is_some() || !c.buffer.is_empty());
            if !inst.running
                || busy
                || !inst.waiting.is_empty()
                || !inst.under_way.is_empty()
                || !inst.open.is_empty()
            {
                return Some(format!("{} has work under way", inst.id));
            }
        }
        if !self.broker.markings.is_empty() {
            return Some("markers are on their way".to_owned());
        }
        for (part, log) in self.broker.logs.iter().enumerate() {
            let last = self
                .visible(part)
                .last()
                .map_or(-1, |(batch, ..)| batch.last);
            for group in self.broker.readers_of(self.broker.topic_of[part]) {
                let committed = self.broker.groups[group]
                    .committed
                    .get(&part)
                    .copied()
                    .unwrap_or(0);
                if committed <= last {
                    return Some(format!(
                        "group {group} has {committed} of {last} on {}",
                        log.name
                    ));
                }
            }
        }
        None
    }

    fn check_end(&mut self) -> Result<(), String> {
        let mut look = Look::default();
        let ledgers: BTreeMap<usize, Ledger> = self.ledgers.iter().cloned().enumerate().collect();
        for ledger in ledgers.values() {
            for (key, count) in &ledger.received {
                *look.received.entry(*key).or_default() += count;
            }
        }
        for part in 0..self.broker.logs.len() {
            let groups: Vec<usize> = self.broker.readers_of(self.broker.topic_of[part]).collect();
            for (batch, service, records) in self.visible(part) {
                for (offset, rec) in (batch.base..).zip(records) {
                    let record = self.records.get(*rec);
                    let at = format!("record {rec} at {}@{offset} of s{service}", self.tp(part));
                    for group in &groups {
                        let got = look.received.get(&(*group, *rec)).copied().unwrap_or(0);
                        if got != 1 {
                            return Err(format!("{at} was received {got} times by group {group}"));
                        }
                        look.matched += 1;
                        look.note_channel(&record, true, true);
                    }
                    let sent = ledgers[&record.ledger].sent.contains(rec);
                    if !record.ghost && !record.source && !sent {
                        return Err(format!("{at} is visible, but its sender never sent it"));
                    }
                    *look.sent.entry(record.ledger).or_default() +=
                        u64::from(sent && !record.ghost);
                }
            }
        }
        self.check_sums(&ledgers, &look)
    }
}
