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
pub async fn wait_for<T, F, Fut>(deadline: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        // Read before looking, so that there is always a look after the deadline.
        let late = start.elapsed() >= deadline;
        if let Some(value) = look().await {
            return value;
        }
        assert!(!late, "waited {deadline:?} in vain for {what}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
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
    #[should_panic(expected = "a thing that never comes")]
    async fn a_wait_in_vain_names_what_it_waited_for() {
        wait_until(
            Duration::from_millis(30),
            "a thing that never comes",
            || async { false },
        )
        .await;
    }
}
