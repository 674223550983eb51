//! Waiting for a condition with a deadline, instead of sleeping and hoping.
//!
//! A wait looks again every few milliseconds. It promises to look once more at its deadline, and to say what it waited for.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long a wait sleeps between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `look` gives a value.
///
/// # Panics
/// When `deadline` passes before that; the message names `what`.
pub async fn wait_for<T, F, Fut>(deadline: Duration, what: &str, look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let Some(value) = wait_at_most(deadline, look).await else {
        panic!("waited {deadline:?} in vain for {what}")
    };
    value
}

/// Waits until `condition` holds.
///
/// # Panics
/// When `deadline` passes before that; the message names `what`.
pub async fn wait_until<F, Fut>(deadline: Duration, what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    wait_for(deadline, what, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
    .await;
}

/// Waits until `look` gives a value, or `deadline` has passed: for what may be missing.
pub async fn wait_at_most<T, F, Fut>(deadline: Duration, mut look: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        // Read before looking, so that there is always a look after the deadline.
        let late = start.elapsed() >= deadline;
        let value = look().await;
        if value.is_some() || late {
            return value;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_its_condition_holds() {
        let mut looks = 0;
        wait_until(Duration::from_secs(5), "the third look", || {
            looks += 1;
            let enough = looks >= 3;
            async move { enough }
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_ends_at_its_deadline() {
        let start = Instant::now();
        let value: Option<()> = wait_at_most(Duration::from_millis(50), || async { None }).await;
        assert!(value.is_none() && start.elapsed() >= Duration::from_millis(50));
    }
}
