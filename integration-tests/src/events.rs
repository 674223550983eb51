//! The admin API's event stream, read as a client reads it that resumes after the last event it saw.
//!
//! It promises to wait for as many events as are asked for, and to give also those that follow at once. It knows no kind of event.

use std::time::Duration;

use serde_json::Value;

use crate::http;

/// How long the next event may take while some are still wanted.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long none comes when all have come.
const QUIET: Duration = Duration::from_millis(500);

/// The events of the admin API at `url` after the one called `last`: `count` at least when they come in time, and what follows them
/// at once.
///
/// # Panics
/// When it does not answer, or with anything but JSON.
pub async fn events(url: &str, last: &str, count: usize) -> Vec<Value> {
    let get = http::client()
        .get(format!("{url}/v1/events"))
        .header("last-event-id", last);
    let mut answer = get.send().await.expect("it answers");
    let (mut text, mut events) = (String::new(), Vec::new());
    loop {
        let patience = if events.len() < count {
            DEADLINE
        } else {
            QUIET
        };
        // What is kept comes at once; what follows it may take for ever.
        let Ok(Ok(Some(part))) = tokio::time::timeout(patience, answer.chunk()).await else {
            return events;
        };
        text.push_str(&String::from_utf8_lossy(&part));
        let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
        let data = text[..whole]
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        events.extend(data.map(|data| serde_json::from_str::<Value>(data).expect("JSON")));
        text.drain(..whole);
    }
}
