//! The bank in pods of a real Kubernetes: the chart is installed, its webhook puts sidecars in, a checkpoint and a rollback are made.
//!
//! What it looks at is what a user would: helm's and kubectl's answers, Cutline's command line, and the money. Its last line on stdout is
//! one line of JSON; it ends with success only when everything in it is right. Kafka runs beside the cluster, on this machine.

mod order;
mod release;
mod story;

use std::{io::Write, process::ExitCode};

use integration_tests::Run;

use crate::story::Story;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        say(
            "usage: kubernetes     installs Cutline into a Kubernetes of its own, as root, and rolls the bank back there",
        );
        return ExitCode::from(2);
    }
    let story = tokio::spawn(async { Story::begin().await.tell().await });
    let Ok(verdict) = story.await else {
        say(&format!(
            "logs of this run are kept in {}",
            Run::this().directory().display()
        ));
        return ExitCode::FAILURE;
    };
    say(&verdict.line());
    if verdict.is_right() {
        ExitCode::SUCCESS
    } else {
        Run::this().keep_logs();
        say(&format!(
            "logs of this run are kept in {}",
            Run::this().directory().display()
        ));
        ExitCode::FAILURE
    }
}

/// A line for a person. A closed stdout fails nothing.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
