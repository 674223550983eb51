//! `cutline`, the command line of Cutline: checkpoints, restores, and what is running.
//!
//! Every command is a question or an order to the admin API; the rules are there, not here. Data goes to stdout, everything
//! else to stderr. The exit code is 0 only when the question was answered or what was ordered is done, 1 otherwise, and
//! 2 for a command that cannot be understood.

mod checkpoint;
mod completions;
mod confirm;
mod context;
mod doctor;
mod events;
mod failure;
mod man;
mod page;
mod progress;
mod quantity;
mod restore;
mod schedule;
mod screen;
mod services;
mod session;
mod sidecars;
mod stage;
mod table;
mod tls;
mod token;
mod top;
mod topology;
mod whoami;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    context::{Contexts, Given},
    failure::Failure,
    screen::{Format, Screen},
    session::Session,
};

/// What the general flags are listed under, so that a verb's own stand out.
const GENERAL: &str = "Admin API and output";

/// Takes consistent checkpoints of Kafka services and their state, and puts services back to one.
#[derive(Debug, Parser)]
#[command(name = "cutline", version, propagate_version = true, after_long_help = EXAMPLES)]
struct Cli {
    /// The admin API, or several with commas, of which the one that leads is asked; the context's when not given,
    /// http://127.0.0.1:7070 without one
    #[arg(long, global = true, env = "CUTLINE_ADMIN", value_name = "URL", help_heading = GENERAL)]
    admin: Option<String>,
    /// A file with the token to show, where the admin API asks for one
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TOKEN_FILE",
        value_name = "PATH",
        help_heading = GENERAL
    )]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: tls::Files,
    /// The installation to talk to, as `cutline context` names it; --admin wins over it
    #[arg(
        long,
        global = true,
        env = "CUTLINE_CONTEXT",
        value_name = "NAME",
        help_heading = GENERAL,
        add = completions::contexts()
    )]
    context: Option<String>,
    /// How data is written to stdout; table when nothing else is said
    #[arg(
        short,
        long,
        global = true,
        env = "CUTLINE_OUTPUT",
        value_name = "FORMAT",
        help_heading = GENERAL
    )]
    output: Option<Format>,
    /// Give up after this long, such as 30s or 5m; what was begun goes on
    #[arg(
        long,
        global = true,
        env = "CUTLINE_TIMEOUT",
        value_name = "DURATION",
        value_parser = quantity::parse_duration,
        help_heading = GENERAL
    )]
    timeout: Option<Duration>,
    #[command(subcommand)]
    noun: Noun,
}

const EXAMPLES: &str = "\
Examples:
  cutline doctor                            what is wrong, and what to do about it
  cutline checkpoint create --wait          take a checkpoint and stay until it stands
  cutline restore plan 42                   what going back to checkpoint 42 would do
  cutline restore create 42 --wait          go back to it
  cutline top                               watch it all

Exit codes: 0 when what was asked for is done, 1 when it is not, 2 for a command that cannot be understood.";

