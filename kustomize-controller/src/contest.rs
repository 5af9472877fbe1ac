//! Recognises a tug of war: another controller that changes again and again what we correct. Pure.
//!
//! A correction by watch takes a moment, so two controllers that disagree would keep each other and the API server busy
//! forever. Corrections of one field that come thick are a contest; the caller then corrects the object at its normal
//! interval only, until an interval finds it as it should be. Who is right is not decided here, and nothing is kept
//! over a restart: a contest that goes on is recognised again soon.

use crate::inventory::ObjectId;
use api::kustomize::ChangeEntry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// How many corrections of one field within [`WINDOW`] make a contest.
pub const CORRECTIONS: usize = 5;
/// The time within which corrections count.
pub const WINDOW: Duration = Duration::from_secs(120);
/// How many objects are remembered.
const OBJECTS: usize = 10_000;
/// How many fields of an object are remembered; a contest is about few.
const FIELDS: usize = 32;

/// A tug of war over a field. Its text is the message of the warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// Whose field it is.
    pub object: ObjectId,
    /// The field, or [`ChangeEntry::DELETED`] when the object itself is deleted again and again.
    pub field: String,
    /// Who changed it last, as far as that is known.
    pub manager: Option<String>,
    /// How often it was corrected within [`WINDOW`].
    pub count: usize,
}

impl fmt::Display for Contest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object, count) = (&self.object, self.count);
        let window = api::Duration::from(WINDOW);
        let change = match self.field == ChangeEntry::DELETED {
            true => {
                write!(formatter, "{object} was created {count} times")?;
                "deleted"
            }
            false => {
                write!(formatter, "{object} {} was corrected {count} times", self.field)?;
                "changed"
            }
        };
        write!(formatter, " within {window} and {change} again")?;
        if let Some(manager) = &self.manager {
            write!(formatter, " by {manager:?}")?;
        }
        formatter.write_str(
            ": another controller wants it otherwise; it is corrected at the normal interval only until one of the \
             two gives it up",
        )
    }
}

/// What is remembered of an object.
#[derive(Debug)]
struct Record {
    /// The latest corrections per field, oldest first, at most [`CORRECTIONS`] of each.
    fields: HashMap<String, VecDeque<Instant>>,
    /// The latest correction of any field.
    latest: Instant,
    /// Whether a field was corrected too often, and no interval found the object as it should be since.
    contested: bool,
}

impl Record {
    fn is_recent(&self, now: Instant) -> bool {
        within(self.latest, now)
    }
}

fn within(time: Instant, now: Instant) -> bool {
    now.saturating_duration_since(time) < WINDOW
}

/// The corrections of the last minutes, and the objects that are contested. Bounded: what is older than [`WINDOW`] is
/// dropped, and of more than 10,000 objects those whose last correction is longest ago, uncontested ones first.
#[derive(Debug, Default)]
pub struct Contests {
    objects: HashMap<ObjectId, Record>,
    swept: Option<Instant>,
}

impl Contests {
    /// Records that these fields of an object were corrected, and who had changed them.
    ///
    /// Answers with a contest at the moment the object becomes contested, and not again before it is
    /// [settled](Contests::settled). No fields count as [`ChangeEntry::DELETED`].
    pub fn corrected(
        &mut self,
        object: &ObjectId,
        fields: &[String],
        manager: Option<&str>,
        now: Instant,
    ) -> Option<Contest> {
        self.make_room(object, now);
        let record = self.objects.entry(object.clone()).or_insert_with(|| Record {
            fields: HashMap::new(),
            latest: now,
            contested: false,
        });
        record.latest = now;
        record
            .fields
            .retain(|_, times| times.back().is_some_and(|latest| within(*latest, now)));
        let whole = [ChangeEntry::DELETED.to_owned()];
        let mut contested = None;
        for field in if fields.is_empty() { &whole } else { fields } {
            if record.fields.len() >= FIELDS && !record.fields.contains_key(field) {
                continue;
            }
            let times = record.fields.entry(field.clone()).or_default();
            times.push_back(now);
            while times.len() > CORRECTIONS || times.front().is_some_and(|first| !within(*first, now)) {
                times.pop_front();
            }
            if times.len() == CORRECTIONS && contested.is_none() {
                contested = Some(field);
            }
        }
        let field = contested.filter(|_| !record.contested)?;
        record.contested = true;
        Some(Contest {
            object: object.clone(),
            field: field.clone(),
            manager: manager.map(str::to_owned),
            count: CORRECTIONS,
        })
    }

