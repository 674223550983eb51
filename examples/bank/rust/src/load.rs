//! The load: orders into both banks at a steady rate, open loop, for a bounded time.
//!
//! It keeps count of what it sent in the same words as a shard, beside what loads before it sent, so that the auditor can tell an order
//! lost from one never given. It is no part of what is rolled back: it stands for the world outside.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

use crate::{
    ledger::Ledger,
    outbox::Outbox,
    record::{Outgoing, Record},
    shard::{ACCOUNTS, SentRun, Shard},
    stop::Stop,
    term::new_term,
};

/// Orders are sent in small bundles this far apart.
const TICK: Duration = Duration::from_millis(10);
/// The most orders of one bundle: what is owed beyond it waits for the next, so that memory is bounded whatever the delay.
const BUNDLE_ORDERS_MAX: u64 = 2_000;
/// The most hops an order is given; they are spread evenly from 0.
const HOPS_MAX: u64 = 3;

/// How the load is run.
#[derive(Args)]
pub struct LoadOptions {
    /// Kafka
    #[arg(long, env = "BANK_BOOTSTRAP")]
    bootstrap: String,
    /// The directory where it writes down at its end what it sent
    #[arg(long)]
    state: String,
    /// Orders a second, over both banks
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How long, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many partitions each topic has
    #[arg(long, env = "BANK_PARTITIONS", default_value_t = 4)]
    partitions: i32,
    /// What the names of topics begin with
    #[arg(long, env = "BANK_PREFIX", default_value = "")]
    prefix: String,
}

/// Sends orders until the time is over or it is told to end, then writes down what it sent.
///
/// # Errors
/// When an order cannot be sent, or its own count not be written.
pub fn load(options: &LoadOptions) -> Result<ExitCode, Box<dyn Error>> {
    let stop = Stop::listen()?;
    let mut outside = Outside::open(options)?;
    let start = Instant::now();
    let end = Duration::from_secs(options.seconds);
    let mut sent = 0;
    while start.elapsed() < end && !stop.raised() {
        let owed =
            u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX) * options.rate / 1_000;
        let bundle = (owed - sent).min(BUNDLE_ORDERS_MAX);
        outside.send(sent..sent + bundle)?;
        sent += bundle;
        std::thread::sleep(TICK);
    }
    outside.write_down()?;
    let line = serde_json::json!({"orders": sent, "seconds": start.elapsed().as_secs_f64()});
    writeln!(std::io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

struct Outside {
    term: String,
    banks: Vec<(String, Outbox)>,
    partitions: i32,
    next: BTreeMap<String, u64>,
    ledger: Ledger,
    /// What loads before this one sent.
    earlier: BTreeMap<String, Vec<SentRun>>,
}

impl Outside {
    fn open(options: &LoadOptions) -> Result<Self, Box<dyn Error>> {
        let mut ledger = Ledger::open(&options.state)?;
        let earlier = ledger.load("load")?.sent;
        let banks = ["a", "b"].map(|bank| format!("{}orders-{bank}", options.prefix));
        let banks = banks
            .into_iter()
            .map(|topic| Outbox::new(&options.bootstrap, &topic).map(|outbox| (topic, outbox)));
        Ok(Self {
            term: new_term(),
            banks: banks.collect::<Result<_, _>>()?,
            partitions: options.partitions,
            next: BTreeMap::new(),
            ledger,
            earlier,
        })
    }

    fn send(&mut self, orders: std::ops::Range<u64>) -> Result<(), Box<dyn Error>> {
        let mut bundles = vec![Vec::new(); self.banks.len()];
        let places = self.partitions.unsigned_abs() as u64;
        for order in orders {
            let bank = usize::try_from(order % 2).expect("0 or 1");
            let partition = i32::try_from(order / 2 % places).expect("below a partition count");
            let record = self.order(bank, partition, order);
            bundles[bank].push(Outgoing { partition, record });
        }
        for ((_, outbox), bundle) in self.banks.iter_mut().zip(bundles) {
            outbox.send_all(&bundle)?;
        }
        Ok(())
    }

    fn order(&mut self, bank: usize, partition: i32, order: u64) -> Record {
        let next = self
            .next
            .entry(format!("{}-{partition}", self.banks[bank].0))
            .or_default();
        let seq = *next;
        *next += 1;
        let account =
            usize::try_from(order % ACCOUNTS as u64).expect("below the count of accounts");
        let hops = u32::try_from(seq % (HOPS_MAX + 1)).expect("at most HOPS_MAX");
        let amount = i64::try_from(1 + order % 9).expect("at most nine");
        Record {
            from: "load".into(),
            term: self.term.clone(),
            seq,
            account,
            amount,
            hops,
        }
    }

    fn write_down(mut self) -> Result<(), Box<dyn Error>> {
        let mut sent = self.earlier;
        for (place, to) in self.next {
            sent.entry(place).or_default().push(SentRun {
                term: self.term.clone(),
                from: 0,
                to,
            });
        }
        let shard = Shard {
            balances: Vec::new(),
            sent,
            ..Shard::new("load")
        };
        self.ledger.save(std::iter::once(&shard))
    }
}
