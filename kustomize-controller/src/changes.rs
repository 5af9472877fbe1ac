//! The ring of changes in a Kustomization's status: what was created, configured, deleted, for those who tell people.
//!
//! A change is written twice: as a plan before the first object is touched, and confirmed with what came of it. A plan
//! that a killed process left behind is not lost: the objects that the next run finds as planned were changed by the
//! run that died, and are confirmed with it. Pure: the caller brings the time.

use api::kustomize::{Change, ChangeEntry, ChangeKind, MAX_CHANGES};
use api::meta::{Time, key};
use api::source::Artifact;
use jiff::Timestamp;

/// What all changes of a run have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The revision that is applied.
    pub revision: String,
    /// The revision of the source of the source, where it is known.
    pub origin_revision: Option<String>,
}

impl Origin {
    /// Where an artifact comes from.
    pub fn of(artifact: &Artifact) -> Self {
        let origin = artifact
            .metadata
            .get(key::OCI_REVISION)
            .filter(|revision| !revision.is_empty());
        Origin {
            revision: artifact.revision.clone(),
            origin_revision: origin.cloned(),
        }
    }
}

/// Puts a plan at the end of the ring, or adds to the plan that is there.
pub fn plan(ring: &mut Vec<Change>, kind: ChangeKind, origin: &Origin, entries: &[ChangeEntry], now: Timestamp) {
    if entries.is_empty() {
        return;
    }
    // What a killed run planned of another kind it finds again by itself: what is stale is in the inventory.
    ring.pop_if(|last| last.pending && last.action != kind);
    if let Some(last) = ring.last_mut().filter(|last| last.pending) {
        if last.truncated.is_some() {
            return;
        }
        last.revision.clone_from(&origin.revision);
        last.origin_revision.clone_from(&origin.origin_revision);
        for entry in entries {
            match last.entries.iter_mut().find(|known| known.object == entry.object) {
                Some(known) => known.clone_from(entry),
                None => last.entries.push(entry.clone()),
            }
        }
        last.bound();
        return;
    }
    push(ring, change(kind, origin, entries, true, now));
}

/// Confirms what a run did: the plan at the end of the ring becomes fact, or a new change is added without one.
///
/// `found` says which objects the run found as they should be: planned by a run that died, they were changed by it.
pub fn confirm(
    ring: &mut Vec<Change>,
    kind: ChangeKind,
    origin: &Origin,
    done: &[ChangeEntry],
    found: impl Fn(&str) -> bool,
    now: Timestamp,
) {
    let mut entries = done.to_vec();
    if let Some(planned) = ring.pop_if(|last| last.pending) {
        let earlier = planned.entries.into_iter().filter(|entry| {
            planned.action == kind && found(&entry.object) && !done.iter().any(|done| done.object == entry.object)
        });
        entries = earlier.chain(entries).collect();
    }
    if !entries.is_empty() {
        push(ring, change(kind, origin, &entries, false, now));
    }
}

/// What is planned and not confirmed.
pub fn planned(ring: &[Change], kind: ChangeKind) -> Vec<ChangeEntry> {
    let last = ring.last().filter(|last| last.pending && last.action == kind);
    last.map(|last| last.entries.clone()).unwrap_or_default()
}

/// Takes back a plan that came to nothing, or whose outcome is told otherwise.
pub fn withdraw(ring: &mut Vec<Change>) {
    ring.pop_if(|last| last.pending);
}

fn change(kind: ChangeKind, origin: &Origin, entries: &[ChangeEntry], pending: bool, now: Timestamp) -> Change {
    Change {
        seq: 0,
        time: Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        revision: origin.revision.clone(),
        origin_revision: origin.origin_revision.clone(),
        action: kind,
        entries: entries.to_vec(),
        pending,
        truncated: None,
    }
}

