//! Which object is reconciled next: what is due, what waits for its time, what runs.
//!
//! An object is in one place only, so a thousand wishes for it are one run; a wish during its run leads to one more
//! run. What is due goes in the order in which it became due. Of two times the earlier one counts.
//!
//! A run that takes long gives its place to others: it goes on, but counts among the long ones, of which there may be
//! as many as there are places. A further one keeps its ordinary place until a long one ends. Flux's controllers let
//! an object with thousands of parts hold a worker until all of them are dealt with.
//!
//! Pure: the caller brings the time and runs what is taken.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The queue of one kind; an item is cheap to clone.
pub(crate) struct Queue<T> {
    places: usize,
    patience: Duration,
    states: HashMap<T, State>,
    due: VecDeque<T>,
    timers: BTreeMap<(Instant, u64), T>,
    /// The runs that hold an ordinary place, in the order they began.
    ordinary: BTreeMap<u64, (Instant, T)>,
    long: usize,
    serial: u64,
    added: u64,
}

/// Where an item is.
enum State {
    /// It waits for its time.
    Waits((Instant, u64)),
    /// It waits for a place since then.
    Due(Instant),
    /// It runs.
    Runs { serial: u64, long: bool, again: bool },
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// A queue with so many ordinary places, at least one, and as many for runs that take longer than `patience`.
    pub(crate) fn new(places: usize, patience: Duration) -> Self {
        Queue {
            places: places.max(1),
            patience,
            states: HashMap::new(),
            due: VecDeque::new(),
            timers: BTreeMap::new(),
            ordinary: BTreeMap::new(),
            long: 0,
            serial: 0,
            added: 0,
        }
    }

    /// Somebody wants the item looked at.
    pub(crate) fn wake(&mut self, item: T, now: Instant) {
        match self.states.get_mut(&item) {
            Some(State::Due(_)) => return,
            Some(State::Runs { again, .. }) => {
                *again = true;
                return;
            }
            Some(State::Waits(timer)) => {
                self.timers.remove(timer);
            }
            None => {}
        }
        self.enqueue(item, now);
    }