    /// Whether no correction is remembered.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether an object is to be corrected at the normal interval only.
    pub fn is_contested(&self, object: &ObjectId) -> bool {
        self.objects.get(object).is_some_and(|record| record.contested)
    }

    /// An interval found the object as it should be. That ends a contest, if the last correction is [`WINDOW`] ago (with
    /// a shorter interval the other controller may not have come round yet); whether it ended one.
    ///
    /// Without a contest it says nothing: between two changes by another the object is always as it should be.
    pub fn settled(&mut self, object: &ObjectId, now: Instant) -> bool {
        let ended = self
            .objects
            .get(object)
            .is_some_and(|record| record.contested && !record.is_recent(now));
        if ended {
            self.objects.remove(object);
        }
        ended
    }

    /// Nobody looks after the object any more.
    pub fn forget(&mut self, object: &ObjectId) {
        self.objects.remove(object);
    }

    /// Drops what is over from time to time, and makes room for an object when there is none.
    fn make_room(&mut self, object: &ObjectId, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| !within(swept, now));
        let is_full = self.objects.len() >= OBJECTS && !self.objects.contains_key(object);
        if is_due || is_full {
            self.objects
                .retain(|_, record| record.contested || record.is_recent(now));
            self.swept = Some(now);
        }
        if is_full && self.objects.len() >= OBJECTS {
            // A tenth at once, so that a flood of objects does not pay for each.
            let mut ages: Vec<_> = self
                .objects
                .iter()
                .map(|(id, record)| (record.contested, record.latest, id.clone()))
                .collect();
            ages.sort_unstable();
            for (_, _, id) in ages.into_iter().take(OBJECTS / 10) {
                self.objects.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> ObjectId {
        ObjectId {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "apps".into(),
            name: name.into(),
        }
    }

    fn replicas() -> Vec<String> {
        vec![".spec.replicas".to_owned()]
    }

    /// At which of these seconds corrections of one field become a contest.
    #[track_caller]
    fn check(seconds: &[u64], expected: &[u64]) {
        let (mut contests, start) = (Contests::default(), Instant::now());
        let contested: Vec<u64> = seconds
            .iter()
            .copied()
            .filter(|second| {
                let now = start + Duration::from_secs(*second);
                contests
                    .corrected(&object("web"), &replicas(), Some("keda"), now)
                    .is_some()
            })
            .collect();
        assert_eq!(contested, expected, "{seconds:?}");
        assert_eq!(contests.is_contested(&object("web")), !expected.is_empty());
    }

    #[test]
    fn the_fifth_correction_within_the_window_is_a_contest() {
        check(&[0, 1, 2, 3], &[]);
        check(&[0, 1, 2, 3, 4], &[4]);
        check(&[0, 0, 0, 0, 0], &[0]);
        check(&[0, 29, 58, 87, 119], &[119]);
    }

    #[test]
    fn corrections_before_the_window_do_not_count() {
        check(&[0, 30, 60, 90, 120], &[]);
        check(&[0, 30, 60, 90, 120, 150], &[]);
        check(&[0, 60, 120, 121, 122, 123, 124], &[123]);
    }

    #[test]
    fn a_contest_is_told_once() {
        check(&[0, 1, 2, 3, 4, 5, 6, 700, 701, 702, 703, 704], &[4]);
    }

    #[test]
    fn fields_and_objects_are_counted_apart() {
        let (mut contests, now) = (Contests::default(), Instant::now());
        let both = [".spec.replicas".to_owned(), ".spec.paused".to_owned()];
        for _ in 0..4 {
            assert_eq!(contests.corrected(&object("a"), &both[..1], None, now), None);
            assert_eq!(contests.corrected(&object("b"), &both[..1], None, now), None);
        }
        assert_eq!(contests.corrected(&object("a"), &both[1..], None, now), None);
        let contest = contests.corrected(&object("a"), &both, None, now).unwrap();
        assert_eq!(contest.field, ".spec.replicas");
        assert!(contests.is_contested(&object("a")) && !contests.is_contested(&object("b")));
    }

    #[test]
    fn the_message_names_object_field_and_manager() {
        let (mut contests, now) = (Contests::default(), Instant::now());
        let mut message = |fields: &[String], manager: Option<&str>| {
            let told: Vec<_> = (0..5)
                .filter_map(|_| contests.corrected(&object("web"), fields, manager, now))
                .collect();
            contests.forget(&object("web"));
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let end = ": another controller wants it otherwise; it is corrected at the normal interval only until one of \
                   the two gives it up";
        assert_eq!(
            message(&replicas(), Some("keda")),
            [format!(
                "Deployment/apps/web .spec.replicas was corrected 5 times within 2m0s and changed again by \"keda\"{end}"
            )]
        );
        assert_eq!(
            message(&replicas(), None),
            [format!(
                "Deployment/apps/web .spec.replicas was corrected 5 times within 2m0s and changed again{end}"
            )]
        );
        for fields in [vec![], vec![ChangeEntry::DELETED.to_owned()]] {
            assert_eq!(
                message(&fields, None),
                [format!(
                    "Deployment/apps/web was created 5 times within 2m0s and deleted again{end}"
                )]
            );
        }
    }

    fn contested(now: Instant) -> Contests {
        let mut contests = Contests::default();
        for _ in 0..CORRECTIONS {
            contests.corrected(&object("web"), &replicas(), None, now);
        }
        assert!(contests.is_contested(&object("web")));
        contests
    }

    #[test]
    fn an_interval_that_finds_it_as_it_should_be_ends_a_contest() {
        let now = Instant::now();
        let mut contests = contested(now);
        assert!(contests.settled(&object("web"), now + WINDOW));
        assert!(!contests.is_contested(&object("web")));
        assert!(!contests.settled(&object("web"), now + WINDOW));
    }

    #[test]
    fn a_check_soon_after_a_correction_ends_none() {
        let now = Instant::now();
        let mut contests = contested(now);
        assert!(!contests.settled(&object("web"), now + Duration::from_secs(10)));
        contests.corrected(&object("web"), &replicas(), None, now + Duration::from_secs(30));
        assert!(!contests.settled(&object("web"), now + WINDOW));
        assert!(contests.settled(&object("web"), now + WINDOW + Duration::from_secs(30)));
    }

    #[test]
    fn checks_between_changes_do_not_hide_a_contest() {
        let (mut contests, start) = (Contests::default(), Instant::now());
        let told = (0..5).filter_map(|round| {
            let now = start + Duration::from_secs(20 * round);
            let told = contests.corrected(&object("web"), &replicas(), None, now);
            contests.settled(&object("web"), now + Duration::from_secs(10));
            told
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn a_forgotten_object_begins_anew() {
        let now = Instant::now();
        let mut contests = contested(now);
        contests.forget(&object("web"));
        assert!(!contests.is_contested(&object("web")));
        assert_eq!(contests.corrected(&object("web"), &replicas(), None, now), None);
    }

    #[test]
    fn memory_is_bounded_and_keeps_contests() {
        let now = Instant::now();
        let mut contests = contested(now);
        for index in 0..OBJECTS * 2 {
            let now = now + Duration::from_millis(1);
            contests.corrected(&object(&index.to_string()), &replicas(), None, now);
            assert!(contests.objects.len() <= OBJECTS);
        }
        assert!(contests.is_contested(&object("web")));
        contests.corrected(&object("last"), &replicas(), None, now + WINDOW * 2);
        assert_eq!(contests.objects.len(), 2);
        for index in 0..FIELDS * 2 {
            contests.corrected(&object("last"), &[index.to_string()], None, now + WINDOW * 2);
        }
        assert_eq!(contests.objects[&object("last")].fields.len(), FIELDS);
    }
}
