//! The auditor: reads the state of both banks and of the load, and counts.
//!
//! An orphan was received although its sender, by its own state, never sent it; a loss was sent and not received; a duplicate was received
//! again. While records are on their way they look lost: the auditor can wait until nothing moves. It changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use crate::{
    ledger,
    runs::Runs,
    shard::{ACCOUNTS, BALANCE_INITIAL, Shard},
};

/// How often the state is looked at while waiting.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How many looks in a row must agree when everything sent was received.
const LOOKS_SETTLED: u32 = 3;

/// What to count.
#[derive(Args)]
pub struct CountOptions {
    /// Where state is, of either bank or of the load: a directory, postgres://… or redis://…?prefix=…; once for each
    #[arg(long = "state", required = true)]
    states: Vec<String>,
    /// How many partitions each of the four topics has
    #[arg(long, env = "BANK_PARTITIONS", default_value_t = 4)]
    partitions: usize,
    /// Wait at most this many seconds until nothing moves; 0 counts at once
    #[arg(long, default_value_t = 0)]
    settle_seconds: u64,
    /// With records missing, how many seconds without any change count as settled
    #[arg(long, default_value_t = 15)]
    quiet_seconds: u64,
    /// Leave orders out: what the load sent is not known, or was rolled back
    #[arg(long)]
    no_orders: bool,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The money there was at the beginning.
    pub total_expected: i64,
    /// The money there is.
    pub total_after: i64,
    /// Received, and never sent.
    pub orphans: u64,
    /// Sent, and not received.
    pub lost: u64,
    /// Received again.
    pub duplicates: u64,
    /// How many records were applied.
    pub records: u64,
    /// Whether nothing moved any more.
    pub settled: bool,
}

impl Count {
    fn is_right(&self) -> bool {
        self.total_expected == self.total_after
            && (self.orphans, self.lost, self.duplicates) == (0, 0, 0)
    }
}

