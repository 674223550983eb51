//! Records that are easily spoiled on the way: null and empty keys and values, repeated and null headers, timestamps far apart.
//!
//! They are the same in every run. What they become in the log is computed here, not asked of any client.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Partitions of every topic.
pub const PARTITIONS: i32 = 3;
const COUNT: i64 = 36;
const LARGE_BYTES: usize = 60_000;
const DAY_MS: i64 = 86_400_000;

/// The records of one codec, in the order they are sent.
pub fn of_codec(codec: &str) -> Vec<Value> {
    (0..COUNT).map(|at| record(codec, at)).collect()
}

fn record(codec: &str, at: i64) -> Value {
    let key = match at % 6 {
        0 => Value::Null,
        1 => json!(""),
        _ => json!(base64(format!("key {codec} {at}").as_bytes())),
    };
    let value = match at % 9 {
        4 => Value::Null,
        5 => json!(""),
        _ if at == 6 => json!(base64(&b"a large one ".repeat(LARGE_BYTES / 12))),
        _ => json!(base64(
            format!("value {codec} {at} ")
                .repeat(at as usize)
                .as_bytes()
        )),
    };
    let headers = match at % 4 {
        0 => json!([]),
        1 => json!([
            ["name", base64(b"one")],
            ["name", base64(b"two")],
            ["name", null]
        ]),
        2 => json!([["", base64(&[0, 255, 10])], ["größe", ""]]),
        _ => json!([
            ["z", base64(codec.as_bytes())],
            ["a", base64(&at.to_be_bytes())]
        ]),
    };
    // Farther apart than 32 bits of milliseconds, within one batch, and not in order.
    let timestamp = 1_700_000_000_000 - (at % 5) * 20 * DAY_MS + at;
    json!({ "p": at % i64::from(PARTITIONS), "k": key, "v": value, "h": headers, "t": timestamp })
}

/// The same records with empty headers for absent ones, for clients that do not send those.
pub fn without_null_headers(mut records: Vec<Value>) -> Vec<Value> {
    for record in &mut records {
        let headers = record["h"].as_array_mut().expect("headers are a list");
        for header in headers.iter_mut().filter(|header| header[1].is_null()) {
            header[1] = json!("");
        }
    }
    records
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = u32::from_be_bytes([
            0,
            chunk[0],
            chunk.get(1).copied().unwrap_or(0),
            chunk.get(2).copied().unwrap_or(0),
        ]);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = LETTERS[(word >> shift) as usize & 63];
            text.push(if at <= chunk.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    text
}

/// Where `records` land in an empty topic: each answer a producer should be given, in order.
pub fn landing(records: &[Value]) -> Vec<Value> {
    let mut ends = BTreeMap::new();
    let land = |record: &Value| {
        let partition = record["p"].as_i64().expect("a partition is a number");
        let end = ends.entry(partition).or_insert(0_i64);
        *end += 1;
        json!([partition, *end - 1])
    };
    records.iter().map(land).collect()
}

/// What a consumer of the whole topic should see: by partition, in order.
pub fn seen(records: &[Value], landed: &[Value]) -> BTreeMap<i64, Vec<Value>> {
    let mut by_partition = BTreeMap::<i64, Vec<Value>>::new();
    for (record, landed) in records.iter().zip(landed) {
        let mut record = record.clone();
        record["o"] = landed[1].clone();
        let partition = landed[0].as_i64().expect("a partition is a number");
        by_partition.entry(partition).or_default().push(record);
    }
    by_partition
}

/// What a client says it saw, by partition and in the order it said.
pub fn by_partition(answer: &Value) -> BTreeMap<i64, Vec<Value>> {
    let mut by_partition = BTreeMap::<i64, Vec<Value>>::new();
    for record in answer.as_array().expect("records are a list") {
        let partition = record["p"].as_i64().expect("a partition is a number");
        by_partition
            .entry(partition)
            .or_default()
            .push(record.clone());
    }
    by_partition
}

/// Fails naming the first record in which two readings differ.
pub fn assert_same(
    what: &str,
    seen: &BTreeMap<i64, Vec<Value>>,
    expected: &BTreeMap<i64, Vec<Value>>,
) {
    for (partition, expected) in expected {
        let seen = seen.get(partition).map_or(&[][..], Vec::as_slice);
        for (seen, expected) in seen.iter().zip(expected) {
            assert_eq!(seen, expected, "{what}: partition {partition}");
        }
        assert_eq!(seen.len(), expected.len(), "{what}: partition {partition}");
    }
    assert_eq!(seen.len(), expected.len(), "{what}: partitions");
}
