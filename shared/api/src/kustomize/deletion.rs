//! What becomes of the objects of a Kustomization that is deleted, and how that can be seen.
//!
//! The controller that deletes them writes nothing about it where everything in the inventory was deleted: that is what
//! the last state of the Kustomization means, the one that a watch delivers with its removal. Where the outcome is
//! another one (objects were kept, the ServiceAccount was missing, their end is awaited), that state says so itself.
//!
//! What cannot be seen:
//!
//! - Whether somebody took the finalizer off by hand. The last state is the same, and nothing was deleted.
//! - In an older state than the last one, whatever was written after it: another inventory, another policy, another
//!   outcome. What is presumed from it has to be told as that.

use super::{Change, ChangeEntry, ChangeKind, DeletionPolicy, Kustomization, KustomizationSpec};
use crate::meta::{FINALIZER, Time};
use k8s_openapi::jiff::Timestamp;

/// What is to become of the objects of a Kustomization that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They stay.
    Leave,
    /// They are deleted.
    Delete,
    /// They are deleted, and their end is awaited.
    DeleteAndWait,
}

impl KustomizationSpec {
    /// What is to become of the objects: `deletionPolicy`, by default what `prune` says; nothing while suspended.
    pub fn fate(&self) -> Fate {
        if self.suspend {
            return Fate::Leave;
        }
        match self.deletion_policy.unwrap_or(DeletionPolicy::MirrorPrune) {
            DeletionPolicy::MirrorPrune if self.prune => Fate::Delete,
            DeletionPolicy::MirrorPrune | DeletionPolicy::Orphan => Fate::Leave,
            DeletionPolicy::Delete => Fate::Delete,
            DeletionPolicy::WaitForTermination => Fate::DeleteAndWait,
        }
    }
}

impl Kustomization {
    /// What was deleted, if this is the last state of a Kustomization that is gone: everything in its inventory, from
    /// the last entry to the first. Nothing where the objects were to stay, or where `status.changes` tells itself what
    /// was deleted; the inventory is empty then, or its end was awaited.
    ///
    /// Deletion itself goes by rank alone. That is another order where a flag gives kinds a stage of their own, and
    /// where objects could not be pruned before: they are the last ones in an inventory.
    pub fn deletion(&self) -> Option<Change> {
        self.deleted_at(self.metadata.deletion_timestamp.clone()?)
    }

    /// What was presumably deleted, if this is the last state that was seen of a Kustomization that is gone, and not
    /// its last one: the same, also if it had not been asked to go yet, as of `now` (to the second) then. It did not go
    /// without its objects if it had the finalizer.
    ///
    /// Nothing with `WaitForTermination`: how far that came is said by a status that nobody saw.
    pub fn presumed_deletion(&self, now: Timestamp) -> Option<Change> {
        let held = || {
            let finalizers = self.metadata.finalizers.as_deref().unwrap_or_default();
            finalizers.iter().any(|name| name == FINALIZER)
        };
        let noticed = || Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let asked = self.metadata.deletion_timestamp.clone();
        self.deleted_at(asked.or_else(|| held().then(noticed))?)
    }

