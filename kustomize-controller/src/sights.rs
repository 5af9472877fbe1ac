//! What the watch of a kind has seen of its objects: their newest versions and fingerprints.
//!
//! An object that is gone is known for a while: the answer to an apply may be slower than the news of the deletion that
//! followed it. No clock: the caller brings the time.

use crate::fingerprint::Fingerprint;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// How long one that is gone is known.
const MOURNED: Duration = Duration::from_secs(60);

/// Namespace and name.
pub type Place = (String, String);

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its newest version.
    pub version: u64,
    /// Its fingerprint in it; nothing when it is gone.
    pub fingerprint: Option<Fingerprint>,
}

/// The objects of a kind.
#[derive(Debug, Default)]
pub struct Sights {
    known: HashMap<Place, Known>,
    /// What is gone, in order.
    mourned: VecDeque<(Instant, Place)>,
}

impl Sights {
    /// What is known of the object there, also of one that is gone.
    pub fn get(&self, place: &Place) -> Option<Known> {
        self.known.get(place).copied()
    }

    /// An object is there in that version. Says whether that is news.
    pub fn seen(&mut self, place: &Place, version: u64, fingerprint: Fingerprint, now: Instant) -> bool {
        self.bury(now);
        let known = Known {
            version,
            fingerprint: Some(fingerprint),
        };
        let before = self.known.insert(place.clone(), known);
        before.is_none_or(|before| before.version != version)
    }

    /// An object is gone. Says whether that is news.
    pub fn gone(&mut self, place: &Place, version: u64, now: Instant) -> bool {
        self.bury(now);
        let Some(known) = self.known.get_mut(place).filter(|known| known.fingerprint.is_some()) else {
            return false;
        };
        known.version = version.max(known.version.saturating_add(1));
        known.fingerprint = None;
        self.mourned.push_back((now, place.clone()));
        true
    }

    /// The objects that are not in a list of all, and the least version in which they are gone.
    pub fn missing(&self, listed: &HashSet<Place>) -> Vec<(Place, u64)> {
        self.known
            .iter()
            .filter(|(place, known)| known.fingerprint.is_some() && !listed.contains(*place))
            .map(|(place, known)| (place.clone(), known.version.saturating_add(1)))
            .collect()
    }

    /// Forgets what has been gone for a while.
    pub fn bury(&mut self, now: Instant) {
        let over = |(since, _): &mut (Instant, Place)| now.duration_since(*since) > MOURNED;
        while let Some((_, old)) = self.mourned.pop_front_if(over) {
            if self.known.get(&old).is_some_and(|known| known.fingerprint.is_none()) {
                self.known.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ObjectMeta;

    fn place(name: &str) -> Place {
        ("n".to_owned(), name.to_owned())
    }

    fn fingerprint() -> Fingerprint {
        Fingerprint::of_meta(&ObjectMeta::default(), &[])
    }

    #[test]
    fn one_that_is_gone_is_known_for_a_while_and_then_forgotten_with_whatever_happens_next() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        assert!(sights.seen(&place("a"), 5, fingerprint(), start));
        assert!(!sights.seen(&place("a"), 5, fingerprint(), start));
        assert!(sights.gone(&place("a"), 0, start));
        assert!(!sights.gone(&place("a"), 0, start));
        let gone = Known {
            version: 6,
            fingerprint: None,
        };
        sights.seen(&place("b"), 7, fingerprint(), start + MOURNED);
        assert_eq!(sights.get(&place("a")), Some(gone));
        sights.seen(&place("b"), 8, fingerprint(), start + MOURNED * 2);
        assert_eq!(sights.get(&place("a")), None);
        assert!(sights.mourned.is_empty());
    }

    #[test]
    fn one_that_came_back_is_not_forgotten() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        sights.seen(&place("a"), 5, fingerprint(), start);
        sights.gone(&place("a"), 6, start);
        assert!(sights.seen(&place("a"), 7, fingerprint(), start));
        sights.bury(start + MOURNED * 2);
        assert_eq!(sights.get(&place("a")).map(|known| known.version), Some(7));
    }

    #[test]
    fn what_a_list_lacks_is_missing_unless_it_is_gone_already() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        for name in ["a", "b", "c"] {
            sights.seen(&place(name), 5, fingerprint(), start);
        }
        sights.gone(&place("c"), 6, start);
        assert_eq!(sights.missing(&HashSet::from([place("a")])), [(place("b"), 6)]);
    }
}
