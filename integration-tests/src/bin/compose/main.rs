//! The project's compose file, started by a real Docker as the README says, and rolled back there.
//!
//! What it looks at is what a user would: the answers of `docker compose`, Cutline's command line, Prometheus, and the money. Its last line on
//! stdout is one line of JSON; it ends with success only when everything in it is right.

mod story;

use std::process::ExitCode;

use integration_tests::narrator;

use crate::story::Story;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        narrator::say(
            "usage: compose     starts docker-compose.yml with a Docker of its own, as root, and rolls the banks back there",
        );
        return ExitCode::from(2);
    }
    narrator::tell(async { Story::begin().await.tell().await }).await
}
