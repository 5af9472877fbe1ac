//! At most one replica writes. Pure: from the writes that the proxies saw and the times at which replicas were stopped
//! follows who wrote without holding the Lease.
//!
//! A replica holds the Lease from the moment its write of it succeeded until another one's did. What counts is when a
//! write was begun: what is under way when a Lease is lost cannot be called back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::tests::api_proxy::{Write, lease};

/// How long a write may arrive after its replica was told to go on, that was on its way when it was stopped. One that was
/// stopped for longer than its Lease lasts writes nothing more.
const MOMENT: Duration = Duration::from_millis(100);
/// How long a replica may go on after the Lease was taken from it by force: until it looks at the Lease.
const GRACE: Duration = Duration::from_secs(2);

/// Who holds which Lease.
#[derive(Debug, Default)]
pub struct Leaders {
    holders: BTreeMap<String, (String, Instant)>,
}

/// A write of a replica that did not hold the Lease.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// The write.
    pub write: Write,
    /// Who held the Lease; nothing if nobody ever did.
    pub holder: Option<String>,
    /// How long that one had held it.
    pub since: Duration,
    /// Whether there is a reason, and it has not been long.
    pub excused: bool,
}

/// A time in which a replica was stopped; nothing for an end that has not come.
pub type Pause = (Instant, Option<Instant>);

/// What can excuse a replica.
pub struct Excuses<'a> {
    /// The times in which a replica was stopped, by its name.
    pub paused: &'a dyn Fn(&str) -> Vec<Pause>,
    /// The Leases that were taken away by force.
    pub taken: &'a [Taken],
}

/// A Lease that was taken away by force.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its name.
    pub lease: String,
    /// When that was asked for.
    pub from: Instant,
    /// When it was answered, or given up.
    pub to: Instant,
}

impl Leaders {
    /// The writes by replicas that did not hold the Lease, among writes of all replicas. `lease_of` says which Lease a
    /// replica needs, if any.
    pub fn overlaps(
        &mut self,
        mut writes: Vec<Write>,
        lease_of: impl Fn(&str) -> Option<String>,
        excuses: &Excuses<'_>,
    ) -> Vec<Overlap> {
        // Leases count when they are written, all else when it begins.
        writes.sort_by_key(|write| match lease(write) {
            Some(_) => write.ended.unwrap_or(write.begun),
            None => write.begun,
        });
        let mut overlaps = Vec::new();
        for write in writes {
            if let Some(name) = lease(&write) {
                self.leased(&name, &write);
                continue;
            }
            let Some(needed) = lease_of(&write.proxy).filter(|_| counts(&write)) else {
                continue;
            };
            match self.holders.get(&needed) {
                Some((holder, _)) if *holder == write.proxy => {}
                Some((holder, since)) => {
                    let since = write.begun.saturating_duration_since(*since);
                    let excused = excused(&write, &needed, excuses);
                    overlaps.push(Overlap {
                        holder: Some(holder.clone()),
                        since,
                        excused,
                        write,
                    });
                }
                None => overlaps.push(Overlap {
                    holder: None,
                    since: Duration::ZERO,
                    excused: false,
                    write,
                }),
            }
        }
        overlaps
    }

    fn leased(&mut self, name: &str, write: &Write) {
        let succeeded = write.status.is_some_and(|status| status < 300);
        let holds = write.holder.as_deref().is_some_and(|holder| !holder.is_empty());
        let (true, true, Some(ended)) = (succeeded, holds, write.ended) else {
            return;
        };
        match self.holders.get_mut(name) {
            Some((holder, _)) if *holder == write.proxy => {}
            _ => {
                self.holders.insert(name.to_owned(), (write.proxy.clone(), ended));
            }
        }
    }
}

/// Whether a write is work: trials, questions and Events are not.
fn counts(write: &Write) -> bool {
    const QUESTIONS: [&str; 4] = ["/events", "subjectaccessreviews", "selfsubjectreviews", "tokenreviews"];
    !write.dry_run && !QUESTIONS.iter().any(|part| write.path.contains(part))
}

