//! Trying again: exponential backoff with full jitter, each attempt within its time, all within a budget.
//!
//! The budget is shared by everything that one store does. While the server answers it stays full; when the server is gone,
//! it is used up and calls fail at once instead of adding to what a struggling server has to carry.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use crate::s3::failure::{Failure, Kind};

/// No further attempt begins this long after the first.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// The first wait is at most this.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// No wait is longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Attempts that may be repeated before one succeeds: about a minute of a few calls side by side.
const BUDGET_MAX: u32 = 200;

/// One store's budget.
#[derive(Debug)]
pub(crate) struct Retry {
    budget: Mutex<u32>,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            budget: Mutex::new(BUDGET_MAX),
        }
    }

    /// Attempts until one succeeds, its failure does not pass, or time or budget are used up. Each has `limit`.
    pub(crate) async fn run<T, Fut>(
        &self,
        operation: &'static str,
        limit: Duration,
        attempt: impl Fn() -> Fut,
    ) -> Result<T, Failure>
    where
        Fut: Future<Output = Result<T, Failure>>,
    {
        let (start, mut number) = (Instant::now(), 0);
        loop {
            let outcome = tokio::time::timeout(limit, attempt()).await;
            let failure = match outcome {
                Ok(Ok(value)) => {
                    self.earn();
                    return Ok(value);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::passing(format!("no answer within {} s", limit.as_secs())),
            };
            if failure.kind != Kind::Passing {
                // An answer, if not the wanted one: the server is there.
                self.earn();
                return Err(failure);
            }
            let wait = backoff(number);
            if start.elapsed() + wait > RETRY_TIME_MAX || !self.spend() {
                return Err(failure);
            }
            let detail = &failure.detail;
            tracing::warn!(
                operation,
                detail,
                "S3 did not answer as it should; trying again"
            );
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    fn earn(&self) {
        let mut budget = self.budget.lock();
        *budget = (*budget + 1).min(BUDGET_MAX);
    }

    fn spend(&self) -> bool {
        let mut budget = self.budget.lock();
        *budget = budget.saturating_sub(1);
        *budget > 0
    }
}

/// Anything up to the bound of attempt `number`: callers that failed together come back apart.
fn backoff(number: u32) -> Duration {
    let bound = BACKOFF_MIN
        .saturating_mul(2_u32.saturating_pow(number))
        .min(BACKOFF_MAX);
    bound.mul_f64(rand::rng().random())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn attempts(retry: &Retry, kind: Kind, fails: u32) -> (u32, bool) {
        let made = &AtomicU32::new(0);
        let done = retry
            .run("test", Duration::from_secs(1), || async move {
                if made.fetch_add(1, Ordering::SeqCst) < fails {
                    let detail = String::new();
                    return Err(Failure { kind, detail });
                }
                Ok(())
            })
            .await;
        (made.load(Ordering::SeqCst), done.is_ok())
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let retry = Retry::new();
        assert_eq!(attempts(&retry, Kind::Passing, 3).await, (4, true));
        assert_eq!(attempts(&retry, Kind::Refused, 3).await, (1, false));
    }

    #[tokio::test]
    async fn a_used_up_budget_ends_the_attempts() {
        let retry = Retry::new();
        *retry.budget.lock() = 3;
        assert_eq!(attempts(&retry, Kind::Passing, u32::MAX).await, (3, false));
        assert_eq!(attempts(&retry, Kind::Passing, u32::MAX).await, (1, false));
        assert_eq!(attempts(&retry, Kind::Passing, 0).await, (1, true));
    }

    #[tokio::test]
    async fn an_attempt_that_hangs_is_given_up() {
        let retry = Retry::new();
        *retry.budget.lock() = 1;
        let hang = retry.run("test", Duration::from_millis(20), || async move {
            std::future::pending::<Result<(), Failure>>().await
        });
        assert_eq!(hang.await.unwrap_err().kind, Kind::Passing);
    }

    #[test]
    fn waits_grow_up_to_their_bound() {
        for number in 0..40 {
            assert!(backoff(number) <= BACKOFF_MAX);
        }
        assert!(backoff(0) <= BACKOFF_MIN);
    }
}
