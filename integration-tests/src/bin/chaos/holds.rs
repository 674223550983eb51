//! How long applications were held, by what their sidecars tell of themselves.
//!
//! A sidecar that is killed lets its application go by dying, and forgets what it had measured: it is asked often.

use std::time::Duration;

use crate::tally::Tally;

const METRIC: &str = "cutline_longest_hold_seconds ";
const ASK_INTERVAL: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks every sidecar for as long as the returned task lives.
#[must_use]
pub fn watch(sidecars: Vec<String>, tally: Tally) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let client = reqwest::Client::new();
        loop {
            for url in &sidecars {
                if let Some(seconds) = longest(&client, url).await {
                    tally.held(seconds);
                }
            }
            tokio::time::sleep(ASK_INTERVAL).await;
        }
    })
}

/// `None` while it does not answer: it may be frozen or gone.
async fn longest(client: &reqwest::Client, url: &str) -> Option<f64> {
    let question = client.get(format!("{url}/metrics")).timeout(ASK_TIMEOUT);
    let text = question.send().await.ok()?.text().await.ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(METRIC)?.trim().parse().ok())
}
