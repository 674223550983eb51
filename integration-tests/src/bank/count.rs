//! The auditor of the bank example, run over the state of both banks, and what it says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::binaries::binary;

/// What the auditor counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Count {
    /// The money there was at the beginning.
    pub total_expected: i64,
    /// The money there is.
    pub total_after: i64,
    /// Received, and never sent.
    pub orphans: u64,
    /// Sent, and not received.
    pub lost: u64,
    /// Received again.
    pub duplicates: u64,
    /// How many records were applied.
    pub records: u64,
    /// Whether nothing moved any more.
    pub settled: bool,
}

impl Count {
    /// Whether all money is there and every record arrived exactly once.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.settled
            && self.total_expected == self.total_after
            && (self.orphans, self.lost, self.duplicates) == (0, 0, 0)
    }
}

/// Runs the auditor over the places where state is.
///
/// # Panics
/// When it cannot read them.
pub async fn count(
    states: impl Iterator<Item = String>,
    partitions: i32,
    arguments: &[String],
) -> Count {
    let mut command = tokio::process::Command::new(binary("bank-a"));
    command
        .args(["count", "--partitions", &partitions.to_string()])
        .args(arguments)
        .kill_on_drop(true);
    states.for_each(|state| {
        command.arg("--state").arg(state);
    });
    let output = command.output().await.expect("the auditor can be run");
    // It ends with an error also where the count is wrong: what it printed decides.
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("the auditor: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Counts both banks once nothing moves any more, without the orders: for a world whose load was rolled back too.
///
/// # Panics
/// When the auditor cannot read the states.
pub async fn count_without_orders(states: [String; 2], partitions: i32, settle: Duration) -> Count {
    let arguments = [
        "--no-orders",
        "--quiet-seconds",
        "6",
        "--settle-seconds",
        &settle.as_secs().to_string(),
    ]
    .map(str::to_owned);
    count(states.into_iter(), partitions, &arguments).await
}
