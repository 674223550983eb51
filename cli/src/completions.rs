//! `cutline completions`: what makes a shell complete commands, and what it completes that only the admin API knows.
//!
//! The script that is printed asks this program for every completion. Epochs and names come from the admin API that the command would
//! talk to, as far as variables and the context in use say; when it does not answer at once, nothing is completed.

use std::{ffi::OsStr, future::Future, path::PathBuf, time::Duration};

use clap::{CommandFactory, ValueEnum};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use cutline_client::{AdminClient, AdminError, CheckpointQuery};

use crate::{
    Cli,
    context::Contexts,
    failure::Failure,
    quantity::time,
    session::{ADMIN_DEFAULT, token_in},
};

/// The variable by which a shell says that it wants completions.
const VARIABLE: &str = "COMPLETE";
/// Nobody waits longer for a completion.
const PATIENCE: Duration = Duration::from_millis(700);
/// More candidates help nobody choose.
const CANDIDATES_MAX: usize = 50;

/// Shells that can complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// Elvish
    Elvish,
    /// PowerShell
    Powershell,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::Powershell => "powershell",
        }
    }
}

/// Answers a shell that asks for completions, and ends then; does nothing else otherwise.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// Prints the script of `shell`.
///
/// # Errors
/// When stdout takes no more.
pub fn run(shell: Shell) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(shell.name())
        .expect("every shell here is built in");
    let mut stdout = std::io::stdout().lock();
    Ok(shell.write_registration(VARIABLE, "cutline", "cutline", "cutline", &mut stdout)?)
}

/// Completes epochs of checkpoints.
#[must_use]
pub fn epochs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        candidates(typed, |client| async move {
            let query = CheckpointQuery {
                limit: Some(CANDIDATES_MAX),
                ..CheckpointQuery::default()
            };
            let list = client.checkpoints(&query).await?;
            let told = list.history.into_iter().map(|view| {
                let name = view.savepoint.unwrap_or_default();
                let help = format!("{} {} {name}", view.status, time(view.started_at));
                (view.epoch.to_string(), help)
            });
            Ok(told.collect())
        })
    })
}

/// Completes ids of restores.
#[must_use]
pub fn restores() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        candidates(typed, |client| async move {
            let told = client.restores().await?.into_iter().map(|view| {
                let help = format!("{} of checkpoint {}", view.status, view.epoch);
                (view.id, help)
            });
            Ok(told.collect())
        })
    })
}

/// Completes names of sidecars.
#[must_use]
pub fn sidecars() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        candidates(typed, |client| async move {
            let told = client.sidecars().await?.into_iter().map(|view| {
                let name = format!("{}/{}", view.service, view.instance);
                (name, view.state.to_string())
            });
            Ok(told.collect())
        })
    })
}

/// Completes names of contexts.
#[must_use]
pub fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let contexts = Contexts::of_user().unwrap_or_default().contexts;
        let told = contexts
            .into_iter()
            .map(|(name, context)| (name, context.admin));
        beginning_with(typed, told.collect())
    })
}

/// What `ask` learns of the admin API.
fn candidates<F>(typed: &OsStr, ask: impl FnOnce(AdminClient) -> F) -> Vec<CompletionCandidate>
where
    F: Future<Output = Result<Vec<(String, String)>, AdminError>>,
{
    let Some(client) = client() else {
        return Vec::new();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(client)).await });
    match asked {
        Ok(Ok(told)) => beginning_with(typed, told),
        // A completion is no place for errors.
        _ => Vec::new(),
    }
}

fn beginning_with(typed: &OsStr, told: Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    told.into_iter()
        .filter(|(value, _)| value.starts_with(&*typed))
        .take(CANDIDATES_MAX)
        .map(|(value, help)| CompletionCandidate::new(value).help(Some(help.into())))
        .collect()
}

/// The admin API that variables and the context in use name.
fn client() -> Option<AdminClient> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let contexts = Contexts::of_user().unwrap_or_default();
    let name = set("CUTLINE_CONTEXT").or(contexts.current);
    let context = name.and_then(|name| contexts.contexts.get(&name).cloned());
    let explicit = set("CUTLINE_ADMIN");
    let used = context.filter(|_| explicit.is_none());
    let address = explicit.or_else(|| used.as_ref().map(|context| context.admin.clone()));
    let client = AdminClient::new(address.as_deref().unwrap_or(ADMIN_DEFAULT)).ok()?;
    let file = set("CUTLINE_TOKEN_FILE").map(PathBuf::from);
    match file.or_else(|| used.and_then(|context| context.token_file)) {
        Some(path) => client.with_token(&token_in(&path).ok()?).ok(),
        None => Some(client),
    }
}
