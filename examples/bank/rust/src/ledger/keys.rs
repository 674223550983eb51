//! Shards as bank B keeps them in Redis: `PREFIX SHARD :book`, a JSON text, and `PREFIX SHARD :accounts`, a hash of balances.
//!
//! Only for reading: bank A itself keeps none there.

use std::{collections::BTreeMap, error::Error};

use redis::Commands;
use serde_json::Value;

use crate::shard::Shard;

const BOOK: &str = ":book";
const ACCOUNTS: &str = ":accounts";

/// Every shard under the prefix that the address names.
///
/// # Errors
/// When the server does not answer, or something there is no shard.
pub fn read_all(address: &str) -> Result<Vec<Shard>, Box<dyn Error>> {
    let (server, query) = address.split_once('?').unwrap_or((address, ""));
    let prefix = query
        .strip_prefix("prefix=")
        .ok_or("redis://…?prefix= is expected")?;
    let mut connection = redis::Client::open(server)?.get_connection()?;
    let names: Vec<String> = connection.keys(format!("{prefix}*{BOOK}"))?;
    let mut shards = Vec::new();
    for name in names {
        let accounts = format!("{}{ACCOUNTS}", name.trim_end_matches(BOOK));
        // Both belong together: a transaction reads them at one moment.
        let (book, balances): (String, BTreeMap<i64, i64>) = redis::pipe()
            .atomic()
            .get(&name)
            .hgetall(&accounts)
            .query(&mut connection)?;
        let mut book: Value = serde_json::from_str(&book)?;
        book["balances"] = balances.into_values().collect();
        shards.push(serde_json::from_value(book)?);
    }
    Ok(shards)
}
