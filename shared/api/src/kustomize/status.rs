//! The status of a Kustomization: what was applied, what came of it, and what it changed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::meta::{Condition, Time, condition, is_false};

/// The most entries `status.history` holds.
pub const MAX_HISTORY: usize = 5;

/// The most entries `status.changes` holds.
pub const MAX_CHANGES: usize = 8;

/// The most bytes of entries one element of `status.changes` holds.
pub const MAX_CHANGE_BYTES: usize = 32 * 1024;

/// What became of a Kustomization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct KustomizationStatus {
    /// The value of the annotation `reconcile.fluxcd.io/requestedAt` that was dealt with last.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_handled_reconcile_at: Option<String>,

    /// The last generation that was dealt with to its end; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The state, aspect by aspect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,

    /// The revision that was last applied with full success.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_applied_revision: Option<String>,

    /// The revision that artifact was itself packed from, where its metadata says so.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_applied_origin_revision: Option<String>,

    /// The revision that was last tried.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_attempted_revision: Option<String>,

    /// The objects that were applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<ResourceInventory>,

    /// What was tried, newest first, equal outcomes as one entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Snapshot>,

    /// The changes made to the cluster, newest last. Not a field of Flux: whoever tells people about changes reads them
    /// here, so that none is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// The objects that were applied, in the order they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceInventory {
    /// One entry per object.
    pub entries: Vec<ResourceRef>,
}

/// An object that was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRef {
    /// `<namespace>_<name>_<group>_<kind>`.
    pub id: String,

    /// API version, without the group.
    #[serde(rename = "v")]
    pub version: String,
}

/// An outcome, and how often it came about in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Digest of the manifests as they were built.
    pub digest: String,

    /// When the outcome came about first.
    #[schemars(extend("description" = "When the outcome came about first."))]
    pub first_reconciled: Time,

    /// When the outcome came about last.
    #[schemars(extend("description" = "When the outcome came about last."))]
    pub last_reconciled: Time,

    /// How long it took the last time.
    pub last_reconciled_duration: Duration,

    /// The outcome: a reason of the condition Ready.
    pub last_reconciled_status: String,

    /// How often the outcome came about.
    pub total_reconciliations: i64,

    /// Facts about the last time, such as the revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Changes made to the cluster in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Counts the changes of this Kustomization; a gap means that older ones were dropped unread.
    pub seq: i64,

    /// When the step was done.
    #[schemars(extend("description" = "When the step was done."))]
    pub time: Time,

    /// The revision it was done for.
    pub revision: String,

    /// The revision that artifact was itself packed from, where its metadata says so.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub origin_revision: Option<String>,

    /// The step.
    pub action: ChangeKind,

    /// What became of which object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<ChangeEntry>,

    /// Whether this is only about to be done: a crash may have come before or after.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending: bool,

    /// How many entries were left out because the list would have become too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<i64>,
}

impl Change {
    /// Cuts the entries to what a change may take in the status, [`MAX_CHANGE_BYTES`], and counts what was cut.
    pub fn bound(&mut self) {
        let mut bytes = 0;
        let kept = self.entries.iter().take_while(|entry| {
            bytes += entry.size();
            bytes <= MAX_CHANGE_BYTES
        });
        let kept = kept.count();
        let cut = self.entries.len() - kept;
        if cut > 0 {
            self.entries.truncate(kept);
            self.truncated = Some(self.truncated.unwrap_or(0) + i64::try_from(cut).unwrap_or(i64::MAX));
        }
        // Origins get what room the objects leave.
        let mut bytes: usize = self.entries.iter().map(ChangeEntry::size).sum();
        for entry in &mut self.entries {
            bytes += entry.origin.as_ref().map_or(0, |origin| origin.len() + 12);
            entry.origin.take_if(|_| bytes > MAX_CHANGE_BYTES);
        }
    }
}

choices! {
    /// The steps that change the cluster.
    pub enum ChangeKind {
        /// Objects of the artifact were applied.
        Apply = "apply",
        /// Objects that are no longer in the artifact were deleted.
        Prune = "prune",
        /// Objects were deleted because the Kustomization is.
        Delete = "delete",
    }
}

/// What became of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeEntry {
    /// The object as `Kind/namespace/name`, or `Kind/name` where there is no namespace.
    pub object: String,

    /// `created`, `configured`, `deleted` or `skipped`.
    pub action: String,

    /// The fields that others had changed and that were corrected, as paths without values. `(deleted)` alone says that
    /// the whole object was missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,

    /// The field manager that had changed them, where it is known.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub manager: Option<String>,

    /// Where the object comes from: the file and line of the artifact, and the fields of kustomizations and of the spec that
    /// changed it last. Left out where the list would become too long.
    #[serde(
        default,
        deserialize_with = "crate::meta::some_unless_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub origin: Option<String>,
}

impl ChangeEntry {
    /// What `fields` holds when the object itself was deleted by somebody else.
    pub const DELETED: &str = "(deleted)";

    /// What it takes in the status without its origin, near enough.
    fn size(&self) -> usize {
        let fields: usize = self.fields.iter().map(|field| field.len() + 3).sum();
        let corrected = match self.fields.is_empty() && self.manager.is_none() {
            true => 0,
            false => fields + self.manager.as_deref().map_or(0, str::len) + 26,
        };
        self.object.len() + self.action.len() + 26 + corrected
    }

    /// The line that tells people about a correction of drift, or nothing when the change is none.
    ///
    /// It names the object, the fields and who had changed them, never a value. Flux tells only the change itself.
    pub fn correction(&self) -> Option<String> {
        let object = &self.object;
        match self.fields.as_slice() {
            [] => None,
            [only] if only == Self::DELETED => {
                Some(format!("drift corrected: {object} was deleted and is created again"))
            }
            fields => Some(format!(
                "drift corrected: {object} {} (changed by {})",
                fields.join(", "),
                self.manager.as_deref().unwrap_or("someone unknown")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[&str], manager: Option<&str>, expected: Option<&str>) {
        let entry = ChangeEntry {
            object: "Deployment/apps/web".into(),
            action: "configured".into(),
            fields: fields.iter().map(|&field| field.into()).collect(),
            manager: manager.map(Into::into),
            origin: None,
        };
        assert_eq!(entry.correction().as_deref(), expected);
    }

    #[test]
    fn a_change_of_the_artifact_corrects_nothing() {
        check(&[], None, None);
        check(&[], Some("kubectl"), None);
    }

    #[test]
    fn a_correction_names_the_fields_and_who_changed_them() {
        check(
            &[".spec.replicas"],
            Some("kubectl-scale"),
            Some("drift corrected: Deployment/apps/web .spec.replicas (changed by kubectl-scale)"),
        );
        check(
            &[".metadata.labels.app", ".spec.replicas"],
            None,
            Some(
                "drift corrected: Deployment/apps/web .metadata.labels.app, .spec.replicas (changed by someone unknown)",
            ),
        );
    }

    #[test]
    fn an_object_that_somebody_deleted_is_told_as_a_whole() {
        check(
            &["(deleted)"],
            None,
            Some("drift corrected: Deployment/apps/web was deleted and is created again"),
        );
    }

    #[test]
    fn an_entry_without_a_correction_looks_as_it_did_before_there_were_any() {
        let entry = ChangeEntry {
            object: "Namespace/d".into(),
            action: "created".into(),
            ..ChangeEntry::default()
        };
        let json = serde_json::json!({"object": "Namespace/d", "action": "created"});
        assert_eq!(serde_json::to_value(&entry).unwrap(), json);
        assert_eq!(serde_json::from_value::<ChangeEntry>(json).unwrap(), entry);
    }
}
