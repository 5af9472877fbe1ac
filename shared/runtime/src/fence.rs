//! The fence between a leader that was stopped and the cluster: a process that cannot know whether it still leads does
//! not write.
//!
//! A process that was stopped for longer than its lease lasts (SIGSTOP, a frozen container, a machine that slept) goes
//! on in the middle of its work, beside the next leader, until it notices. So the holder of a lease moves its fence
//! with every renewal, and each write looks at the fence right before it is sent ([`crate::client`]). The time left is
//! counted by the monotonic clock and by the clock on the wall, whichever has gone further: the first goes on while a
//! process is stopped, the second is put right when a machine wakes. A wall clock that is set forward closes the fence
//! until the next renewal, a moment later.
//!
//! What this module does not do: reach what has left the process. A request that was on the network when the process was
//! stopped may still be taken, and the API server itself knows no fence.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// By the clock that is never set.
    pub(crate) monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        Moment {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// So long ago.
    #[cfg(test)]
    pub(crate) fn ago(time: Duration) -> Self {
        let now = Moment::now();
        Moment {
            monotonic: now.monotonic.checked_sub(time).unwrap(),
            wall: now.wall - time,
        }
    }

    /// The time since an earlier moment, by the clock that has gone further.
    fn since(self, earlier: Moment) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        self.monotonic.saturating_duration_since(earlier.monotonic).max(wall)
    }
}

/// Until when a process may write. Clones are one and the same fence.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    /// Nothing for a process that takes part in no election.
    lead: Option<Arc<Mutex<Lead>>>,
}

/// What a fence knows of the lead of its process.
#[derive(Clone, Copy, Debug)]
enum Lead {
    Awaited,
    Held { renewed: Moment, lasts: Duration },
    Lost,
}

/// Why a write was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The lease was not got yet.
    #[error("this process does not lead yet: it waits for its lease")]
    Awaited,
    /// The lease was not renewed in time: most likely the process was stopped.
    #[error("this process may not lead any more: its lease was last renewed {}s ago and lasts {}s without", .age.as_secs(), .lasts.as_secs_f64())]
    Passed {
        /// The time since the last renewal.
        age: Duration,
        /// How long a renewal is good for.
        lasts: Duration,
    },
    /// Another process holds the lease, or it was not renewed in time.
    #[error("this process does not lead any more: its lease is lost")]
    Lost,
}

impl Fence {
    /// A fence that never closes: for a process that takes part in no election.
    pub fn open() -> Self {
        Fence::default()
    }

    /// A fence that is closed until the lease is got.
    pub(crate) fn closed() -> Self {
        Fence {
            lead: Some(Arc::new(Mutex::new(Lead::Awaited))),
        }
    }

    /// Lets writes pass from now on until so long after the moment at which a request was begun that got or renewed the
    /// lease.
    pub(crate) fn renewed(&self, begun: Moment, lasts: Duration) {
        self.set(Lead::Held { renewed: begun, lasts });
    }

    /// Lets nothing pass any more.
    pub(crate) fn lost(&self) {
        self.set(Lead::Lost);
    }

    /// Whether a write may be sent now.
    ///
    /// # Errors
    /// The process does not lead, or cannot know it.
    pub fn check(&self) -> Result<(), Closed> {
        match &self.lead {
            None => Ok(()),
            Some(lead) => {
                let lead = *crate::lock(lead);
                lead.check(Moment::now())
            }
        }
    }

    fn set(&self, now: Lead) {
        if let Some(lead) = &self.lead {
            *crate::lock(lead) = now;
        }
    }
}

impl Lead {
    fn check(self, now: Moment) -> Result<(), Closed> {
        match self {
            Lead::Awaited => Err(Closed::Awaited),
            Lead::Lost => Err(Closed::Lost),
            Lead::Held { renewed, lasts } => match now.since(renewed) {
                age if age < lasts => Ok(()),
                age => Err(Closed::Passed { age, lasts }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a write meets so many milliseconds after the renewal by each clock; the lead lasts 30 seconds.
    #[track_caller]
    fn check(monotonic: u64, wall: i64, expected: Result<(), &str>) {
        let renewed = Moment::now();
        let by = Duration::from_millis(wall.unsigned_abs());
        let now = Moment {
            monotonic: renewed.monotonic + Duration::from_millis(monotonic),
            wall: if wall < 0 { renewed.wall - by } else { renewed.wall + by },
        };
        let lead = Lead::Held {
            renewed,
            lasts: Duration::from_secs(30),
        };
        let answer = lead.check(now).map_err(|closed| closed.to_string());
        assert_eq!(answer.as_ref().map(|_| ()).map_err(String::as_str), expected);
    }

    #[test]
    fn a_fence_closes_as_soon_as_one_clock_says_so() {
        check(0, 0, Ok(()));
        check(29_999, 29_999, Ok(()));
        check(29_999, -3_600_000, Ok(()));
        let passed = |age: u64| {
            format!("this process may not lead any more: its lease was last renewed {age}s ago and lasts 30s without")
        };
        check(30_000, 30_000, Err(&passed(30)));
        check(90_000, -3_600_000, Err(&passed(90)));
        check(10, 3_600_000, Err(&passed(3600)));
    }

    #[test]
    fn a_fence_is_closed_before_the_lease_is_got_and_after_it_is_lost() {
        let fence = Fence::closed();
        let writer = fence.clone();
        assert_eq!(writer.check(), Err(Closed::Awaited));
        fence.renewed(Moment::now(), Duration::from_secs(600));
        assert_eq!(writer.check(), Ok(()));
        fence.lost();
        assert_eq!(writer.check(), Err(Closed::Lost));
    }

    #[test]
    fn without_an_election_nothing_closes() {
        let fence = Fence::open();
        fence.lost();
        assert_eq!(fence.check(), Ok(()));
    }
}
