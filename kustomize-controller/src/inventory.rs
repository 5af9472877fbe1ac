//! Which objects a Kustomization owns: arithmetic on lists of them. Their identities are those of the API.
//!
//! Pure: no client, no clock.

use api::kustomize::{ResourceInventory, ResourceRef};
use serde_json::Value;
use std::collections::HashSet;

pub use api::kustomize::{ObjectId, group_version};

/// An owned object: who it is, and the API version it was applied with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owned {
    /// Who it is.
    pub id: ObjectId,
    /// The version without the group, for example `v1`.
    pub version: String,
}

impl Owned {
    /// What an object of the manifests is, once applied.
    pub fn of(object: &Value) -> Self {
        let (_, version) = group_version(object["apiVersion"].as_str().unwrap_or_default());
        Owned {
            id: ObjectId::of(object),
            version: version.to_owned(),
        }
    }

    /// The `apiVersion` of the object.
    pub fn api_version(&self) -> String {
        match self.id.group.is_empty() {
            true => self.version.clone(),
            false => format!("{}/{}", self.id.group, self.version),
        }
    }
}

/// The status form of a list, in its order.
pub fn to_status(owned: &[Owned]) -> ResourceInventory {
    let entries = owned
        .iter()
        .map(|owned| ResourceRef {
            id: owned.id.to_wire(),
            version: owned.version.clone(),
        })
        .collect();
    ResourceInventory { entries }
}

/// Reads the status form; entries that are no ids are left out.
pub fn from_status(inventory: Option<&ResourceInventory>) -> Vec<Owned> {
    let entries = inventory
        .map(|inventory| inventory.entries.as_slice())
        .unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| {
            Some(Owned {
                id: entry.object()?,
                version: entry.version.clone(),
            })
        })
        .collect()
}

/// What was owned before and is not any more, by identity, in the old order and with the old version.
pub fn stale(before: &[Owned], now: &[Owned]) -> Vec<Owned> {
    let now: HashSet<_> = now.iter().map(|owned| &owned.id).collect();
    before
        .iter()
        .filter(|owned| !now.contains(&owned.id))
        .cloned()
        .collect()
}

/// A list with others added that are not in it yet: objects that could not be pruned stay owned.
pub fn with(mut owned: Vec<Owned>, others: impl IntoIterator<Item = Owned>) -> Vec<Owned> {
    let mut known: HashSet<_> = owned.iter().map(|owned| owned.id.clone()).collect();
    owned.extend(others.into_iter().filter(|other| known.insert(other.id.clone())));
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(name: &str, version: &str) -> Owned {
        Owned {
            id: ObjectId {
                group: "g".into(),
                kind: "K".into(),
                namespace: "n".into(),
                name: name.into(),
            },
            version: version.into(),
        }
    }

    #[test]
    fn an_object_that_changes_its_version_is_not_stale() {
        let before = [owned("a", "v1"), owned("b", "v1")];
        assert_eq!(stale(&before, &[owned("a", "v2")]), [owned("b", "v1")]);
    }

    #[test]
    fn survivors_are_added_once() {
        let list = with(
            vec![owned("a", "v1")],
            [owned("a", "v0"), owned("b", "v1"), owned("b", "v1")],
        );
        assert_eq!(list, [owned("a", "v1"), owned("b", "v1")]);
    }
}
