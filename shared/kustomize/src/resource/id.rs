//! What identifies an object: group, version, kind, name and namespace.

use std::fmt;

use super::scope;

/// The parts of an `apiVersion`.
pub(crate) fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Group, version and kind; empty parts stand for "any" in selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gvk {
    /// The API group.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// The kind.
    pub kind: String,
}

impl Gvk {
    /// Group and version as an object has them.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The parts of an `apiVersion` with a kind.
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, version) = group_version(api_version);
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    /// Whether objects of this type are known to have no namespace.
    pub fn is_cluster_scoped(&self) -> bool {
        scope::is_cluster_scoped(&self.group, &self.version, &self.kind)
    }

    /// Whether kustomize knows of this type, without looking at a schema, if its objects have a namespace.
    pub fn is_known(&self) -> bool {
        scope::is_known(&self.group, &self.version, &self.kind)
    }

    /// Whether every part that the selector names equals this one's.
    pub fn is_selected_by(&self, selector: &Gvk) -> bool {
        let fits = |wanted: &str, part: &str| wanted.is_empty() || wanted == part;
        fits(&selector.group, &self.group) && fits(&selector.version, &self.version) && fits(&selector.kind, &self.kind)
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |part: &str, none: &str| {
            if part.is_empty() {
                none.to_owned()
            } else {
                part.to_owned()
            }
        };
        write!(
            f,
            "{}.{}.{}",
            or(&self.kind, "[noKind]"),
            or(&self.version, "[noVer]"),
            or(&self.group, "[noGrp]")
        )
    }
}

/// The namespace that stands for "has none".
const NO_NAMESPACE: &str = "_non_namespaceable_";

/// An object's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    /// Its type.
    pub gvk: Gvk,
    /// Its name.
    pub name: String,
    /// Its namespace as written; empty when not set.
    pub namespace: String,
}

/// What two identities have in common when they mean the same object: all parts in one text, and where they end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<str>, [u32; 4]);

/// The namespace that counts for an object of a type, as [`Id::effective_namespace`].
pub(crate) fn effective_namespace<'a>(group: &str, version: &str, kind: &str, namespace: &'a str) -> &'a str {
    if scope::is_cluster_scoped(group, version, kind) {
        NO_NAMESPACE
    } else if namespace.is_empty() {
        "default"
    } else {
        namespace
    }
}

impl Id {
    /// The namespace that counts: `default` when not set, a word of its own for cluster-scoped types.
    pub fn effective_namespace(&self) -> &str {
        let Gvk { group, version, kind } = &self.gvk;
        effective_namespace(group, version, kind, &self.namespace)
    }

    /// What to look the object up by.
    pub fn key(&self) -> Key {
        let Gvk { group, version, kind } = &self.gvk;
        let parts = [group, version, kind, self.name.as_str(), self.effective_namespace()];
        let mut end = 0;
        let ends = [0, 1, 2, 3].map(|at: usize| {
            end += parts[at].len();
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        Key(parts.concat().into(), ends)
    }

    /// Whether every part that the selector names equals this one's.
    pub fn is_selected_by(&self, selector: &Id) -> bool {
        (selector.name.is_empty() || selector.name == self.name)
            && (selector.namespace.is_empty() || selector.effective_namespace() == self.effective_namespace())
            && self.gvk.is_selected_by(&selector.gvk)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "[noName]" } else { &self.name };
        let namespace = if self.namespace.is_empty() {
            "[noNs]"
        } else {
            &self.namespace
        };
        write!(f, "{}/{name}.{namespace}", self.gvk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api_version: &str, kind: &str, namespace: &str, expected: &str) {
        let id = Id {
            gvk: Gvk::of(api_version, kind),
            name: "x".into(),
            namespace: namespace.into(),
        };
        assert_eq!(id.effective_namespace(), expected);
    }

    #[test]
    fn no_namespace_means_default_except_for_cluster_scoped_types() {
        check("apps/v1", "Deployment", "", "default");
        check("apps/v1", "Deployment", "web", "web");
        check("v1", "Namespace", "web", NO_NAMESPACE);
        check("example.com/v1", "Thing", "", "default");
    }

    #[test]
    fn a_selector_selects_a_type_in_parts_or_as_one() {
        let check = |selector: (&str, &str), api_version: &str, kind: &str, expected: bool| {
            let selector = Gvk::of(selector.0, selector.1);
            let selected = Gvk::of(api_version, kind).is_selected_by(&selector);
            assert_eq!(selected, expected, "{selector}");
        };
        check(("", ""), "apps/v1", "Deployment", true);
        check(("apps/", "Deployment"), "apps/v1", "Deployment", true);
        check(("v1", ""), "apps/v1", "Deployment", true);
        check(("v1", "Pod"), "v1", "Pod", true);
        check(("apps/v1", "Pod"), "v1", "Pod", false);
        check(("v2", ""), "v1", "Pod", false);
        check(("", "Node"), "v1", "Pod", false);
    }

    #[test]
    fn an_id_is_shown_with_its_gaps() {
        let id = Id {
            gvk: Gvk::of("v1", "Pod"),
            name: "x".into(),
            namespace: String::new(),
        };
        assert_eq!(id.to_string(), "Pod.v1.[noGrp]/x.[noNs]");
    }
}
