//! Time limits that have to fit each other: the brokers', the clients', and those of this admin API.

use std::collections::BTreeMap;

use cutline_client::Finding;

use super::finding::{fail, ok, refused, warn};
use crate::app::App;

const ID: &str = "kafka.limits";
const PAUSE: &str = "checkpoints.max-pause";
const OFFSETS: &str = "offsets.retention.minutes";
const SESSION: &str = "group.min.session.timeout.ms";
const TRANSACTION: &str = "transaction.max.timeout.ms";
/// Kafka's default is a week; a group that stands still over a weekend should keep its place.
const OFFSETS_MINUTES_MIN: i64 = 3 * 24 * 60;
/// What the election asks for.
const SESSION_MS: i64 = 6_000;
/// What markers are written with.
const TRANSACTION_MS: i64 = 30_000;
/// Kafka's clients give a request up after this, by default.
const REQUEST_TIMEOUT_MS: u64 = 30_000;

/// Looks at one broker's: they are meant to be alike.
pub async fn look(app: &App) -> Vec<Finding> {
    let mut found = vec![judge_pause(app.config.limits.max_pause_ms)];
    let Some(node) = app.kafka.metadata().brokers.keys().next().copied() else {
        return found;
    };
    let subject = format!("broker {node}");
    let asked = app
        .kafka
        .broker_settings(node, &[OFFSETS, SESSION, TRANSACTION]);
    match asked.await {
        Ok(settings) => found.extend(judge(&subject, &settings)),
        Err(error) => {
            let right = "DescribeConfigs on Cluster";
            found.push(refused(
                ID,
                subject,
                &error,
                right,
                "see that the broker is well",
            ));
        }
    }
    found
}

fn judge(subject: &str, settings: &BTreeMap<String, String>) -> Vec<Finding> {
    let of = |name: &str| settings.get(name).and_then(|text| text.parse::<i64>().ok());
    let mut found = Vec::new();
    if let Some(minutes) = of(OFFSETS).filter(|minutes| *minutes < OFFSETS_MINUTES_MIN) {
        found.push(warn(
            ID,
            subject,
            format!("{OFFSETS} is {minutes}: a group that stands still longer loses its place, and a service at zero instances has none in a checkpoint"),
            format!("set {OFFSETS} to 10080 (a week) or more on every broker"),
        ));
    }
    if let Some(ms) = of(SESSION).filter(|ms| *ms > SESSION_MS) {
        found.push(fail(
            ID,
            subject,
            format!("{SESSION} is {ms}: admin APIs join their election with {SESSION_MS} and are turned away, so none leads"),
            format!("set {SESSION} to {SESSION_MS} or less on every broker"),
        ));
    }
    if let Some(ms) = of(TRANSACTION).filter(|ms| *ms < TRANSACTION_MS) {
        found.push(fail(
            ID,
            subject,
            format!(
                "{TRANSACTION} is {ms}: markers are written with {TRANSACTION_MS} and are refused"
            ),
            format!("set {TRANSACTION} to {TRANSACTION_MS} or more on every broker"),
        ));
    }
    if found.is_empty() {
        found.push(ok(ID, subject, "offsets and transactions live long enough"));
    }
    found
}

fn judge_pause(max_pause_ms: u64) -> Finding {
    let subject = "max-pause";
    if max_pause_ms < REQUEST_TIMEOUT_MS {
        return ok(PAUSE, subject, format!("{max_pause_ms} ms"));
    }
    warn(
        PAUSE,
        subject,
        format!(
            "{max_pause_ms} ms, and clients give a request up after {REQUEST_TIMEOUT_MS} ms unless told otherwise: a long pause would be an error to them"
        ),
        format!(
            "lower max-pause, or raise request.timeout.ms (and delivery.timeout.ms) of every application above {max_pause_ms}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;

    use super::*;

    #[test]
    fn limits_that_do_not_fit_are_named_with_what_they_should_be() {
        let settings = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            judge("broker 1", &owned.collect())
        };
        let good = settings(&[
            (OFFSETS, "10080"),
            (SESSION, "6000"),
            (TRANSACTION, "900000"),
        ]);
        assert!(good.iter().all(|found| found.verdict == Verdict::Ok));
        let bad = settings(&[(OFFSETS, "60"), (SESSION, "10000"), (TRANSACTION, "1000")]);
        let verdicts: Vec<Verdict> = bad.iter().map(|found| found.verdict).collect();
        assert_eq!(verdicts, [Verdict::Warn, Verdict::Fail, Verdict::Fail]);
    }

    #[test]
    fn a_pause_longer_than_a_request_is_warned_of() {
        assert_eq!(judge_pause(10_000).verdict, Verdict::Ok);
        assert_eq!(judge_pause(60_000).verdict, Verdict::Warn);
    }
}
