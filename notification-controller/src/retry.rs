//! What has to succeed before the work can begin, tried until it does: an API server that is overloaded or away for a
//! while is no reason to end.
//!
//! What this module does not do: tell errors that pass from those that last. A permission can still be given, and a
//! process that is not ready and says why is easier to understand than one that is started again and again.

use runtime::backoff::Backoff;
use std::fmt::Display;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause after the first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The pauses between attempts at the start.
pub fn pauses() -> Backoff<()> {
    Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Tries until it works; nothing when shutdown comes first, also in the middle of an attempt or a pause. `problem` says
/// in the log what fails.
pub async fn until_done<T, E: Display>(
    problem: &str,
    pauses: &Backoff<()>,
    shutdown: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Option<T> {
    let tried = async {
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => {
                    let pause = pauses.next(());
                    tracing::error!(%error, ?pause, "{problem}, will try again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(tried).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Attempts that fail so often, and what came of them.
    async fn check(failures: u32, expected: Option<u32>) {
        let (shutdown, count) = (CancellationToken::new(), Cell::new(0));
        let pauses = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
        let done = until_done("cannot count", &pauses, &shutdown, async || {
            count.set(count.get() + 1);
            if count.get() > 10 {
                shutdown.cancel();
            }
            (count.get() > failures).then_some(count.get()).ok_or("not yet")
        });
        assert_eq!(done.await, expected);
    }

    #[tokio::test]
    async fn what_fails_is_tried_until_it_works_or_shutdown_comes() {
        check(0, Some(1)).await;
        check(5, Some(6)).await;
        check(u32::MAX, None).await;
    }

    #[tokio::test]
    async fn shutdown_ends_a_pause_and_an_attempt_that_gets_no_answer() {
        let shutdown = CancellationToken::new();
        let hour = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
        let paused = until_done("cannot work", &hour, &shutdown, async || {
            shutdown.cancel();
            Err::<(), _>("no")
        });
        assert_eq!(paused.await, None);
        let shutdown = CancellationToken::new();
        let silent = until_done("cannot work", &hour, &shutdown, async || {
            shutdown.cancel();
            std::future::pending::<Result<(), &str>>().await
        });
        assert_eq!(silent.await, None);
    }

    #[test]
    fn the_pauses_double_to_a_quarter_of_a_minute() {
        let pauses = pauses();
        let first: Vec<_> = (0..7).map(|_| pauses.next(()).as_millis()).collect();
        assert_eq!(first, [500, 1000, 2000, 4000, 8000, 15000, 15000]);
    }
}
