//! The demo: two banks in two languages behind sidecars on a real Kafka, a checkpoint under load, spoilt state, a rollback, a count.
//!
//! `./demo` prepares what this needs and runs it. Its last line on stdout is one line of JSON; it ends with success only when all is right.

mod mirror;
mod pipeline;
mod rounds;
mod stage;
mod story;
mod teller;
mod verdict;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use integration_tests::Run;
use serde_json::json;

use crate::{
    rounds::{Ended, Rounding},
    story::Story,
    teller::Teller,
};

/// What three records of load are: an order, and about two transfers that follow from it.
const RECORDS_PER_ORDER: u64 = 3;

#[derive(Clone, Debug, Parser)]
#[command(
    name = "demo",
    about = "Takes a checkpoint of two banks under load, spoils their state, rolls back, and counts the money",
    args_conflicts_with_subcommands = true
)]
struct Options {
    /// Another example in place of the two banks
    #[command(subcommand)]
    example: Option<Example>,
    /// With PostgreSQL, Redis and S3 in place of files
    #[arg(long)]
    full: bool,
    /// Leave everything running at the end
    #[arg(long)]
    keep: bool,
    /// How the checkpoint is taken
    #[arg(long, value_enum, default_value_t = Mode::Aligned)]
    mode: Mode,
    /// First show what a copy without a consistent cut does to the same banks
    #[arg(long)]
    naive: bool,
    /// Instances of each bank
    #[arg(long, default_value_t = 1)]
    instances: usize,
    /// Records a second through the banks' topics
    #[arg(long, default_value_t = 7_500)]
    rate: u64,
    /// How bank B is captured: by its commits, or by the hook it offers
    #[arg(long, value_enum, default_value_t = Capture::Commit)]
    capture: Capture,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Example {
    /// One stream in two databases: at a checkpoint and after a rollback both hold the same prefix
    Mirror(Rounding),
    /// Three services with a join: what the usual hot backup does to them, and what Cutline does
    Pipeline(Rounding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Aligned,
    Unaligned,
    Synchronous,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Capture {
    Commit,
    Hook,
}

impl Options {
    fn orders_per_second(&self) -> u64 {
        self.rate.div_ceil(RECORDS_PER_ORDER)
    }
}

/// The load ends by itself after this long, whatever happens.
const LOAD_TIME_MAX: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let teller = Teller::new();
    speak_plainly_of_panics(teller);
    // The harness panics when a part does not come up; a task of its own turns that into an end like any other.
    let told = tokio::spawn(tell(options, teller)).await;
    let told_to_the_end = told.is_ok();
    let Ended { line, right } = told.unwrap_or_else(|_| Ended {
        line: json!({"checkpoint": "UNKNOWN", "restore": "UNKNOWN"}),
        right: false,
    });
    // After a panic the harness has said so already.
    if !right && told_to_the_end {
        Run::this().keep_logs();
        teller.note(&format!(
            "logs of this run are kept in {}",
            Run::this().directory().display()
        ));
    }
    teller.last_line(&line.to_string());
    if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn tell(options: Options, teller: Teller) -> Ended {
    match options.example {
        Some(Example::Mirror(rounding)) => mirror::tell(rounding, teller).await,
        Some(Example::Pipeline(rounding)) => pipeline::tell(rounding, teller).await,
        None => tell_of_banks(options, teller).await,
    }
}

async fn tell_of_banks(options: Options, teller: Teller) -> Ended {
    let keep = options.keep;
    let mut story = Story::begin(options, teller).await;
    let verdict = story.tell().await;
    // When it is not kept, dropping it ends all it started; where that is never reached, the guardian does.
    if keep {
        story.leave_running();
    }
    Ended {
        line: verdict.line(),
        right: verdict.is_right(),
    }
}

fn speak_plainly_of_panics(teller: Teller) {
    std::panic::set_hook(Box::new(move |panic| {
        let why = panic.payload_as_str().unwrap_or("an error without words");
        teller.bad("went wrong", why);
    }));
}
