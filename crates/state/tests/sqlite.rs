//! Real SQLite databases are recorded between transactions and come back whole, also under an open connection.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something cannot be done"
)]

mod world;

use std::path::Path;

use cutline_state::{Directory, Provider};
use rusqlite::Connection;
use world::world;

const ACCOUNTS: i64 = 200;
const TOTAL: i64 = ACCOUNTS * 100;

fn open(path: &Path, journal: &str) -> Connection {
    let bank = Connection::open(path).unwrap();
    bank.pragma_update(None, "journal_mode", journal).unwrap();
    // No power fails here, and waiting for the disk proves nothing.
    bank.pragma_update(None, "synchronous", "OFF").unwrap();
    bank.execute_batch("CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, memo TEXT)")
        .unwrap();
    bank
}

fn seed(bank: &Connection) {
    for id in 0..ACCOUNTS {
        bank.execute(
            "INSERT INTO account VALUES (?1, 100, ?2)",
            (id, "x".repeat(500)),
        )
        .unwrap();
    }
}

/// Moves money about: every transaction keeps the total.
fn transfer(bank: &Connection, round: i64) {
    bank.execute_batch("BEGIN IMMEDIATE").unwrap();
    bank.execute(
        "UPDATE account SET balance = balance - 7 WHERE id = ?1",
        [round % ACCOUNTS],
    )
    .unwrap();
    bank.execute(
        "UPDATE account SET balance = balance + 7 WHERE id = ?1",
        [(round * 31 + 1) % ACCOUNTS],
    )
    .unwrap();
    bank.execute_batch("COMMIT").unwrap();
}

fn balances(bank: &Connection) -> Vec<i64> {
    let mut query = bank
        .prepare("SELECT balance FROM account ORDER BY id")
        .unwrap();
    query
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn is_whole(bank: &Connection) -> bool {
    bank.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
        .unwrap()
        == "ok"
}

async fn record_and_restore(journal: &str, reopen: bool) {
    let world = world().await;
    let data = world.data();
    let path = data.join("bank.db");
    let provider = Directory::new(&data, Vec::new());
    let mut bank = open(&path, journal);
    seed(&bank);
    for epoch in 1..=3 {
        for round in 0..300 {
            transfer(&bank, round * epoch);
        }
        // The application is quiet here, with its connection open and, in WAL mode, much of its state in the WAL.
        let recorded = balances(&bank);
        let fixed = provider.fix().await.unwrap();
        for round in 0..400 {
            transfer(&bank, round * 13);
        }
        let epoch = cutline_model::Epoch(epoch.unsigned_abs());
        let mut part = world
            .repository
            .part_writer(epoch, &world::process(), "dir")
            .await
            .unwrap();
        fixed.copy(&mut part).await.unwrap();
        let part = part.finish().await.unwrap();
        bank.execute(
            "UPDATE account SET balance = balance + 1000000 WHERE id < 50",
            [],
        )
        .unwrap();
        assert_ne!(balances(&bank), recorded);

        let held = if reopen { None } else { Some(bank) };
        world.restore(&provider, &part).await.unwrap();
        bank = held.unwrap_or_else(|| open(&path, journal));
        assert_eq!(balances(&bank), recorded, "{journal}");
        assert_eq!(balances(&bank).iter().sum::<i64>(), TOTAL);
        assert!(is_whole(&bank));
        transfer(&bank, 1);
        assert_eq!(
            balances(&open(&path, journal)).iter().sum::<i64>(),
            TOTAL,
            "and it can be written again"
        );
    }
}

#[tokio::test]
async fn a_database_with_a_write_ahead_log_comes_back_after_a_restart_of_its_application() {
    record_and_restore("WAL", true).await;
}

#[tokio::test]
async fn a_database_with_a_write_ahead_log_comes_back_under_an_open_connection() {
    record_and_restore("WAL", false).await;
}

#[tokio::test]
async fn a_database_with_a_rollback_journal_comes_back_after_a_restart_of_its_application() {
    record_and_restore("DELETE", true).await;
}

#[tokio::test]
async fn a_database_with_a_rollback_journal_comes_back_under_an_open_connection() {
    record_and_restore("DELETE", false).await;
}
