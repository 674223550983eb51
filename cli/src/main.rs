//! `cutline`, the command line of Cutline: checkpoints, restores, and what is running.
//!
//! Every command is a question or an order to the admin API; the rules are there, not here. Data goes to stdout, everything
//! else to stderr. The exit code is 0 only when the question was answered or what was ordered is done, 1 otherwise, and
//! 2 for a command that cannot be understood.

mod checkpoint;
mod events;
mod failure;
mod page;
mod progress;
mod quantity;
mod restore;
mod schedule;
mod screen;
mod services;
mod session;
mod sidecars;
mod table;
mod token;
mod topology;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{failure::Failure, screen::Format, session::Session};

/// Takes consistent checkpoints of Kafka services and their state, and puts services back to one.
#[derive(Debug, Parser)]
#[command(name = "cutline", version, propagate_version = true)]
struct Cli {
    /// The admin API
    #[arg(
        long,
        global = true,
        env = "CUTLINE_ADMIN",
        value_name = "URL",
        default_value = session::ADMIN_DEFAULT
    )]
    admin: String,
    /// A file with the token to show, where the admin API asks for one
    #[arg(long, global = true, env = "CUTLINE_TOKEN_FILE", value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// How data is written to stdout
    #[arg(
        short,
        long,
        global = true,
        env = "CUTLINE_OUTPUT",
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    /// Give up after this long, such as 30s or 5m; what was begun goes on
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TIMEOUT",
        value_name = "DURATION",
        value_parser = quantity::parse_duration
    )]
    timeout: Option<Duration>,
    #[command(subcommand)]
    noun: Noun,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
enum Noun {
    /// Take, list, compare, verify and delete checkpoints
    #[command(subcommand)]
    Checkpoint(checkpoint::Verb),
    /// Plan, begin, follow and end restores
    #[command(subcommand)]
    Restore(restore::Verb),
    /// Show who reads and writes what
    Topology,
    /// Show every service, or forget one that is gone for good
    Services(services::Arguments),
    /// Show every sidecar
    Sidecars,
    /// Show or replace the schedule of periodic checkpoints
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Show what changes
    Events(events::Arguments),
    /// Make tokens for people and sidecars; asks no admin API
    #[command(subcommand)]
    Token(token::Verb),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let session = Session::new(
        &cli.admin,
        cli.token_file.as_deref(),
        cli.output,
        cli.timeout,
    )?;
    match cli.noun {
        Noun::Checkpoint(verb) => checkpoint::run(&session, verb).await,
        Noun::Restore(verb) => restore::run(&session, verb).await,
        Noun::Topology => topology::run(&session).await,
        Noun::Services(arguments) => services::run(&session, arguments).await,
        Noun::Sidecars => sidecars::run(&session).await,
        Noun::Schedule(verb) => schedule::run(&session, verb).await,
        Noun::Events(arguments) => events::run(&session, &arguments).await,
        Noun::Token(verb) => token::run(&session, verb),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_contradict_themselves_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_is_understood() {
        for line in [
            "checkpoint create",
            "checkpoint create --savepoint nightly --mode unaligned --wait",
            "checkpoint list",
            "checkpoint describe 7",
            "checkpoint delete 7",
            "checkpoint verify 7",
            "checkpoint diff 7 8",
            "checkpoint abort 7",
            "checkpoint prune",
            "checkpoint prune --dry-run",
            "restore plan 7 --services a,b",
            "restore create 7 --services a,b --no-safety-checkpoint --allow-contaminated --wait",
            "restore describe r1",
            "restore list",
            "restore abort r1",
            "topology",
            "services",
            "services forget old",
            "sidecars",
            "schedule show",
            "schedule set --interval 30s --min-pause 5s --mode aligned",
            "schedule set --off",
            "events --follow",
            "token new --name anna --role operator",
            "token new --name orders --role sidecar --service orders -o json",
            "--token-file /run/token topology",
            "--admin http://h:1 -o json --timeout 5m topology",
            "topology --admin http://h:1 -o json --timeout 5m",
        ] {
            let words = std::iter::once("cutline").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_as_usage() {
        for line in [
            "",
            "checkpoint",
            "checkpoint describe",
            "checkpoint describe seven",
            "checkpoint create --mode sideways",
            "restore plan 7 --services a,,b",
            "schedule set",
            "schedule set --interval 0s",
            "schedule set --interval 30s --off",
            "topology --timeout 30",
            "topology -o yaml",
        ] {
            let words = std::iter::once("cutline").chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
