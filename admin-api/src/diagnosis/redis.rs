//! Redis between admin APIs: whether it answers, and how fast.

use std::time::Duration;

use cutline_client::Finding;
use tokio::time::Instant;

use super::finding::{ok, skipped, warn};
use crate::{app::App, shared::Standing};

const ID: &str = "redis.answers";
/// Every request with an idempotency key waits for it.
const SLOW: Duration = Duration::from_millis(100);

/// Looks at it.
pub async fn look(app: &App) -> Vec<Finding> {
    let Some(address) = &app.config.redis else {
        let why = "none is configured: what admin APIs share is in the memory of each";
        return vec![skipped(ID, "none", why)];
    };
    let begun = Instant::now();
    let answered = app.shared.is_there().await;
    vec![judge(
        &address.to_string(),
        app.shared.standing(),
        answered,
        begun.elapsed(),
    )]
}

fn judge(address: &str, standing: Standing, answered: bool, took: Duration) -> Finding {
    if !answered {
        let since = if standing == Standing::Down {
            "it does not answer, and did not before"
        } else {
            "it does not answer"
        };
        return warn(
            ID,
            address,
            format!(
                "{since}; everything goes on without it, and a new leader has to learn again what it held"
            ),
            "see that it runs there and is reached, that user and password of CUTLINE_REDIS are right, and that the user may use keys that begin with cutline:",
        );
    }
    if took > SLOW {
        return warn(
            ID,
            address,
            format!("it took {} ms to answer", took.as_millis()),
            "place it near the admin APIs, and see what else keeps it busy (SLOWLOG GET)",
        );
    }
    ok(
        ID,
        address,
        format!("answers within {} ms", took.as_millis().max(1)),
    )
}

#[cfg(test)]
mod tests {
    use cutline_client::Verdict;

    use super::*;

    #[test]
    fn one_that_is_silent_or_slow_is_no_failure_and_is_said() {
        let verdict = |answered, ms| {
            let took = Duration::from_millis(ms);
            judge("r:6379/0", Standing::Up, answered, took).verdict
        };
        assert_eq!(verdict(true, 1), Verdict::Ok);
        assert_eq!(verdict(true, 300), Verdict::Warn);
        assert_eq!(verdict(false, 1), Verdict::Warn);
    }
}
