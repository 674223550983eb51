//! The chaos run: everything real and under load, faults by seed, checkpoints and rollbacks all the while, and a judge of the money.
//!
//! It goes in rounds. Each begins in a world that was counted and found right, takes a checkpoint, lets a storm of faults loose while a
//! schedule takes more, rolls back — often with one more fault in the middle — and counts again. Its last line on stdout is one line of
//! JSON; it ends with success only when nothing was violated.

mod conductor;
mod control;
mod fault;
mod holds;
mod stage;
mod tally;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, ValueEnum};
use integration_tests::Run;

use crate::{conductor::Conductor, fault::Fault, tally::Tally};

const SECONDS_PER_MINUTE: f64 = 60.0;

#[derive(Clone, Debug, Parser)]
#[command(
    name = "chaos",
    about = "Breaks everything the bank stands on, by seed, while it is checkpointed and rolled back, and counts the money"
)]
struct Options {
    /// What decides on the faults; one that is new each time when none is given
    #[arg(long)]
    seed: Option<u64>,
    /// For how long rounds are begun
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// These faults alone; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Fault>,
    /// After a violation leave everything running, to be looked at
    #[arg(long)]
    stay: bool,
    /// Name every fault there is
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for fault in Fault::value_variants() {
            say(&format!("{:<22} {}", fault.name(), fault.what()));
        }
        return ExitCode::SUCCESS;
    }
    let seed = options.seed.unwrap_or_else(seed_of_now);
    say(&format!("seed {seed}"));
    let tally = Tally::new(seed);
    // The harness panics when a part does not come up again: that is a violation like any other.
    let conducted = tokio::spawn(conduct(options, seed, tally.clone())).await;
    if let Err(error) = conducted {
        tally.violated(&format!("the run broke off: {error}"));
    }
    let right = tally.violations() == 0;
    if !right {
        Run::this().keep_logs();
        say(&format!(
            "logs of this run are kept in {}",
            Run::this().directory().display()
        ));
    }
    say(&tally.line().to_string());
    if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn conduct(options: Options, seed: u64, tally: Tally) {
    let time = Duration::from_secs_f64(options.minutes * SECONDS_PER_MINUTE);
    let faults = if options.only.is_empty() {
        Fault::value_variants().to_vec()
    } else {
        options.only
    };
    let mut conductor = Conductor::begin(seed, faults, tally.clone()).await;
    conductor.conduct(time).await;
    if options.stay && tally.violations() > 0 {
        let script = Run::this().write_end_script();
        say(&format!(
            "everything stays; to end it: sh {}",
            script.display()
        ));
        Run::this().leave_running();
        std::mem::forget(conductor);
    }
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// A line for a person. A closed stdout fails nothing.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
