//! Asking once more where there is silence.
//!
//! A question over HTTP/2 may be lost without a word: hyper hands it to the task of its connection through a channel of
//! tokio's, and what is sent while the other end is being dropped is neither received nor dropped as long as there is a
//! sender: here the one who waits for the answer (reqwest's issue 1323 is about such silences). Only the clock tells that
//! from a server that thinks. Nothing here knows what is asked, and errors are not put right.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::time::timeout;

/// How long there may be silence before it is asked once more.
const SILENCE: Duration = Duration::from_secs(10);

/// Puts a question, and puts it once more after a silence. The first answer counts; one that is a setback only where the
/// other question is not answered soon.
pub async fn ask<T, F>(put: impl Fn() -> F, is_setback: impl Fn(&T) -> bool) -> T
where
    F: Future<Output = T>,
{
    let mut first = pin!(put());
    if let Ok(answer) = timeout(SILENCE, &mut first).await {
        return answer;
    }
    tracing::debug!("no answer yet: asking once more");
    let second = pin!(put());
    let (answer, other) = match select(first, second).await {
        Either::Left((answer, other)) => (answer, Either::Left(other)),
        Either::Right((answer, other)) => (answer, Either::Right(other)),
    };
    if !is_setback(&answer) {
        return answer;
    }
    timeout(SILENCE, other).await.unwrap_or(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    type Answer = Result<&'static str, &'static str>;

    /// What comes of asking when the first question and the second are answered like this after so many seconds, how often
    /// it was asked, and how many seconds it took.
    async fn check(answers: [(u64, Answer); 2], expected: (Answer, usize, u64)) {
        let (asked, start) = (AtomicUsize::new(0), tokio::time::Instant::now());
        let put = || {
            let (seconds, answer) = answers[asked.fetch_add(1, Ordering::Relaxed)];
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                answer
            }
        };
        let found = ask(put, Result::is_err).await;
        let found = (found, asked.load(Ordering::Relaxed), start.elapsed().as_secs());
        assert_eq!(found, expected, "{answers:?}");
    }

    const NEVER: (u64, Answer) = (1_000, Ok("never"));

    #[tokio::test(start_paused = true)]
    async fn who_answers_in_time_is_asked_once() {
        check([(9, Ok("first")), NEVER], (Ok("first"), 1, 9)).await;
        check([(9, Err("broken")), NEVER], (Err("broken"), 1, 9)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_silence_whichever_is_answered_first_counts() {
        check([NEVER, (1, Ok("second"))], (Ok("second"), 2, 11)).await;
        check([(12, Ok("first")), (5, Ok("second"))], (Ok("first"), 2, 12)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_setback_does_not_take_the_place_of_an_answer() {
        check([(15, Ok("first")), (1, Err("busy"))], (Ok("first"), 2, 15)).await;
        check([(11, Err("broken")), (5, Ok("second"))], (Ok("second"), 2, 15)).await;
        check([NEVER, (1, Err("busy"))], (Err("busy"), 2, 21)).await;
    }
}