/// Sequence numbers go on from the last one; of two confirmed changes none has the number of the other.
fn push(ring: &mut Vec<Change>, mut change: Change) {
    change.seq = ring.last().map_or(0, |last| last.seq) + 1;
    change.bound();
    ring.push(change);
    let surplus = ring.len().saturating_sub(MAX_CHANGES);
    ring.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kustomize::MAX_CHANGE_BYTES;

    fn entries(list: &[(&str, &str)]) -> Vec<ChangeEntry> {
        list.iter()
            .map(|(object, action)| ChangeEntry {
                object: (*object).into(),
                action: (*action).into(),
                ..ChangeEntry::default()
            })
            .collect()
    }

    fn origin(revision: &str) -> Origin {
        Origin {
            revision: revision.into(),
            origin_revision: None,
        }
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_plan_becomes_what_was_done() {
        let mut ring = Vec::new();
        plan(
            &mut ring,
            ChangeKind::Apply,
            &origin("r1"),
            &entries(&[("a", "created"), ("b", "configured")]),
            NOW,
        );
        assert!(ring[0].pending);
        let done = entries(&[("a", "created"), ("b", "configured")]);
        confirm(&mut ring, ChangeKind::Apply, &origin("r1"), &done, |_| false, NOW);
        assert_eq!((ring.len(), ring[0].pending, &ring[0].entries), (1, false, &done));
    }

    #[test]
    fn what_a_killed_run_had_done_is_confirmed_by_the_next() {
        let mut ring = Vec::new();
        plan(
            &mut ring,
            ChangeKind::Apply,
            &origin("r1"),
            &entries(&[("a", "created"), ("b", "created")]),
            NOW,
        );
        // The next run finds `a` unchanged and creates `b`.
        confirm(
            &mut ring,
            ChangeKind::Apply,
            &origin("r1"),
            &entries(&[("b", "created")]),
            |object| object == "a",
            NOW,
        );
        assert_eq!(ring[0].entries, entries(&[("a", "created"), ("b", "created")]));
        assert!(!ring[0].pending);
    }

    #[test]
    fn a_plan_of_another_kind_is_replaced_and_one_that_was_cut_is_left() {
        let mut ring = Vec::new();
        plan(
            &mut ring,
            ChangeKind::Prune,
            &origin("r1"),
            &entries(&[("a", "deleted")]),
            NOW,
        );
        plan(
            &mut ring,
            ChangeKind::Apply,
            &origin("r2"),
            &entries(&[("b", "created")]),
            NOW,
        );
        assert_eq!(planned(&ring, ChangeKind::Prune), []);
        assert_eq!(
            (ring.len(), planned(&ring, ChangeKind::Apply)),
            (1, entries(&[("b", "created")]))
        );
        let name = "x".repeat(100);
        let many: Vec<_> = (0..1000).map(|_| (name.as_str(), "created")).collect();
        let mut ring = Vec::new();
        plan(&mut ring, ChangeKind::Apply, &origin("r"), &entries(&many), NOW);
        let before = ring.clone();
        plan(&mut ring, ChangeKind::Apply, &origin("r"), &entries(&many), NOW);
        assert_eq!(ring, before);
    }

    #[test]
    fn sequence_numbers_grow_and_the_ring_is_bounded() {
        let mut ring = Vec::new();
        for round in 0..20 {
            let done = entries(&[("a", "configured")]);
            confirm(
                &mut ring,
                ChangeKind::Apply,
                &origin(&round.to_string()),
                &done,
                |_| false,
                NOW,
            );
        }
        assert_eq!(ring.len(), MAX_CHANGES);
        assert_eq!(ring.last().map(|last| last.seq), Some(20));
        assert!(ring.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    }

    #[test]
    fn nothing_done_is_no_change_and_a_plan_can_be_withdrawn() {
        let mut ring = Vec::new();
        confirm(&mut ring, ChangeKind::Apply, &origin("r"), &[], |_| true, NOW);
        plan(&mut ring, ChangeKind::Prune, &origin("r"), &[], NOW);
        assert!(ring.is_empty());
        plan(
            &mut ring,
            ChangeKind::Prune,
            &origin("r"),
            &entries(&[("a", "deleted")]),
            NOW,
        );
        withdraw(&mut ring);
        assert!(ring.is_empty());
    }

    #[test]
    fn a_long_change_is_cut_and_says_so() {
        let mut ring = Vec::new();
        let name = "x".repeat(100);
        let many: Vec<_> = (0..1000).map(|_| (name.as_str(), "created")).collect();
        confirm(
            &mut ring,
            ChangeKind::Apply,
            &origin("r"),
            &entries(&many),
            |_| false,
            NOW,
        );
        let kept = ring[0].entries.len();
        assert_eq!(ring[0].truncated, Some(1000 - kept as i64));
        assert!(kept > 200 && kept < 300, "{kept}");
    }

    #[test]
    fn an_origin_pushes_no_object_out() {
        let name = "x".repeat(100);
        let one = ChangeEntry {
            origin: Some(name.clone()),
            ..entries(&[(&name, "created")]).remove(0)
        };
        for (count, kept, origins) in [(10, 10, 10), (200, 200, 55), (1000, 246, 0)] {
            let mut ring = Vec::new();
            let done = vec![one.clone(); count];
            confirm(&mut ring, ChangeKind::Apply, &origin("r"), &done, |_| false, NOW);
            let entries = &ring[0].entries;
            let known = entries.iter().take_while(|entry| entry.origin.is_some()).count();
            let all = entries.iter().filter(|entry| entry.origin.is_some()).count();
            assert_eq!((entries.len(), known, all), (kept, origins, origins), "{count}");
            let written = serde_json::to_string(entries).unwrap().len();
            assert!(written <= MAX_CHANGE_BYTES, "{written}");
        }
    }

    #[test]
    fn what_was_corrected_counts_as_well() {
        let mut ring = Vec::new();
        let corrected = ChangeEntry {
            fields: vec!["x".repeat(100); 10],
            manager: Some("x".repeat(100)),
            ..entries(&[("a", "configured")]).remove(0)
        };
        let done = vec![corrected; 100];
        confirm(&mut ring, ChangeKind::Apply, &origin("r"), &done, |_| false, NOW);
        let written = serde_json::to_string(&ring[0].entries).unwrap().len();
        assert!(ring[0].entries.len() > 20 && written <= MAX_CHANGE_BYTES, "{written}");
    }
}