    /// Lets the time pass: what waited for it is due, and runs that began long ago make room.
    pub(crate) fn pass(&mut self, now: Instant) {
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            let item = timer.remove();
            self.enqueue(item, now);
        }
        while self.long < self.places
            && let Some(oldest) = self.ordinary.first_entry()
            && now.duration_since(oldest.get().0) >= self.patience
        {
            let (_, item) = oldest.remove();
            if let Some(State::Runs { long, .. }) = self.states.get_mut(&item) {
                *long = true;
                self.long += 1;
            }
        }
    }

    /// The next item that may run, and how long it waited for a place.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(T, Duration)> {
        if self.ordinary.len() >= self.places {
            return None;
        }
        let item = self.due.pop_front()?;
        let serial = self.next_serial();
        let runs = State::Runs {
            serial,
            long: false,
            again: false,
        };
        let waited = match self.states.insert(item.clone(), runs) {
            Some(State::Due(since)) => now.duration_since(since),
            _ => Duration::ZERO,
        };
        self.ordinary.insert(serial, (now, item.clone()));
        Some((item, waited))
    }

    /// The item's run has ended and wants another one after that time, or none.
    pub(crate) fn finish(&mut self, item: T, after: Option<Duration>, now: Instant) {
        let Some(State::Runs { serial, long, again }) = self.states.remove(&item) else {
            return;
        };
        match long {
            true => self.long -= 1,
            false => {
                self.ordinary.remove(&serial);
            }
        }
        if again {
            self.enqueue(item, now);
        } else if let Some(at) = after.and_then(|after| now.checked_add(after)) {
            let timer = (at, self.next_serial());
            self.states.insert(item.clone(), State::Waits(timer));
            self.timers.insert(timer, item);
        }
    }

    /// When time alone changes something.
    pub(crate) fn next(&self) -> Option<Instant> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let crowded = !self.due.is_empty() && self.ordinary.len() >= self.places && self.long < self.places;
        let room = crowded
            .then(|| self.ordinary.first_key_value())
            .flatten()
            .map(|(_, (began, _))| *began + self.patience);
        timer.into_iter().chain(room).min()
    }

    /// How many wait for a place.
    pub(crate) fn depth(&self) -> usize {
        self.due.len()
    }

    /// How often an item became due since the last call.
    pub(crate) fn added(&mut self) -> u64 {
        std::mem::take(&mut self.added)
    }

    fn enqueue(&mut self, item: T, now: Instant) {
        self.states.insert(item.clone(), State::Due(now));
        self.due.push_back(item);
        self.added += 1;
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, at a second.
    enum Step {
        Wake(&'static str),
        End(&'static str, Option<u64>),
    }
    use Step::{End, Wake};

    /// Two places, long is ten seconds; gives the items in the order they begin, with the second.
    #[track_caller]
    fn check(steps: &[(u64, Step)], expected: &[(u64, &str)]) {
        let origin = Instant::now();
        let at = |second| origin + Duration::from_secs(second);
        let mut queue = Queue::new(2, Duration::from_secs(10));
        let mut began = Vec::new();
        let mut steps = steps.iter().peekable();
        for second in 0..100 {
            while let Some((_, step)) = steps.next_if(|(when, _)| *when == second) {
                match step {
                    Wake(item) => queue.wake(*item, at(second)),
                    End(item, after) => queue.finish(*item, after.map(Duration::from_secs), at(second)),
                }
            }
            queue.pass(at(second));
            while let Some((item, _)) = queue.take(at(second)) {
                began.push((second, item));
            }
        }
        assert_eq!(began, expected);
    }

    #[test]
    fn what_is_due_goes_in_order_and_many_wishes_are_one_run() {
        check(
            &[
                (0, Wake("a")),
                (0, Wake("b")),
                (0, Wake("c")),
                (1, Wake("d")),
                (1, Wake("c")),
                (2, End("a", None)),
                (3, End("b", None)),
            ],
            &[(0, "a"), (0, "b"), (2, "c"), (3, "d")],
        );
    }

    #[test]
    fn a_wish_during_a_run_leads_to_one_more() {
        check(
            &[
                (0, Wake("a")),
                (1, Wake("a")),
                (1, Wake("a")),
                (2, End("a", Some(50))),
                (3, End("a", None)),
            ],
            &[(0, "a"), (2, "a")],
        );
    }

    #[test]
    fn the_earlier_of_a_time_and_a_wish_counts_and_only_that() {
        check(
            &[
                (0, Wake("a")),
                (1, End("a", Some(20))),
                (5, Wake("a")),
                (6, End("a", Some(20))),
                (30, End("a", None)),
            ],
            &[(0, "a"), (5, "a"), (26, "a")],
        );
    }

    #[test]
    fn long_runs_make_room_and_as_many_as_there_are_places() {
        check(
            &[
                (0, Wake("long1")),
                (0, Wake("long2")),
                (0, Wake("long3")),
                (0, Wake("long4")),
                (0, Wake("short")),
                (30, End("long1", None)),
            ],
            &[
                (0, "long1"),
                (0, "long2"),
                (10, "long3"),
                (10, "long4"),
                // The first of the others is long from then on.
                (30, "short"),
            ],
        );
    }

    #[test]
    fn the_time_to_wake_up_is_that_of_a_timer_or_of_a_run_that_has_to_make_room() {
        let origin = Instant::now();
        let at = |second| origin + Duration::from_secs(second);
        let mut queue = Queue::new(1, Duration::from_secs(10));
        assert_eq!(queue.next(), None);
        queue.wake("a", at(0));
        queue.take(at(0));
        assert_eq!(queue.next(), None);
        queue.wake("b", at(1));
        assert_eq!((queue.next(), queue.depth(), queue.added()), (Some(at(10)), 1, 2));
        queue.pass(at(10));
        assert_eq!(queue.take(at(12)), Some(("b", Duration::from_secs(11))));
        queue.finish("b", Some(Duration::from_secs(3)), at(13));
        assert_eq!(queue.next(), Some(at(16)));
        queue.finish("a", Some(Duration::MAX), at(13));
        assert_eq!(queue.next(), Some(at(16)));
    }
}
