//! How long applications were held, by what their sidecars tell of themselves.
//!
//! A sidecar that is killed lets its application go by dying, and forgets what it had measured: it is asked often. One that is
//! stopped can open nothing: for how long it was is left out of the hold that this fell into, and of no other.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use integration_tests::http;
use parking_lot::Mutex;

use crate::tally::Tally;

const METRIC: &str = "cutline_longest_hold_seconds ";
const ASK_INTERVAL: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after a sidecar went on a hold shows that its stop fell into: `max-pause`, and the time to ask all of them.
const SHOWS_WITHIN: Duration = Duration::from_secs(20);

/// Which sidecar, by its place in the stage, was stopped last until when, and for how long. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stopped(Arc<Mutex<BTreeMap<usize, (Instant, Duration)>>>);

impl Stopped {
    /// The sidecar at `at` goes on after `time`.
    pub fn note(&self, at: usize, time: Duration) {
        self.0.lock().insert(at, (Instant::now(), time));
    }

    /// What remains of a hold of `seconds` that shows now.
    fn left_of(&self, at: usize, seconds: f64) -> f64 {
        match self.0.lock().get(&at) {
            Some((until, time)) if until.elapsed() < SHOWS_WITHIN => {
                (seconds - time.as_secs_f64()).max(0.0)
            }
            _ => seconds,
        }
    }
}

/// Asks every sidecar for as long as the returned task lives.
#[must_use]
pub fn watch(sidecars: Vec<String>, stopped: Stopped, tally: Tally) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let client = http::client();
        let mut seen = vec![0.0; sidecars.len()];
        loop {
            for (at, url) in sidecars.iter().enumerate() {
                let Some(seconds) = longest(&client, url).await else {
                    continue;
                };
                if seconds > seen[at] {
                    tally.held(stopped.left_of(at, seconds));
                }
                seen[at] = seconds;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hold_that_a_stop_fell_into_is_shortened() {
        let stopped = Stopped::default();
        stopped.note(1, Duration::from_secs(12));
        assert_eq!(stopped.left_of(1, 13.0), 1.0);
        assert_eq!(stopped.left_of(0, 13.0), 13.0);
        let long_ago = Instant::now().checked_sub(SHOWS_WITHIN).unwrap();
        stopped
            .0
            .lock()
            .insert(1, (long_ago, Duration::from_secs(12)));
        assert_eq!(stopped.left_of(1, 13.0), 13.0);
    }
}
