//! Log lines: JSON, one object each, with the names that all programs share.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

/// What every line has.
const ALWAYS: [&str; 7] = [
    "timestamp",
    "level",
    "message",
    "target",
    "service",
    "instance",
    "tenantId",
];

/// Every line of a program's log, each of which must be as it should.
pub fn read(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<Value> = text.lines().map(line).collect();
    assert!(!lines.is_empty(), "{} is empty", log.display());
    lines
}

fn line(text: &str) -> Value {
    let line: Value = serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    for name in ALWAYS {
        assert!(line[name].is_string(), "no {name} in {text}");
    }
    let at: Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(at <= Timestamp::now(), "{text}");
    for number in ["epoch", "latencyMs"] {
        assert!(line[number].is_null() || line[number].is_u64(), "{text}");
    }
    line
}
