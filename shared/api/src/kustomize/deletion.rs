//! What becomes of the objects of a Kustomization that is deleted, and how that can be seen.
//!
//! The controller that deletes them writes nothing about it where everything in the inventory was deleted: that is what
//! the last state of the Kustomization means, the one that a watch delivers with its removal.

use super::{Change, ChangeEntry, ChangeKind, DeletionPolicy, Kustomization, KustomizationSpec};

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
    /// What was deleted, if this is the last state of a Kustomization that is gone: everything in its inventory, in the
    /// order in which it was deleted. Nothing where the objects were to stay, or where `status.changes` tells itself
    /// what was deleted; the inventory is empty then, or its end was awaited.
    pub fn deletion(&self) -> Option<Change> {
        let time = self.metadata.deletion_timestamp.clone()?;
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
    use crate::meta::Time;

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
        object.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
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

    #[test]
    fn the_deletion_follows_the_last_change_that_was_confirmed() {
        let number = |ring: &[(i64, bool)]| {
            let mut object = Kustomization::new("app", spec(true, None, false));
            object.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
            let changes = ring.iter().map(|(seq, pending)| Change {
                seq: *seq,
                time: Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH),
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
