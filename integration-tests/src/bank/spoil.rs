//! A fat-fingered script: it sets the balances in the files of both banks to nonsense, while the banks run.
//!
//! A bank may write its own state over a spoilt file in the same instant; the script insists until the nonsense has stuck.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

/// What every account is set to.
pub(super) const NONSENSE: i64 = 13;
/// A file whose mean balance is below this has kept the nonsense.
pub(super) const MEAN_OF_NONSENSE_MAX: i64 = 200;
/// How long the script insists.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// After this long a bank that was at work on a file has written it.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(300);

/// Spoils every shard of both directories; gives how many.
///
/// # Panics
/// When a file cannot be read or written, or the nonsense does not stick.
#[must_use]
pub(super) fn spoil_files(directories: &[impl AsRef<Path>]) -> usize {
    let files: Vec<_> = directories
        .iter()
        .flat_map(|directory| shards(directory.as_ref()))
        .collect();
    let start = Instant::now();
    let mut sound: Vec<_> = files.clone();
    while !sound.is_empty() {
        assert!(
            start.elapsed() < DEADLINE,
            "the banks write faster than nonsense can"
        );
        sound.iter().for_each(|file| write_nonsense(file));
        std::thread::sleep(BATCH_TIME);
        sound.retain(|file| mean(&read(file)) > MEAN_OF_NONSENSE_MAX);
    }
    files.len()
}

fn shards(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a bank's directory of state");
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new("json")))
        .collect()
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a shard's file")).expect("a shard is JSON")
}

fn write_nonsense(file: &Path) {
    let mut shard = read(file);
    if let Some(balances) = shard["balances"].as_array_mut() {
        balances.fill(NONSENSE.into());
    }
    let temporary = file.with_extension("fat-fingered");
    std::fs::write(&temporary, shard.to_string()).expect("a file beside a shard's");
    std::fs::rename(temporary, file).expect("a rename within a directory");
}

fn mean(shard: &Value) -> i64 {
    let balances: Vec<i64> = shard["balances"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_i64)
        .collect();
    balances.iter().sum::<i64>() / i64::try_from(balances.len().max(1)).expect("few accounts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;

    #[test]
    fn every_balance_becomes_nonsense() {
        let directory = Run::this().part("spoil");
        std::fs::write(
            directory.join("orders-a-0.json"),
            r#"{"shard":"orders-a-0","balances":[1000,1000],"records":3}"#,
        )
        .unwrap();
        assert_eq!(spoil_files(&[&directory]), 1);
        assert_eq!(
            read(&directory.join("orders-a-0.json"))["balances"],
            serde_json::json!([13, 13])
        );
    }
}
