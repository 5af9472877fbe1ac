//! The order of the output: as it came, or by kind.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "sortOptions: {order: legacy}\nresources: [app.yaml]\n")?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: v1, kind: Pod, metadata: {name: app}}\n\
//!      ---\n\
//!      {apiVersion: v1, kind: Namespace, metadata: {name: web}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["kind"], "Namespace");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::cmp::{Ordering, Reverse};

use super::{Pass, Transformer};
use crate::Error;
use crate::kustomization::SortOptions;
use crate::resource::{Gvk, Id, Resource, Resources};

/// Kinds that others depend on.
const FIRST: &[&str] = &[
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// Kinds that would get in the way of others.
const LAST: &[&str] = &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// Sorts by kind.
pub(crate) struct Sort {
    first: Vec<String>,
    last: Vec<String>,
}

impl Sort {
    /// The order kustomize has by default.
    pub fn legacy() -> Self {
        Self {
            first: FIRST.iter().map(|kind| (*kind).to_owned()).collect(),
            last: LAST.iter().map(|kind| (*kind).to_owned()).collect(),
        }
    }

    /// What `sortOptions` asks for; none when the order stays.
    ///
    /// # Errors
    /// An unknown order, or options that do not go with it.
    pub fn of(options: &SortOptions) -> Result<Option<Self>, Error> {
        match (options.order.as_str(), &options.legacy) {
            ("legacy", None) => Ok(Some(Self::legacy())),
            ("legacy", Some((first, last))) => Ok(Some(Self {
                first: first.clone(),
                last: last.clone(),
            })),
            ("fifo", None) => Ok(None),
            ("fifo", Some(_)) => Err(Error::new(
                "the field 'sortOptions.legacySortOptions' is set but the selected sort order is 'fifo', not 'legacy'",
            )),
            _ => Err(Error::new(
                "the field 'sortOptions.order' must be one of [fifo, legacy]",
            )),
        }
    }
}

/// Below 0 for kinds that come first, above 0 for those that come last.
fn rank<S: AsRef<str>>(kind: &str, first: &[S], last: &[S]) -> i64 {
    let place = |list: &[S]| {
        list.iter()
            .rposition(|other| other.as_ref() == kind)
            .and_then(|at| i64::try_from(at).ok())
    };
    let count = i64::try_from(first.len()).unwrap_or(i64::MAX);
    place(last)
        .map(|at| at + 1)
        .or_else(|| place(first).map(|at| at - count))
        .unwrap_or(0)
}

fn type_text(gvk: &Gvk) -> String {
    let or = |part: &str, none: &str| {
        if part.is_empty() {
            none.to_owned()
        } else {
            part.to_owned()
        }
    };
    format!(
        "{}_{}_{}",
        or(&gvk.group, "~G"),
        or(&gvk.version, "~V"),
        or(&gvk.kind, "~K")
    )
}

/// Where a type stands among the types of field specifications.
pub(crate) fn order_of_kind(gvk: &Gvk) -> (i64, String) {
    (rank(&gvk.kind, FIRST, LAST), type_text(gvk))
}

/// An object with all that its place depends on.
struct Placed {
    rank: i64,
    gvk: Gvk,
    kind: String,
    id: String,
    resource: Resource,
}

impl Placed {
    fn of(resource: Resource, sort: &Sort) -> Self {
        let Id { gvk, name, namespace } = resource.id();
        let or = |part: &str, none: &str| {
            if part.is_empty() {
                none.to_owned()
            } else {
                part.to_owned()
            }
        };
        Self {
            rank: rank(&gvk.kind, &sort.first, &sort.last),
            kind: type_text(&gvk),
            id: format!("{gvk}|{}|{}", or(&namespace, "~X"), or(&name, "~N")),
            gvk,
            resource,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.gvk, &other.gvk);
        if a == b {
            return self.id.cmp(&other.id);
        }
        let namespaces = a.kind == "Namespace" && b.kind == "Namespace" && (a.group.is_empty() || b.group.is_empty());
        let by_text = if namespaces {
            Reverse(&self.kind).cmp(&Reverse(&other.kind))
        } else {
            self.kind.cmp(&other.kind)
        };
        self.rank.cmp(&other.rank).then(by_text)
    }
}

impl Transformer for Sort {
    fn transform(&self, resources: &mut Resources, _: &Pass<'_>) -> Result<(), Error> {
        let list = std::mem::take(resources).into_list();
        let mut placed: Vec<Placed> = list.into_iter().map(|resource| Placed::of(resource, self)).collect();
        placed.sort_by(Placed::compare);
        *resources = Resources::from_list(placed.into_iter().map(|placed| placed.resource).collect());
        resources.check_unique()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[(&str, &str)], expected: &[&str]) {
        let object = |(kind, name): &(&str, &str)| {
            Resource::new(crate::node::Node::from_json(
                serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}),
            ))
        };
        let mut resources = Resources::from_list(input.iter().map(object).collect());
        let pass = Pass {
            schema: crate::schema::Schema::builtin(),
            author: None,
            stop: &|| false,
            merged: &std::cell::Cell::default(),
        };
        Sort::legacy().transform(&mut resources, &pass).unwrap();
        assert_eq!(resources.iter().map(Resource::name).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn namespaces_come_first_and_webhooks_last() {
        check(
            &[
                ("MutatingWebhookConfiguration", "a"),
                ("Pod", "b"),
                ("Service", "c"),
                ("Namespace", "d"),
                ("Pod", "a2"),
            ],
            &["d", "c", "a2", "b", "a"],
        );
    }
}
