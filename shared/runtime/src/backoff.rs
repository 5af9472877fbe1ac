//! How long an object waits before its next attempt: exponential, one count per object.
//!
//! The controller library gives no attempt count to its error policy, and Flux's schedule (750 ms doubling to
//! 15 minutes, per object, reset by any success) is observable, so the count is kept here. No clock: the caller
//! waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

/// Attempt counts by key, and the delays they lead to.
#[derive(Debug)]
pub struct Backoff<K> {
    min: Duration,
    max: Duration,
    attempts: Mutex<HashMap<K, u32>>,
}

impl<K: Eq + Hash> Backoff<K> {
    /// Delays from `min`, doubling to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Backoff {
            min,
            max,
            attempts: Mutex::default(),
        }
    }

    /// Counts a failed attempt and returns the delay before the next one.
    pub fn next(&self, key: K) -> Duration {
        let mut attempts = crate::lock(&self.attempts);
        let count = attempts.entry(key).or_insert(0);
        let delay = self
            .min
            .saturating_mul(1u32.checked_shl(*count).unwrap_or(u32::MAX))
            .min(self.max);
        *count = count.saturating_add(1).min(31);
        delay
    }

    /// Forgets the failed attempts of a key.
    pub fn reset(&self, key: &K) {
        crate::lock(&self.attempts).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_again_after_a_reset() {
        let backoff = Backoff::new(Duration::from_millis(750), Duration::from_secs(900));
        let delays: Vec<_> = (0..12).map(|_| backoff.next("a").as_millis()).collect();
        assert_eq!(delays[..4], [750, 1500, 3000, 6000]);
        assert_eq!(delays[11], 900_000);
        assert_eq!(backoff.next("b").as_millis(), 750);
        backoff.reset(&"a");
        assert_eq!(backoff.next("a").as_millis(), 750);
    }

    #[test]
    fn a_thousand_failures_stay_at_the_cap() {
        let backoff = Backoff::new(Duration::from_millis(750), Duration::from_secs(900));
        for _ in 0..1000 {
            backoff.next(());
        }
        assert_eq!(backoff.next(()), Duration::from_secs(900));
    }
}
