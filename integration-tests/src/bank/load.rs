//! The world outside the banks: who sends them orders.

use std::{path::Path, time::Duration};

use super::BankOptions;
use crate::{binaries::binary, process::ProcessSpec};

/// The topics of banks whose names begin with `prefix`: orders and transfers of A, then of B.
#[must_use]
pub fn topic_names(prefix: &str) -> [String; 4] {
    ["orders-a", "transfers-a", "orders-b", "transfers-b"].map(|topic| format!("{prefix}{topic}"))
}

/// A load of `orders_per_second` into both banks together, for `limit` at most; it logs and keeps its state in `directory`.
#[must_use]
pub fn load(
    kafka: &str,
    options: &BankOptions,
    orders_per_second: u64,
    limit: Duration,
    directory: &Path,
) -> ProcessSpec {
    let (rate, seconds) = (orders_per_second.to_string(), limit.as_secs().to_string());
    let partitions = options.partitions.to_string();
    ProcessSpec::new("load", binary("bank-a"), directory.join("load.log"))
        .args(["load", "--bootstrap", kafka, "--prefix", &options.prefix])
        .args(["--rate", &rate, "--seconds", &seconds])
        .args(["--partitions", &partitions, "--state"])
        .arg(directory.join("load"))
}