fn excused(write: &Write, lease: &str, excuses: &Excuses<'_>) -> bool {
    let paused = (excuses.paused)(&write.proxy);
    // A signal takes a moment to be sent and to work, and so does what was on its way.
    let went_on = paused
        .iter()
        .any(|(begun, end)| *begun <= write.begun && end.is_none_or(|end| end + MOMENT >= write.begun));
    let was_taken =
        |taken: &Taken| taken.lease == lease && taken.from <= write.begun && write.begun <= taken.to + GRACE;
    went_on || excuses.taken.iter().any(was_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/n/leases/l";

    fn at(begin: Instant, proxy: &str, path: &str, milliseconds: u64) -> Write {
        let begun = begin + Duration::from_millis(milliseconds);
        Write {
            proxy: proxy.into(),
            method: "PATCH".into(),
            path: path.into(),
            dry_run: false,
            begun,
            ended: Some(begun),
            status: Some(200),
            holder: path.contains("leases").then(|| proxy.to_owned()),
        }
    }

    fn check(steps: &[(&str, &str, u64)], paused: Option<(u64, u64)>, expected: &[(u64, bool)]) {
        check_taken(steps, paused, None, expected);
    }

    fn check_taken(
        steps: &[(&str, &str, u64)],
        paused: Option<(u64, u64)>,
        taken: Option<(&str, u64, u64)>,
        expected: &[(u64, bool)],
    ) {
        let begin = Instant::now();
        let moment = |milliseconds| begin + Duration::from_millis(milliseconds);
        let writes = steps.iter().map(|(proxy, path, time)| at(begin, proxy, path, *time));
        let paused: Vec<_> = paused
            .into_iter()
            .map(|(from, to)| (moment(from), Some(moment(to))))
            .collect();
        let of = |name: &str| if name == "a" { paused.clone() } else { Vec::new() };
        let taken = taken.map(|(lease, from, to)| Taken {
            lease: lease.to_owned(),
            from: moment(from),
            to: moment(to),
        });
        let excuses = Excuses {
            paused: &of,
            taken: taken.as_slice(),
        };
        let found = Leaders::default().overlaps(writes.collect(), |_| Some("l".into()), &excuses);
        let found: Vec<_> = found
            .iter()
            .map(|overlap| {
                let time = overlap.write.begun.saturating_duration_since(begin);
                (u64::try_from(time.as_millis()).unwrap_or_default(), overlap.excused)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_replica_writes_while_it_holds_the_lease() {
        check(
            &[("a", LEASES, 0), ("a", "/x", 1), ("b", LEASES, 5), ("b", "/x", 6)],
            None,
            &[],
        );
    }

    #[test]
    fn a_replica_that_lost_the_lease_must_not_write() {
        check(
            &[("a", LEASES, 0), ("b", LEASES, 5), ("a", "/x", 6)],
            None,
            &[(6, false)],
        );
        check(&[("a", "/x", 6)], None, &[(6, false)]);
    }

    #[test]
    fn a_replica_that_was_stopped_has_a_moment_to_notice() {
        let steps = [
            ("a", LEASES, 0),
            ("b", LEASES, 500),
            ("a", "/x", 6000),
            ("a", "/x", 9500),
        ];
        check(&steps, Some((10, 5990)), &[(6000, true), (9500, false)]);
    }

    #[test]
    fn a_replica_whose_lease_was_taken_by_force_has_one_grace_to_notice() {
        let steps = |time: u64| [("a", LEASES, 0), ("b", LEASES, 500), ("a", "/x", time)];
        check_taken(&steps(2300), None, Some(("l", 400, 450)), &[(2300, true)]);
        check_taken(&steps(2600), None, Some(("l", 400, 450)), &[(2600, false)]);
        check_taken(&steps(2600), None, Some(("l", 400, 700)), &[(2600, true)]);
        check_taken(&steps(600), None, Some(("another", 400, 450)), &[(600, false)]);
    }

    #[test]
    fn trials_and_events_are_no_work() {
        let events = "/apis/events.k8s.io/v1/namespaces/n/events";
        check(&[("a", LEASES, 0), ("b", events, 6)], None, &[]);
    }
}
