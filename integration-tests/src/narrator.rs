//! How a long run by hand speaks to a person: a line for each thing that was done, with the seconds since it began, and one of JSON at the end.
//!
//! It knows nothing of what is done.

use std::{io::Write, process::ExitCode, time::Instant};

use crate::run::Run;

/// Says what has happened, and when.
#[derive(Debug)]
pub struct Narrator {
    begun: Instant,
}

impl Default for Narrator {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
        }
    }
}

impl Narrator {
    /// Something was done.
    pub fn say(&self, text: &str) {
        say(&format!(
            "{:>6.1}  {text}",
            self.begun.elapsed().as_secs_f64()
        ));
    }
}

/// What became of a run.
pub trait Verdict: Send + 'static {
    /// All of it, as one line of JSON.
    fn line(&self) -> String;
    /// Whether everything is as it should be.
    fn is_right(&self) -> bool;
}

/// Runs a story to its end and says its verdict; the logs are kept when it is not right.
pub async fn tell<V: Verdict>(story: impl Future<Output = V> + Send + 'static) -> ExitCode {
    // A panic has said why, and where the logs are.
    let Ok(verdict) = tokio::spawn(story).await else {
        return ExitCode::FAILURE;
    };
    say(&verdict.line());
    if verdict.is_right() {
        return ExitCode::SUCCESS;
    }
    Run::this().keep_logs();
    say(&format!(
        "logs of this run are kept in {}",
        Run::this().directory().display()
    ));
    ExitCode::FAILURE
}

/// A line for a person. A closed stdout fails nothing.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