/// What a command is about.
#[derive(Debug, Subcommand)]
enum Noun {
    /// Take, list, compare, verify and delete checkpoints
    #[command(subcommand)]
    Checkpoint(checkpoint::Verb),
    /// Plan, begin, follow and end restores
    #[command(subcommand)]
    Restore(restore::Verb),
    /// Find what is wrong, and say what to do about it
    Doctor(doctor::Arguments),
    /// Watch checkpoints, restores and sidecars
    Top(top::Arguments),
    /// Show who reads and writes what
    Topology,
    /// Show every service, or forget one that is gone for good
    Services(services::Arguments),
    /// Show every sidecar, or evict one
    Sidecars(sidecars::Arguments),
    /// Show or replace the schedule of periodic checkpoints
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Show what changes
    Events(events::Arguments),
    /// Show who the admin API takes you for
    Whoami,
    /// Make tokens for people and sidecars; asks no admin API
    #[command(subcommand)]
    Token(token::Verb),
    /// Name several installations and choose one
    #[command(subcommand)]
    Context(context::Verb),
    /// Print what makes a shell complete commands
    #[command(
        after_long_help = "Examples:\n  source <(cutline completions bash)\n  cutline completions fish > ~/.config/fish/completions/cutline.fish\n\nEpochs, restores and sidecars are completed by what the admin API answers."
    )]
    Completions {
        /// The shell
        shell: completions::Shell,
    },
    /// Write the manual, a page for each command
    #[command(
        after_long_help = "Examples:\n  cutline man ~/.local/share/man/man1 && man cutline-restore-create"
    )]
    Man {
        /// Where to
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    completions::answer_shell();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(Cli::parse())),
        Err(error) => Err(Failure::not_done(format!("cannot begin: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli {
        admin,
        token_file,
        tls,
        context,
        output,
        timeout,
        noun,
    } = cli;
    let given = Given {
        admin,
        token_file,
        tls,
        output,
    };
    // These ask no admin API, so they need none that can be found.
    let noun = match noun {
        Noun::Context(verb) => {
            let screen = Screen::new(output.unwrap_or(Format::Table));
            return context::run(&screen, verb, given);
        }
        Noun::Completions { shell } => return completions::run(shell),
        Noun::Man { directory } => return man::run(&Screen::new(Format::Table), &directory),
        Noun::Token(verb) => {
            let screen = Screen::new(output.unwrap_or(Format::Table));
            return token::run(&screen, verb);
        }
        noun => noun,
    };
    let session = session(given, context, timeout)?;
    match noun {
        Noun::Checkpoint(verb) => checkpoint::run(&session, verb).await,
        Noun::Restore(verb) => restore::run(&session, verb).await,
        Noun::Doctor(arguments) => doctor::run(&session, &arguments).await,
        Noun::Top(arguments) => top::run(&session, &arguments).await,
        Noun::Topology => topology::run(&session).await,
        Noun::Services(arguments) => services::run(&session, arguments).await,
        Noun::Sidecars(arguments) => sidecars::run(&session, arguments).await,
        Noun::Schedule(verb) => schedule::run(&session, verb).await,
        Noun::Events(arguments) => events::run(&session, &arguments).await,
        Noun::Whoami => whoami::run(&session).await,
        Noun::Token(_) | Noun::Context(_) | Noun::Completions { .. } | Noun::Man { .. } => {
            unreachable!("what asks no admin API is done before")
        }
    }
}

/// Whom to talk to: what was given wins over the context, and a context's token is shown to its own admin API only.
fn session(
    given: Given,
    named: Option<String>,
    timeout: Option<Duration>,
) -> Result<Session, Failure> {
    let contexts = Contexts::of_user()?;
    let name = named.or_else(|| contexts.current.clone());
    let context = name.as_ref().map(|name| contexts.get(name)).transpose()?;
    let format = given.output.or(context.and_then(|context| context.output));
    let format = format.unwrap_or(Format::Table);
    let used = context.filter(|_| given.admin.is_none());
    let address = given.admin.or(used.map(|context| context.admin.clone()));
    let token_file = given
        .token_file
        .or(used.and_then(|context| context.token_file.clone()));
    let tls = match used {
        Some(context) => given.tls.or(&context.tls),
        None => given.tls,
    };
    let address = address.as_deref().unwrap_or(session::ADMIN_DEFAULT);
    let session = Session::new(address, &tls, token_file.as_deref(), format, timeout)?;
    Ok(session.in_context(used.and(name)))
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
            "sidecars evict bank-a/0 --yes",
            "checkpoint latest --status failed",
            "checkpoint delete 7 --yes",
            "restore create 7 --yes --wait",
            "doctor --strict --all",
            "top --once",
            "whoami",
            "context add prod --admin http://h:1 --token-file /run/token --use",
            "context use prod",
            "context list",
            "context show",
            "context remove prod",
            "--context prod topology",
            "completions zsh",
            "man /tmp/man",
            "schedule show",
            "schedule set --interval 30s --min-pause 5s --mode aligned",
            "schedule set --off",
            "events --follow",
            "token new --name anna --role operator",
            "token new --name orders --role sidecar --service orders -o json",
            "--token-file /run/token topology",
            "--admin https://h:1,https://g:1 --tls-ca /ca --tls-certificate /c --tls-key /k topology",
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
            "topology --tls-certificate /c",
            "topology --tls-key /k",
            "topology -o yaml",
        ] {
            let words = std::iter::once("cutline").chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
