//! How fast somebody may ask: a bucket of requests for each token, or for each address where there are no tokens, that fills
//! again by the second; and how many requests may be under way at once, whoever sent them.
//!
//! It counts; who somebody is and what was asked is others' business.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::problem::{Problem, SATURATED, TOO_MANY};

/// Requests of one caller in a second, in the long run: a person, a dashboard and a scrape together need a few.
const REQUESTS_PER_SECOND: f64 = 100.0;
/// Requests at once after a silence.
const REQUESTS_BURST: f64 = 500.0;
/// Callers remembered. Those who have been silent are forgotten first, which changes nothing for them.
const CALLERS_MAX: usize = 10_000;
/// Requests under way at once: what comes beyond would only wait for the same store and brokers.
const UNDER_WAY_MAX: usize = 256;

/// The limits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pace {
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
    under_way: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            buckets: Arc::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }
}

impl Pace {
    /// Lets a request of `caller` in: it is under way until the permit is dropped.
    ///
    /// # Errors
    /// 429 when the caller asks too fast, 503 when too much is under way.
    pub fn enter(&self, caller: &str) -> Result<OwnedSemaphorePermit, Problem> {
        if let Err(wait) = self.take(caller, Instant::now()) {
            let detail = format!(
                "{caller} sends more than {REQUESTS_PER_SECOND} requests a second; GET /v1/events tells what changes without asking again and again"
            );
            let mut problem = Problem::new(TOO_MANY, detail);
            problem.retry_after = Some(wait);
            return Err(problem);
        }
        let permit = Arc::clone(&self.under_way).try_acquire_owned();
        permit.map_err(|_| {
            let detail = format!("{UNDER_WAY_MAX} requests are under way; try again shortly");
            Problem::new(SATURATED, detail)
        })
    }

    /// Takes one of the caller's requests; how long until there is one, when there is none.
    fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(caller) {
            buckets.retain(|_, bucket| bucket.at(now).left < REQUESTS_BURST);
            // Ten thousand that all ask at once: whoever they are, they share one.
            if buckets.len() >= CALLERS_MAX {
                return Self::take_from(
                    buckets.entry(String::new()).or_insert(Bucket::full(now)),
                    now,
                );
            }
        }
        let bucket = buckets.entry(caller.to_owned());
        Self::take_from(bucket.or_insert(Bucket::full(now)), now)
    }

    fn take_from(bucket: &mut Bucket, now: Instant) -> Result<(), Duration> {
        *bucket = bucket.at(now);
        if bucket.left < 1.0 {
            let missing = (1.0 - bucket.left) / REQUESTS_PER_SECOND;
            return Err(Duration::from_secs_f64(missing));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            left: REQUESTS_BURST,
            at: now,
        }
    }

    /// As it stands at `now`.
    fn at(self, now: Instant) -> Self {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        Self {
            left: (self.left + since * REQUESTS_PER_SECOND).min(REQUESTS_BURST),
            at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_fast_waits_and_nobody_else_does() {
        let pace = Pace::default();
        let now = Instant::now();
        for _ in 0..REQUESTS_BURST as usize {
            pace.take("anna", now).unwrap();
        }
        let wait = pace.take("anna", now).unwrap_err();
        assert!(wait <= Duration::from_secs_f64(1.0 / REQUESTS_PER_SECOND));
        pace.take("bert", now).unwrap();
        let later = now + Duration::from_secs(1);
        for _ in 0..REQUESTS_PER_SECOND as usize {
            pace.take("anna", later).unwrap();
        }
        pace.take("anna", later).unwrap_err();
    }

    #[test]
    fn callers_without_end_do_not_fill_the_memory() {
        let pace = Pace::default();
        let now = Instant::now();
        for caller in 0..CALLERS_MAX * 2 {
            let _ = pace.take(&caller.to_string(), now);
        }
        assert!(pace.buckets.lock().len() <= CALLERS_MAX + 1);
    }

    #[test]
    fn what_is_too_much_at_once_is_told_to_come_again() {
        let pace = Pace::default();
        let under_way: Vec<_> = (0..UNDER_WAY_MAX)
            .map(|at| pace.enter(&at.to_string()).unwrap())
            .collect();
        let problem = pace.enter("one more").unwrap_err();
        assert_eq!((problem.code, problem.code.status), (SATURATED, 503));
        drop(under_way);
        drop(pace.enter("one more").unwrap());
    }
}
