//! What is held, told step by step.

use super::*;
use serde_json::json;
use std::time::Duration;

/// What happens to one object; strings are owners first, then the fields that our entry has.
#[derive(Clone, Copy)]
enum Step {
    /// A run applied it with the manifest 1, and the answer had that version.
    Applied(&'static str, u64, &'static str),
    /// The same, when a watch had seen a version already, or, without fields, that it went.
    AppliedAfter(&'static str, u64, &'static str, (u64, Option<&'static str>)),
    /// A watch saw it.
    Seen(u64, &'static str),
    /// A watch saw it go.
    Gone(u64),
    /// A list that began just now named it.
    Listed,
    /// The same, but in that version.
    ListedIn(u64),
    /// A list that began just now did not.
    Missing,
    /// Neither did one that began before everything else.
    MissingBefore,
    /// The watch was interrupted.
    Dark,
    Released(&'static str),
    Forgotten(&'static str),
}
use Step::{Applied, AppliedAfter, Dark, Forgotten, Gone, Listed, ListedIn, Missing, MissingBefore, Released, Seen};

/// Holdings to which something has happened, and who was woken by it.
struct World {
    holdings: Holdings,
    woken: Vec<String>,
    began: Instant,
    fact: Fact,
}

fn world() -> World {
    World {
        holdings: Holdings::default(),
        woken: Vec::new(),
        began: Instant::now(),
        fact: Fact {
            manifest: 1,
            version: 0,
            fingerprint: fingerprint(""),
            skipped: false,
            told: Told::ByWatch,
            healthy: true,
            kept: false,
            vanishes: false,
        },
    }
}

impl World {
    fn does(mut self, steps: &[Step]) -> Self {
        steps.iter().for_each(|step| self.step(*step));
        self
    }

    fn step(&mut self, step: Step) {
        let just_now = || Instant::now() + Duration::from_millis(1);
        match step {
            Applied(by, version, fields) => self.record(by, version, fields, None),
            AppliedAfter(by, version, fields, (seen, as_fields)) => {
                self.record(by, version, fields, Some((seen, as_fields.map(fingerprint))));
            }
            Seen(version, fields) => self.see(version, Some(fingerprint(fields))),
            Gone(version) => self.see(version, None),
            Listed => self.list(just_now(), Some(u64::MAX)),
            ListedIn(version) => self.list(just_now(), Some(version)),
            Missing => self.list(just_now(), None),
            MissingBefore => self.list(self.began, None),
            Dark => self.holdings.dark("", "ConfigMap"),
            Released(by) => self.holdings.release(&owner(by), [&object()]),
            Forgotten(by) => self.holdings.forget(&owner(by)),
        }
    }

    fn record(&mut self, by: &str, version: u64, fields: &str, seen: Option<Sight>) {
        let fact = Fact {
            version,
            fingerprint: fingerprint(fields),
            ..self.fact.clone()
        };
        self.holdings.record(&Arc::new(owner(by)), &object(), fact, || seen);
    }

    fn see(&mut self, version: u64, fingerprint: Option<Fingerprint>) {
        if let Meaning::Drift(owner) = self.holdings.see(&object(), version, fingerprint) {
            self.woken.push(owner.name.clone());
        }
    }

    fn list(&mut self, began: Instant, version: Option<u64>) {
        let place = place(&object());
        let named = |listed: &Place| version.filter(|_| *listed == place);
        let owners = self.holdings.listed("", "ConfigMap", began, named);
        self.woken.extend(owners.iter().map(|owner| owner.name.clone()));
    }

    /// What `app` knows of its object, in a word.
    fn standing(&self, manifest: u64, trust: Trust) -> &'static str {
        match self.holdings.standing(&owner("app"), &object(), manifest, trust) {
            Standing::Current { skipped: false } => "current",
            Standing::Current { skipped: true } => "left alone",
            Standing::Held {
                same_manifest: false, ..
            } => "another manifest",
            Standing::Held { intact: false, .. } => "changed",
            Standing::Held { told: false, .. } => "not told of",
            Standing::Held { .. } => "to be verified",
            Standing::Unknown => "unknown",
        }
    }

    fn has_drift(&self) -> bool {
        self.holdings.has_drift(&owner("app"), None)
    }

    fn is_current(&self, trust: Trust) -> bool {
        self.holdings.all_current(&owner("app"), [&object()], trust)
    }

    fn is_healthy(&self) -> bool {
        self.holdings.is_healthy(&owner("app"), &object())
    }

    /// Another controller changes it as often as it takes.
    fn contested(self) -> Self {
        let contests = (0..crate::contest::CORRECTIONS)
            .filter_map(|_| self.holdings.corrected(&object(), &[".data.k".to_owned()], None));
        assert_eq!(contests.count(), 1);
        self
    }
}

fn object() -> ObjectId {
    id("", "ConfigMap", &("n".to_owned(), "a".to_owned()))
}

fn owner(name: &str) -> Owner {
    Owner {
        namespace: "n".to_owned(),
        name: name.to_owned(),
    }
}

fn fingerprint(fields: &str) -> Fingerprint {
    let ours = json!({ "manager": "kustomize-controller", "operation": "Apply", "fieldsV1": { fields: {} } });
    Fingerprint::of(&json!({ "uid": "u", "managedFields": [ours] }), &[])
}

/// What a run at the interval makes of the object of `app` after these steps, and who was woken meanwhile.
#[track_caller]
fn check(steps: &[Step], standing: &str, woken: &[&str]) {
    let world = world().does(steps);
    assert_eq!(world.standing(1, Trust::Watches), standing);
    assert_eq!(world.woken, woken);
    assert_eq!(world.is_current(Trust::Watches), standing == "current");
    assert_eq!(world.has_drift(), standing == "changed");
}

#[test]
fn an_object_is_current_until_a_watch_sees_a_change_that_matters() {
    let begin = [Listed, Applied("app", 5, "k"), Seen(5, "k")];
    let check = |then: &[Step], standing, woken: &[&str]| check(&[&begin, then].concat(), standing, woken);
    check(&[], "current", &[]);
    check(&[Seen(6, "k"), Seen(7, "k")], "current", &[]);
    check(&[Seen(6, "other")], "changed", &["app"]);
    check(&[Gone(6)], "changed", &["app"]);
    check(&[Missing], "changed", &["app"]);
    // The store was set back to what it was before.
    check(&[ListedIn(5)], "current", &[]);
    check(&[ListedIn(4)], "changed", &["app"]);
}

#[test]
fn one_change_wakes_once_and_another_one_again() {
    let begin = [Listed, Applied("app", 5, "k"), Seen(5, "k"), Seen(6, "other")];
    let check = |then: &[Step], woken: &[&str]| check(&[&begin, then].concat(), "changed", woken);
    check(&[Seen(7, "other"), Seen(8, "other")], &["app"]);
    check(&[Seen(7, "third"), Seen(8, "third")], &["app", "app"]);
    check(&[Gone(7), Missing], &["app", "app"]);
    check(&[Seen(7, "k"), Seen(8, "other")], &["app", "app"]);
}

#[test]
fn only_what_has_changed_since_a_time_is_recent_drift() {
    let mut world = world().does(&[Listed, Applied("app", 5, "k"), Seen(6, "other")]);
    let recent = |world: &World, since| world.holdings.has_drift(&owner("app"), Some(since));
    assert!(recent(&world, world.began));
    let looked = Instant::now();
    world.step(Seen(7, "other"));
    assert!(!recent(&world, looked) && world.has_drift());
    world.step(Seen(8, "third"));
    assert!(recent(&world, looked));
}

#[test]
fn a_watch_tells_of_what_it_has_shown() {
    check(&[Listed, Applied("app", 5, "k")], "not told of", &[]);
    check(&[Listed, Applied("app", 5, "k"), Seen(4, "k")], "not told of", &[]);
    check(&[Listed, Applied("app", 5, "k"), Seen(6, "k")], "current", &[]);
    // A version that is no number says nothing.
    check(&[Listed, Applied("app", 0, "k"), Seen(0, "k")], "not told of", &[]);
}

#[test]
fn what_is_not_newer_than_the_answer_means_nothing() {
    let begin = [Listed, Applied("app", 5, "k"), Seen(5, "k")];
    for late in [Seen(4, "other"), Seen(5, "k"), Gone(4), Gone(5)] {
        check(&[begin.as_slice(), &[late]].concat(), "current", &[]);
    }
}

#[test]
fn a_change_that_was_seen_before_the_answer_came_counts() {
    check(
        &[Listed, AppliedAfter("app", 5, "k", (6, Some("other")))],
        "changed",
        &[],
    );
    check(&[Listed, AppliedAfter("app", 5, "k", (6, None))], "changed", &[]);
    check(&[Listed, AppliedAfter("app", 5, "k", (6, Some("k")))], "current", &[]);
    check(&[Listed, AppliedAfter("app", 5, "k", (5, Some("k")))], "current", &[]);
    for behind in [Some("other"), None] {
        let applied = AppliedAfter("app", 5, "k", (4, behind));
        check(&[Listed, applied, Seen(5, "k")], "current", &[]);
    }
}

#[test]
fn a_change_is_over_when_it_is_taken_back_or_applied_anew() {
    let changed = [Listed, Applied("app", 5, "k"), Seen(6, "other")];
    let check = |then: &[Step], standing| check(&[&changed, then].concat(), standing, &["app"]);
    check(&[Seen(7, "k")], "current");
    check(&[Applied("app", 7, "k"), Seen(7, "k")], "current");
    // Applied with another outcome: that is what counts from now on.
    check(&[Applied("app", 7, "more"), Seen(7, "more")], "current");
}

#[test]
fn nothing_is_taken_for_granted_without_a_watch() {
    check(&[Applied("app", 5, "k")], "not told of", &[]);
    check(
        &[Listed, Applied("app", 5, "k"), Seen(5, "k"), Dark],
        "not told of",
        &[],
    );
    let gap = [Listed, Applied("app", 5, "k"), Seen(5, "k"), Dark];
    check(&[gap.as_slice(), &[Seen(5, "k"), Listed]].concat(), "current", &[]);
    check(
        &[gap.as_slice(), &[Seen(6, "other"), Listed]].concat(),
        "changed",
        &["app"],
    );
    check(&[gap.as_slice(), &[Missing]].concat(), "changed", &["app"]);
}

#[test]
fn what_is_applied_while_a_list_is_under_way_is_not_missing() {
    check(&[Applied("app", 5, "k"), MissingBefore, Seen(5, "k")], "current", &[]);
}

#[test]
fn an_object_has_one_holder_the_one_that_applied_it_last() {
    let taken = [
        Listed,
        Applied("app", 5, "k"),
        Seen(6, "other"),
        Applied("other", 7, "other"),
    ];
    check(&taken, "unknown", &["app"]);
    check(&[taken.as_slice(), &[Gone(8)]].concat(), "unknown", &["app", "other"]);
    check(
        &[taken.as_slice(), &[Released("app"), Forgotten("app"), Seen(8, "k")]].concat(),
        "unknown",
        &["app", "other"],
    );
    check(
        &[taken.as_slice(), &[Applied("app", 8, "k"), Seen(8, "k")]].concat(),
        "current",
        &["app"],
    );
}

#[test]
fn of_what_is_released_or_whose_owner_is_gone_nothing_is_kept() {
    for end in [Released("app"), Forgotten("app")] {
        for before in [Seen(5, "k"), Seen(6, "other")] {
            let mut world = world().does(&[Listed, Applied("app", 5, "k"), before, end]);
            world.woken.clear();
            let world = world.does(&[Seen(7, "other"), Gone(8), Missing]);
            assert_eq!(world.standing(1, Trust::Watches), "unknown");
            assert!(world.woken.is_empty() && !world.has_drift());
            let state = lock(&world.holdings.state);
            assert!(state.dirty.is_empty() && state.kinds.values().all(|table| table.held.is_empty()));
        }
    }
}

#[test]
fn another_manifest_is_no_change_of_somebody_else() {
    let world = world().does(&[Listed, Applied("app", 5, "k"), Seen(5, "k")]);
    assert_eq!(world.standing(2, Trust::Truce), "another manifest");
    assert!(!world.has_drift() && world.is_current(Trust::Watches));
}

#[test]
fn a_verification_relies_on_nothing() {
    let world = world().does(&[Listed, Applied("app", 5, "k"), Seen(5, "k")]);
    assert_eq!(world.standing(1, Trust::Nothing), "to be verified");
    assert_eq!(world.standing(1, Trust::Truce), "current");
}

#[test]
fn what_no_watch_tells_of_is_looked_at_and_what_does_not_matter_is_not() {
    let told = |told: Told| {
        let mut world = world();
        (world.fact.told, world.fact.skipped) = (told, true);
        world.does(&[Applied("app", 5, "k"), Seen(5, "k")])
    };
    assert_eq!(
        told(Told::Nowhere).does(&[Listed]).standing(1, Trust::Watches),
        "not told of"
    );
    let manifest_says_so = told(Told::NotNeeded).does(&[Seen(6, "other"), Gone(7), Missing]);
    assert_eq!(manifest_says_so.standing(1, Trust::Watches), "left alone");
    assert!(manifest_says_so.woken.is_empty() && manifest_says_so.is_current(Trust::Watches));
    assert!(manifest_says_so.holdings.is_skipped(&owner("app"), &object()));
    assert!(!manifest_says_so.holdings.is_skipped(&owner("other"), &object()));
}

#[test]
fn what_vanished_after_its_work_is_made_again_at_the_interval_only() {
    let mut job = world();
    job.fact.vanishes = true;
    let mut job = job.does(&[Listed, Applied("app", 5, "k"), Seen(5, "k"), Gone(6)]);
    assert!(job.woken.is_empty() && !job.has_drift() && job.is_healthy());
    assert_eq!(job.standing(1, Trust::Truce), "current");
    // Making it again is no correction.
    assert_eq!(job.standing(1, Trust::Watches), "unknown");
    assert!(job.holdings.vanishes(&owner("app"), &object()) && !job.holdings.vanishes(&owner("other"), &object()));
    assert!(job.is_current(Trust::Truce) && !job.is_current(Trust::Watches));
    // Somebody else makes one in its place.
    job.step(Seen(7, "other"));
    assert_eq!(
        (job.woken.as_slice(), job.has_drift()),
        (["app".to_owned()].as_slice(), true)
    );
}

#[test]
fn what_is_contested_is_left_for_the_interval() {
    let begin = [Listed, Applied("app", 5, "k"), Seen(5, "k")];
    let world = world().does(&begin).contested().does(&[Seen(6, "other")]);
    assert!(world.woken.is_empty() && !world.has_drift());
    assert_eq!(world.standing(1, Trust::Truce), "current");
    assert_eq!(world.standing(1, Trust::Watches), "changed");
    assert!(world.is_current(Trust::Truce) && !world.is_current(Trust::Watches));
    // Too soon: the other one may not have come round yet.
    world.holdings.settled(&object());
    assert!(!world.has_drift());
    // Whoever has the object next begins anew.
    let next = world.does(&[Released("app"), Applied("app", 7, "k"), Seen(8, "other")]);
    assert_eq!(
        (next.woken.as_slice(), next.has_drift()),
        (["app".to_owned()].as_slice(), true)
    );
}

#[test]
fn health_is_known_as_long_as_nothing_newer_was_seen() {
    let check = |steps: &[Step], judged: Option<(u64, bool)>, expected: bool| {
        let world = world()
            .does(&[Listed, Applied("app", 5, "k"), Seen(5, "k")])
            .does(steps);
        if let Some((version, healthy)) = judged {
            world.holdings.judged(&owner("other"), &object(), version, !healthy);
            world.holdings.judged(&owner("app"), &object(), version, healthy);
        }
        assert_eq!(world.is_healthy(), expected);
        assert!(!world.holdings.is_healthy(&owner("other"), &object()));
    };
    check(&[], None, true);
    check(&[Seen(6, "k")], None, false);
    check(&[Seen(6, "k")], Some((6, true)), true);
    check(&[Seen(6, "k")], Some((7, true)), true);
    check(&[Seen(6, "k")], Some((5, true)), false);
    check(&[], Some((6, false)), false);
    check(&[Dark], None, false);
    check(&[Seen(6, "other")], Some((6, true)), false);
}

#[test]
fn an_unhealthy_answer_is_no_health() {
    let mut world = world();
    world.fact.healthy = false;
    assert!(!world.does(&[Listed, Applied("app", 5, "k"), Seen(5, "k")]).is_healthy());
}

#[test]
fn one_object_that_is_not_current_is_enough() {
    let world = world().does(&[Listed, Applied("app", 5, "k"), Seen(5, "k")]);
    let stranger = id("", "ConfigMap", &("n".to_owned(), "b".to_owned()));
    let all = |ids: &[&ObjectId]| {
        world
            .holdings
            .all_current(&owner("app"), ids.iter().copied(), Trust::Truce)
    };
    assert!(all(&[]) && all(&[&object()]) && !all(&[&object(), &stranger]));
}

#[test]
fn what_has_changed_and_is_not_among_what_was_applied_is_released() {
    let changed = world().does(&[Listed, Applied("app", 5, "k"), Seen(6, "other")]);
    let id = object();
    changed.holdings.applied_all(&owner("app"), &HashSet::from([&id]));
    assert_eq!(changed.standing(1, Trust::Watches), "changed");
    changed.holdings.applied_all(&owner("other"), &HashSet::new());
    assert!(changed.has_drift());
    changed.holdings.applied_all(&owner("app"), &HashSet::new());
    assert_eq!(
        (changed.standing(1, Trust::Watches), changed.has_drift()),
        ("unknown", false)
    );
}

#[test]
fn a_contest_ends_with_its_owner() {
    let begin = [Listed, Applied("app", 5, "k"), Seen(5, "k")];
    let gone = world().does(&begin).contested().does(&[Forgotten("app")]);
    let next = gone.does(&[Applied("other", 6, "k"), Seen(7, "other")]);
    assert_eq!(next.woken, ["other"]);
}
