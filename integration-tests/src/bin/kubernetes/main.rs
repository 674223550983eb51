//! The bank in pods of a real Kubernetes: the chart is installed, its webhook puts sidecars in, a checkpoint and a rollback are made.
//!
//! What it looks at is what a user would: helm's and kubectl's answers, Cutline's command line, and the money. Its last line on stdout is
//! one line of JSON; it ends with success only when everything in it is right. Kafka runs beside the cluster, on this machine.

mod admin_pod;
mod order;
mod release;
mod story;

use std::process::ExitCode;

use integration_tests::narrator;

use crate::story::Story;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        narrator::say(
            "usage: kubernetes     installs Cutline into a Kubernetes of its own, as root, and rolls the bank back there",
        );
        return ExitCode::from(2);
    }
    narrator::tell(async { Story::begin().await.tell().await }).await
}