    fn deleted_at(&self, time: Time) -> Option<Change> {
        let status = self.status.as_ref().filter(|_| self.spec.fate() == Fate::Delete)?;
        let entries: Vec<_> = status
            .inventory
            .iter()
            .flat_map(|inventory| inventory.entries.iter().rev())
            .collect();
        let entries: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                Some(ChangeEntry {
                    object: entry.object()?.to_string(),
                    action: "deleted".to_owned(),
                    ..ChangeEntry::default()
                })
            })
            .collect();
        if entries.is_empty() {
            return None;
        }
        // A plan that nobody confirmed has no number that counts: what is confirmed in its place takes it.
        let last = status.changes.iter().rfind(|change| !change.pending);
        let mut change = Change {
            seq: last.map_or(0, |last| last.seq) + 1,
            time,
            revision: status.last_applied_revision.clone().unwrap_or_default(),
            origin_revision: status.last_applied_origin_revision.clone(),
            action: ChangeKind::Delete,
            entries,
            pending: false,
            truncated: None,
        };
        change.bound();
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kustomize::{KustomizationStatus, ResourceInventory, ResourceRef};

    fn spec(prune: bool, policy: Option<DeletionPolicy>, suspend: bool) -> KustomizationSpec {
        KustomizationSpec {
            prune,
            deletion_policy: policy,
            suspend,
            ..KustomizationSpec::default()
        }
    }

    #[track_caller]
    fn check(spec: KustomizationSpec, ids: &[&str], expected: Option<&[&str]>) {
        let mut object = Kustomization::new("app", spec);
        let entries = ids.iter().map(|id| ResourceRef {
            id: (*id).into(),
            version: "v1".into(),
        });
        object.status = Some(KustomizationStatus {
            inventory: Some(ResourceInventory {
                entries: entries.collect(),
            }),
            last_applied_revision: Some("main@sha1:1".into()),
            ..KustomizationStatus::default()
        });
        assert_eq!(object.deletion(), None, "it is not being deleted");
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(
            object.presumed_deletion(now()),
            object.deletion(),
            "it was seen to be deleted"
        );
        let told = object.deletion().map(|change| {
            assert_eq!(
                (change.seq, change.revision.as_str(), change.pending),
                (1, "main@sha1:1", false)
            );
            change
                .entries
                .into_iter()
                .map(|entry| format!("{} {}", entry.object, entry.action))
                .collect::<Vec<_>>()
        });
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(told, expected);
    }

    fn now() -> Timestamp {
        Timestamp::new(7, 5).unwrap()
    }

    #[test]
    fn what_vanished_is_presumed_deleted_if_the_finalizer_held_it() {
        let when = |spec: KustomizationSpec, finalizers: &[&str], deleted: bool| {
            let mut object = Kustomization::new("app", spec);
            object.metadata.finalizers = Some(finalizers.iter().map(|name| (*name).to_owned()).collect());
            object.metadata.deletion_timestamp = deleted.then_some(Time(Timestamp::UNIX_EPOCH));
            object.status = Some(KustomizationStatus {
                inventory: Some(ResourceInventory {
                    entries: vec![ResourceRef {
                        id: "apps_web__ConfigMap".into(),
                        version: "v1".into(),
                    }],
                }),
                ..KustomizationStatus::default()
            });
            object.presumed_deletion(now()).map(|change| {
                assert_eq!((change.action, change.entries.len()), (ChangeKind::Delete, 1));
                change.time.0.to_string()
            })
        };
        let noticed = Some("1970-01-01T00:00:07Z".to_owned());
        assert_eq!(when(spec(true, None, false), &["other", FINALIZER], false), noticed);
        let asked = Some("1970-01-01T00:00:00Z".to_owned());
        assert_eq!(when(spec(true, None, false), &[FINALIZER], true), asked);
        assert_eq!(when(spec(true, None, false), &[], false), None, "nothing held it");
        assert_eq!(
            when(spec(true, None, false), &["other"], false),
            None,
            "somebody else did"
        );
        assert_eq!(when(spec(false, None, false), &[FINALIZER], false), None);
        assert_eq!(when(spec(true, None, true), &[FINALIZER], false), None);
        let waits = spec(true, Some(DeletionPolicy::WaitForTermination), false);
        assert_eq!(when(waits, &[FINALIZER], false), None);
    }

    #[test]
    fn the_deletion_follows_the_last_change_that_was_confirmed() {
        let number = |ring: &[(i64, bool)]| {
            let mut object = Kustomization::new("app", spec(true, None, false));
            object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            let changes = ring.iter().map(|(seq, pending)| Change {
                seq: *seq,
                time: Time(Timestamp::UNIX_EPOCH),
                revision: String::new(),
                origin_revision: None,
                action: ChangeKind::Apply,
                entries: Vec::new(),
                pending: *pending,
                truncated: None,
            });
            object.status = Some(KustomizationStatus {
                inventory: Some(ResourceInventory {
                    entries: vec![ResourceRef {
                        id: "apps_web__ConfigMap".into(),
                        version: "v1".into(),
                    }],
                }),
                changes: changes.collect(),
                ..KustomizationStatus::default()
            });
            object.deletion().map(|change| change.seq)
        };
        assert_eq!(number(&[]), Some(1));
        assert_eq!(number(&[(4, false), (5, false)]), Some(6));
        assert_eq!(number(&[(5, false), (6, true)]), Some(6));
        assert_eq!(number(&[(1, true)]), Some(1));
    }

    #[test]
    fn the_policy_decides_what_becomes_of_the_objects() {
        use DeletionPolicy::{Delete, Orphan, WaitForTermination};
        for (prune, policy, suspend, expected) in [
            (true, None, false, Fate::Delete),
            (false, None, false, Fate::Leave),
            (false, Some(Delete), false, Fate::Delete),
            (true, Some(Orphan), false, Fate::Leave),
            (false, Some(WaitForTermination), false, Fate::DeleteAndWait),
            (true, Some(Delete), true, Fate::Leave),
        ] {
            assert_eq!(
                spec(prune, policy, suspend).fate(),
                expected,
                "{prune} {policy:?} {suspend}"
            );
        }
    }

    #[test]
    fn the_last_state_says_that_all_of_the_inventory_was_deleted() {
        let ids = ["_apps__Namespace", "apps_web_apps_Deployment"];
        let lines: &[&str] = &["Deployment/apps/web deleted", "Namespace/apps deleted"];
        check(spec(true, None, false), &ids, Some(lines));
        check(spec(false, None, false), &ids, None);
        check(spec(true, Some(DeletionPolicy::WaitForTermination), false), &ids, None);
        check(spec(true, None, true), &ids, None);
        check(spec(true, None, false), &[], None);
    }
}
