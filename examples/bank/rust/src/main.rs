//! Bank A, the load that drives both banks, and the auditor that counts their money.
//!
//! Bank A and bank B (its twin in Python) are independent services that send each other transfers through Kafka, a cycle. Both are plain
//! at-least-once consumers without any deduplication, on purpose: what a wrong cut loses or doubles stays lost or doubled, and is counted.

mod audit;
mod batch;
mod ledger;
mod load;
mod outbox;
mod record;
mod runs;
mod service;
mod shard;
mod stop;
mod term;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one instance of the bank until it is told to end
    Serve(service::ServeOptions),
    /// Produces orders at a steady rate, whatever becomes of them
    Load(load::LoadOptions),
    /// Counts money, orphans, losses and duplicates over the state of both banks; prints one line of JSON
    Count(audit::CountOptions),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(options) => service::serve(&options),
        Command::Load(options) => load::load(&options),
        Command::Count(options) => audit::count(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bank-a: {error}");
            ExitCode::FAILURE
        }
    }
}
