//! Waiting for a condition.

use std::{
    panic::Location,
    time::{Duration, Instant},
};

/// A wait fails after this time: far longer than anything that the tests wait for takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Pause between two checks, so that waiting takes no processor time from the processes under test.
const PAUSE: Duration = Duration::from_millis(5);

fn fail(caller: &Location<'_>, description: &str, deadline: Duration) -> ! {
    panic!("{caller}: this did not happen in {deadline:?}: {description}")
}

/// Polls `condition` until it gives a value. Panics with the description after [`DEADLINE`], even if a single poll
/// does not return.
#[track_caller]
pub fn until<T>(description: &str, condition: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    until_within(DEADLINE, description, condition)
}

/// As [`until`], for what may take this long.
#[track_caller]
pub fn until_within<T>(
    deadline: Duration,
    description: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let poll = async {
            loop {
                if let Some(value) = condition().await {
                    return value;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(deadline, poll).await.unwrap_or_else(|_| fail(caller, description, deadline))
    }
}

/// As [`until`], for a test whose thread must do nothing else meanwhile. A poll that does not return is not noticed.
#[track_caller]
pub fn until_blocking<T>(description: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, condition).unwrap_or_else(|| fail(Location::caller(), description, DEADLINE))
}

fn within<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let value = condition();
        if value.is_some() || start.elapsed() >= deadline {
            return value;
        }
        std::thread::park_timeout(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_polled_until_it_gives_a_value() {
        let mut polls = 0;
        let third = until("the third poll", async || {
            polls += 1;
            (polls == 3).then_some("third")
        });
        assert_eq!(third.await, "third");
        let mut polls = 0;
        until_blocking("the third poll", || {
            polls += 1;
            (polls == 3).then_some(())
        });
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not happen in 120s: rain")]
    async fn a_condition_that_never_holds_fails_with_its_description() {
        until::<()>("rain", async || None).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not happen in 120s: an answer")]
    async fn a_poll_that_does_not_return_fails_too() {
        until::<()>("an answer", async || std::future::pending().await).await;
    }

    #[test]
    fn a_blocking_wait_gives_up_at_its_deadline() {
        assert_eq!(within::<()>(Duration::ZERO, || None), None);
    }
}
