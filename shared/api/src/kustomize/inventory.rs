//! The identity of an owned object, and how the inventory writes it.
//!
//! An identity is namespace, name, group and kind; the API version is not part of it, so that an object that moves
//! between versions stays the same object. On the wire an identity is `<namespace>_<name>_<group>_<kind>`
//! (Flux's inventory id, read by its CLI and by dashboards).

use super::ResourceRef;
use serde_json::Value;
use std::fmt;

/// The identity of an object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; empty for objects of the cluster.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Flux's subject: `Kind/namespace/name`, or `Kind/name` without a namespace.
impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(formatter, "{}/{}", self.kind, self.name),
            false => write!(formatter, "{}/{}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// Kinds whose names may hold `:`, which the wire form writes as `__`.
const COLON_KINDS: [&str; 4] = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"];

impl ObjectId {
    /// The identity of an object; missing parts are empty.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (group, _) = group_version(object["apiVersion"].as_str().unwrap_or_default());
        ObjectId {
            group: group.to_owned(),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        }
    }

    /// The inventory id.
    pub fn to_wire(&self) -> String {
        let name = match COLON_KINDS.contains(&self.kind.as_str()) {
            true => self.name.replace(':', "__"),
            false => self.name.clone(),
        };
        format!("{}_{name}_{}_{}", self.namespace, self.group, self.kind)
    }

    /// Reads an inventory id; nothing when it is none.
    ///
    /// The namespace ends at the first `_`, the kind begins after the last, the group before that; the rest is the
    /// name, in which `__` stands for `:`.
    pub fn from_wire(id: &str) -> Option<Self> {
        let (namespace, rest) = id.split_once('_')?;
        let (rest, kind) = rest.rsplit_once('_')?;
        let (name, group) = rest.rsplit_once('_')?;
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        Some(ObjectId {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.replace("__", ":"),
        })
    }
}

/// Splits an `apiVersion` into group and version; the core group is empty.
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

impl ResourceRef {
    /// The object it is about; nothing when the id is none.
    pub fn object(&self) -> Option<ObjectId> {
        ObjectId::from_wire(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(namespace: &str, name: &str, group: &str, kind: &str) -> ObjectId {
        ObjectId {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[track_caller]
    fn check(id: ObjectId, wire: &str) {
        assert_eq!(id.to_wire(), wire);
        assert_eq!(ObjectId::from_wire(wire), Some(id));
    }

    #[test]
    fn ids_are_written_and_read_as_flux_does() {
        check(id("apps", "web", "apps", "Deployment"), "apps_web_apps_Deployment");
        check(id("", "kube-system", "", "Namespace"), "_kube-system__Namespace");
        check(id("a", "b.c", "", "ConfigMap"), "a_b.c__ConfigMap");
        check(
            id("", "system:node:x", "rbac.authorization.k8s.io", "ClusterRole"),
            "_system__node__x_rbac.authorization.k8s.io_ClusterRole",
        );
    }

    #[test]
    fn what_is_no_id_is_none() {
        for wire in ["", "a", "a_b", "a_b_c", "a_b_c_", "a__c_Kind"] {
            assert_eq!(ObjectId::from_wire(wire), None, "{wire}");
        }
    }

    #[test]
    fn subjects_leave_out_an_empty_namespace() {
        assert_eq!(id("a", "b", "", "ConfigMap").to_string(), "ConfigMap/a/b");
        assert_eq!(id("", "b", "", "Namespace").to_string(), "Namespace/b");
    }
}
