//! How often an object may be told about: a bucket of tokens per object, refilled slowly. No clock: the caller brings the
//! time.

use std::collections::HashMap;
use std::time::Instant;

/// Events in a row about one object.
const BURST: f64 = 25.0;
/// Seconds after which one more is allowed.
const REFILL: f64 = 300.0;
/// So many objects are remembered before the first look for those whose bucket is full again.
const FEW: usize = 4096;

/// The buckets.
#[derive(Debug)]
pub(crate) struct Allowance {
    buckets: HashMap<String, Bucket>,
    /// With so many buckets the full ones go. Twice as many as were left the last time: a look at all of them for every
    /// event would be dear where many objects are told about.
    full: usize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    last: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance {
            buckets: HashMap::new(),
            full: FEW,
        }
    }
}

impl Allowance {
    /// Takes a token of an object, unless there is none.
    pub(crate) fn take(&mut self, uid: &str, now: Instant) -> bool {
        if self.buckets.len() >= self.full {
            self.buckets
                .retain(|_, bucket| now.duration_since(bucket.last).as_secs_f64() < BURST * REFILL);
            self.full = (self.buckets.len() * 2).max(FEW);
        }
        let bucket = self.buckets.entry(uid.to_owned()).or_insert(Bucket {
            tokens: BURST,
            last: now,
        });
        let passed = now.duration_since(bucket.last).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed / REFILL).min(BURST);
        bucket.last = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_object_is_told_about_so_often_in_a_row_and_now_and_then_later() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let taken = |allowance: &mut Allowance, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (0..100).filter(|_| allowance.take("a", now)).count()
        };
        assert_eq!(taken(&mut allowance, 0), 25);
        assert_eq!(taken(&mut allowance, 299), 0);
        assert_eq!(taken(&mut allowance, 601), 2);
        assert!(allowance.take("b", start));
    }

    #[test]
    fn with_many_objects_the_next_look_at_all_is_as_far_away_as_there_are_objects() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        let mut looks = 0;
        for number in 0..10 * FEW {
            let before = allowance.full;
            assert!(allowance.take(&number.to_string(), start));
            looks += usize::from(allowance.full != before);
        }
        assert_eq!((looks, allowance.buckets.len()), (4, 10 * FEW));
        // What was not told about for long is forgotten with the next look.
        let late = start + Duration::from_secs((BURST * REFILL) as u64);
        for number in 0..7 * FEW {
            assert!(allowance.take(&format!("late {number}"), late));
        }
        assert!(allowance.buckets.len() <= 8 * FEW, "{}", allowance.buckets.len());
    }
}