/// Counts, prints one line of JSON, and ends with success only when all is right.
///
/// # Errors
/// When state cannot be read.
pub fn count(options: &CountOptions) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let deadline = Duration::from_secs(options.settle_seconds);
    let mut count = look(options)?;
    let mut changed = Instant::now();
    let mut looks_alike = 1;
    while !count.settled && start.elapsed() < deadline {
        std::thread::sleep(LOOK_INTERVAL);
        let now = look(options)?;
        if now == count {
            looks_alike += 1;
        } else {
            (changed, looks_alike) = (Instant::now(), 1);
        }
        count = now;
        let complete = count.lost == 0 && count.orphans == 0 && looks_alike >= LOOKS_SETTLED;
        count.settled = complete || changed.elapsed() >= Duration::from_secs(options.quiet_seconds);
    }
    writeln!(io::stdout(), "{}", serde_json::to_string(&count)?)?;
    let settled = options.settle_seconds == 0 || count.settled;
    Ok(if count.is_right() && settled {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn look(options: &CountOptions) -> Result<Count, Box<dyn Error>> {
    let shards = read(&options.states)?;
    Ok(audit(&shards, options.partitions, options.no_orders))
}

/// Every shard there is. One that moved between directories is taken where it got furthest.
fn read(states: &[String]) -> Result<BTreeMap<String, Shard>, Box<dyn Error>> {
    let mut shards: BTreeMap<String, Shard> = BTreeMap::new();
    for place in states {
        for shard in ledger::read_all(place)? {
            let further = shards
                .get(&shard.shard)
                .is_none_or(|known| known.records < shard.records);
            if further {
                shards.insert(shard.shard.clone(), shard);
            }
        }
    }
    Ok(shards)
}

fn audit(shards: &BTreeMap<String, Shard>, partitions: usize, no_orders: bool) -> Count {
    // Two banks with two topics each. A shard nobody took up yet has no file and its first money.
    let shards_expected = i64::try_from(4 * partitions).expect("few partitions");
    let money_of_one = BALANCE_INITIAL * i64::try_from(ACCOUNTS).expect("few accounts");
    let banks: Vec<&Shard> = shards
        .values()
        .filter(|shard| !shard.balances.is_empty())
        .collect();
    let untouched = shards_expected - i64::try_from(banks.len()).expect("few shards");
    let held: i64 = banks.iter().flat_map(|shard| &shard.balances).sum();
    let mut count = Count {
        total_expected: shards_expected * money_of_one,
        total_after: held + untouched * money_of_one,
        records: banks.iter().map(|shard| shard.records).sum(),
        ..Count::default()
    };
    for (sender, target) in ways(shards) {
        if !(no_orders && sender == "load") {
            compare(
                shards.get(sender),
                shards.get(target),
                (sender, target),
                &mut count,
            );
        }
    }
    count
}

/// Every pair of a sender and a receiver that either of them speaks of.
fn ways(shards: &BTreeMap<String, Shard>) -> BTreeSet<(&str, &str)> {
    let sent = shards.values().flat_map(|shard| {
        shard
            .sent
            .keys()
            .map(|target| (shard.shard.as_str(), target.as_str()))
    });
    let received = shards.values().flat_map(|shard| {
        shard
            .received
            .keys()
            .map(|sender| (sender.as_str(), shard.shard.as_str()))
    });
    sent.chain(received).collect()
}

fn compare(
    sender: Option<&Shard>,
    receiver: Option<&Shard>,
    (from, to): (&str, &str),
    count: &mut Count,
) {
    let sent = sender
        .and_then(|shard| shard.sent.get(to))
        .map_or(&[][..], Vec::as_slice);
    let none = BTreeMap::new();
    let received: &BTreeMap<String, Runs> = receiver
        .and_then(|shard| shard.received.get(from))
        .unwrap_or(&none);
    let mut arrived = 0;
    for run in sent {
        let here = received
            .get(&run.term)
            .map_or(0, |runs| runs.len_within(run.from, run.to));
        count.lost += run.to - run.from - here;
        arrived += here;
    }
    count.orphans += received.values().map(Runs::len).sum::<u64>() - arrived;
    count.duplicates += received.values().map(|runs| runs.duplicates).sum::<u64>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::Record,
        shard::{Kind, Route},
    };

    /// Two shards that have sent each other nothing but one chain of `count` orders.
    fn world(count: u64) -> (BTreeMap<String, Shard>, Vec<Record>) {
        let mut sender = Shard::new("orders-a-0");
        let mut load = Shard {
            balances: Vec::new(),
            ..Shard::new("load")
        };
        let route = Route {
            topic: "transfers-b".into(),
            partitions: 1,
        };
        let order = |seq| Record {
            from: "load".into(),
            term: "l".into(),
            seq,
            account: 1,
            amount: 5,
            hops: 0,
        };
        let out = (0..count)
            .filter_map(|seq| sender.apply(Kind::Order, &order(seq), "t", &route))
            .map(|out| out.record)
            .collect();
        load.sent.insert(
            "orders-a-0".into(),
            vec![crate::shard::SentRun {
                term: "l".into(),
                from: 0,
                to: count,
            }],
        );
        (
            BTreeMap::from([("orders-a-0".into(), sender), ("load".into(), load)]),
            out,
        )
    }

    fn receive(shards: &mut BTreeMap<String, Shard>, records: &[Record]) -> Count {
        let mut receiver = Shard::new("transfers-b-0");
        let route = Route {
            topic: "transfers-a".into(),
            partitions: 1,
        };
        for record in records {
            receiver.apply(Kind::Transfer, record, "u", &route);
        }
        shards.insert("transfers-b-0".into(), receiver);
        audit(shards, 1, false)
    }

    #[test]
    fn what_arrived_once_is_right() {
        let (mut shards, records) = world(100);
        let count = receive(&mut shards, &records);
        assert!(count.is_right(), "{count:?}");
        assert_eq!(count.records, 200);
    }

    #[test]
    fn what_did_not_arrive_is_lost_and_its_money_missing() {
        let (mut shards, records) = world(100);
        let count = receive(&mut shards, &records[..97]);
        assert_eq!(
            (
                count.orphans,
                count.lost,
                count.duplicates,
                count.total_expected - count.total_after
            ),
            (0, 3, 0, 15)
        );
    }

    #[test]
    fn what_came_twice_is_a_duplicate() {
        let (mut shards, mut records) = world(100);
        records.extend_from_within(50..54);
        let count = receive(&mut shards, &records);
        assert_eq!((count.orphans, count.lost, count.duplicates), (0, 0, 4));
    }

    #[test]
    fn what_a_rolled_back_sender_does_not_know_is_an_orphan() {
        let (_, records) = world(100);
        let (mut before, _) = world(90);
        let count = receive(&mut before, &records);
        assert_eq!((count.orphans, count.lost, count.duplicates), (10, 0, 0));
    }

    #[test]
    fn what_is_sent_again_in_a_new_term_is_not_taken_for_the_first() {
        let (mut shards, records) = world(10);
        let again: Vec<Record> = records
            .iter()
            .map(|record| Record {
                term: "other".into(),
                ..record.clone()
            })
            .collect();
        let count = receive(&mut shards, &again);
        assert_eq!((count.orphans, count.lost), (10, 10));
    }
}
