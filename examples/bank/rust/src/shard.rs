//! The state that belongs to one input partition: balances, what it sent, what it received.
//!
//! A record is applied whether or not it came before: there is no deduplication, only a count of what a wrong cut does. A shard knows
//! nothing of files or of Kafka. Bank B keeps the same state in the same words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    record::{Outgoing, Record},
    runs::Runs,
};

/// Accounts of one shard.
pub const ACCOUNTS: usize = 64;
/// What is in every account before anything happened.
pub const BALANCE_INITIAL: i64 = 1_000;

/// One term's stretch of a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRun {
    /// In which term.
    pub term: String,
    /// The first number.
    pub from: u64,
    /// One past the last number.
    pub to: u64,
}

/// The state of one input partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// `topic-partition`, its name.
    pub shard: String,
    /// Money by account.
    pub balances: Vec<i64>,
    /// Sequences by the `topic-partition` they went to.
    pub sent: BTreeMap<String, Vec<SentRun>>,
    /// What came, by sender and the sender's term.
    pub received: BTreeMap<String, BTreeMap<String, Runs>>,
    /// How many records were applied.
    pub records: u64,
}

/// What a topic's records mean to the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the outside: send money of this account to the other bank.
    Order,
    /// From the other bank: money arrives, and may be sent back.
    Transfer,
}

/// Where the money goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The other bank's topic of transfers.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
}

impl Shard {
    /// A shard to which nothing happened yet.
    #[must_use]
    pub fn new(shard: &str) -> Self {
        Self {
            shard: shard.into(),
            balances: vec![BALANCE_INITIAL; ACCOUNTS],
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            records: 0,
        }
    }

    /// Applies a record, and gives the transfer it causes, if any.
    pub fn apply(
        &mut self,
        kind: Kind,
        record: &Record,
        term: &str,
        route: &Route,
    ) -> Option<Outgoing> {
        self.records += 1;
        self.received
            .entry(record.from.clone())
            .or_default()
            .entry(record.term.clone())
            .or_default()
            .insert(record.seq);
        let account = record.account % self.balances.len();
        let passes_on = match kind {
            Kind::Order => true,
            Kind::Transfer => {
                self.balances[account] += record.amount;
                // Three transfers of four go on, as long as they may.
                record.hops > 0 && !mixed(record, self.records).is_multiple_of(4)
            }
        };
        passes_on.then(|| self.send(kind, account, record, term, route))
    }

    fn send(
        &mut self,
        kind: Kind,
        account: usize,
        cause: &Record,
        term: &str,
        route: &Route,
    ) -> Outgoing {
        self.balances[account] -= cause.amount;
        let mixed = mixed(cause, self.records);
        let partition = i32::try_from(mixed / 4 % route.partitions.unsigned_abs() as u64)
            .expect("below a partition count");
        let seq = self.next_seq(&format!("{}-{partition}", route.topic), term);
        let hops = if kind == Kind::Order {
            cause.hops
        } else {
            cause.hops - 1
        };
        let account =
            usize::try_from(mixed / 64 % ACCOUNTS as u64).expect("below the count of accounts");
        let record = Record {
            from: self.shard.clone(),
            term: term.into(),
            seq,
            account,
            amount: cause.amount,
            hops,
        };
        Outgoing { partition, record }
    }

    fn next_seq(&mut self, target: &str, term: &str) -> u64 {
        let runs = self.sent.entry(target.to_owned()).or_default();
        let seq = runs.last().map_or(0, |run| run.to);
        match runs.last_mut() {
            Some(run) if run.term == term => run.to += 1,
            _ => runs.push(SentRun {
                term: term.into(),
                from: seq,
                to: seq + 1,
            }),
        }
        seq
    }
}

/// A number that depends on the record and on the state it meets, well spread (the multiplier is from splitmix64).
fn mixed(record: &Record, records: u64) -> u64 {
    let seed = record.seq ^ records.rotate_left(32) ^ (record.account as u64).rotate_left(48);
    let mixed = seed
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            topic: "transfers-b".into(),
            partitions: 3,
        }
    }

    fn record(seq: u64, hops: u32) -> Record {
        Record {
            from: "load".into(),
            term: "t".into(),
            seq,
            account: 5,
            amount: 7,
            hops,
        }
    }

    #[test]
    fn an_order_always_sends_what_it_takes_from_the_account() {
        let mut shard = Shard::new("orders-a-0");
        let out = shard
            .apply(Kind::Order, &record(0, 2), "x", &route())
            .unwrap();
        assert_eq!(
            (shard.balances[5], out.record.amount, out.record.hops),
            (BALANCE_INITIAL - 7, 7, 2)
        );
    }

    #[test]
    fn money_on_shards_and_on_the_way_is_conserved() {
        let mut shard = Shard::new("transfers-a-0");
        let passed: i64 = (0..1_000)
            .filter_map(|seq| shard.apply(Kind::Transfer, &record(seq, 3), "x", &route()))
            .map(|out| out.record.amount)
            .sum();
        let received = 7 * 1_000;
        assert!(
            passed > 0 && passed < received,
            "some transfers go on, and some stay"
        );
        assert_eq!(
            shard.balances.iter().sum::<i64>() + passed,
            BALANCE_INITIAL * ACCOUNTS as i64 + received
        );
    }

    #[test]
    fn a_transfer_without_hops_left_stays() {
        let mut shard = Shard::new("transfers-a-0");
        assert!((0..100).all(|seq| {
            shard
                .apply(Kind::Transfer, &record(seq, 0), "x", &route())
                .is_none()
        }));
    }

    #[test]
    fn a_sequence_goes_on_in_a_new_term() {
        let mut shard = Shard::new("orders-a-0");
        for (seq, term) in [(0, "x"), (1, "x"), (2, "y"), (3, "y")] {
            shard.apply(
                Kind::Order,
                &record(seq, 0),
                term,
                &Route {
                    topic: "t".into(),
                    partitions: 1,
                },
            );
        }
        let run = |term: &str, from, to| SentRun {
            term: term.into(),
            from,
            to,
        };
        assert_eq!(shard.sent["t-0"], vec![run("x", 0, 2), run("y", 2, 4)]);
    }
}
