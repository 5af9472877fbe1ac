//! Names of other objects, put right after those objects were renamed.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "namePrefix: dev-\nresources: [app.yaml]\n")?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: v1, kind: Secret, metadata: {name: key}}\n\
//!      ---\n\
//!      {apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {volumes: [{name: v, secret: {secretName: key}}]}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[1].object["spec"]["volumes"][0]["secret"]["secretName"], "dev-key");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Pass, Transformer};
use crate::Error;
use crate::error::Within;
use crate::fields::{FieldSpec, References, Target, apply_path};
use crate::node::{Node, lookup, split, wrong_kind};
use crate::resource::{Gvk, Id, Memory, Resource, Resources};

/// Updates every field that names another object of the build.
pub(crate) struct NameReferences<'a> {
    /// The fields, by the type they refer to.
    pub references: &'a [References],
}

/// What is to know about an object that may be referred to.
struct Candidate {
    id: Id,
    previous: Vec<Id>,
    memory: Memory,
}

/// The objects as they are when the fields are updated, found by the names they had.
struct Candidates {
    all: Vec<Candidate>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Candidates {
    fn of(resources: &Resources) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut all = Vec::with_capacity(resources.len());
        for (at, resource) in resources.iter().enumerate() {
            let previous: Vec<Id> = resource.previous_ids().collect();
            for id in &previous {
                let places = by_name.entry(id.name.clone()).or_default();
                if places.last() != Some(&at) {
                    places.push(at);
                }
            }
            all.push(Candidate {
                id: resource.id(),
                previous,
                memory: resource.memory.clone(),
            });
        }
        Self { all, by_name }
    }
}

/// The type that a field refers to, the field, and its path in parts.
type Field<'a> = (&'a Gvk, &'a FieldSpec, Vec<String>);

impl Transformer for NameReferences<'_> {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let candidates = Candidates::of(resources);
        // The fields that matter, by the type of the object that has them.
        let mut by_type: BTreeMap<Gvk, Vec<Field<'_>>> = BTreeMap::new();
        pass.each(resources.iter_mut(), |resource| {
            let mut changed = false;
            let original = resource.original_id();
            let fields = by_type.entry(original.gvk.clone()).or_insert_with(|| {
                let all = self
                    .references
                    .iter()
                    .flat_map(|references| references.referrers.iter().map(|spec| (&references.gvk, spec)));
                all.filter(|(_, spec)| original.gvk.is_selected_by(&spec.gvk))
                    .map(|(target, spec)| (target, spec, split(&spec.path, '/')))
                    .collect()
            });
            if fields.is_empty() {
                return Ok(false);
            }
            let referrer = Referrer::of(resource)?;
            for (target, spec, path) in fields.iter() {
                let update = Update {
                    referrer: &referrer,
                    target,
                    path: &spec.path,
                    candidates: &candidates,
                };
                // The fields are those of the type that the object had at first, whatever its type is now.
                changed |= apply_path(&mut resource.node, spec, path, Target::Existing, &mut |node| {
                    update.set(node)
                })
                .within(|| format!("updating name reference in '{}' field of '{}'", spec.path, referrer.id))?;
            }
            resource.settle_cells();
            Ok(changed)
        })?;
        resources.touch();
        Ok(())
    }
}

/// The object whose fields are updated.
struct Referrer {
    id: Id,
    memory: Memory,
    /// Namespaces of service accounts that a role binding names.
    namespaces: HashSet<String>,
    /// The type its `roleRef` names.
    role: Option<Gvk>,
}

impl Referrer {
    fn of(resource: &Resource) -> Result<Self, Error> {
        let id = resource.id();
        let mut namespaces = HashSet::new();
        if id.gvk.kind == "RoleBinding" {
            let subjects = resource
                .node
                .get("subjects")
                .and_then(Node::as_list)
                .unwrap_or_default();
            for subject in subjects {
                let is_account = subject.get("kind").is_some_and(|kind| kind.text() == "ServiceAccount");
                match subject.get("namespace") {
                    Some(Node::Text(namespace)) if is_account => {
                        namespaces.insert(namespace.text.clone());
                    }
                    Some(_) if is_account => {
                        return Err(Error::new(format!(
                            "Invalid Input: namespace is blank for resource \"{id}\""
                        )));
                    }
                    _ => {}
                }
            }
        }
        let part = |field: &str| {
            let found = lookup(&resource.node, &["roleRef".to_owned(), field.to_owned()])
                .ok()
                .flatten()?;
            Some(found.text().into_owned())
        };
        let role = match (part("apiGroup"), part("kind")) {
            (Some(group), Some(kind)) => Some(Gvk {
                group,
                version: String::new(),
                kind,
            }),
            _ => None,
        };
        Ok(Self {
            id,
            memory: resource.memory.clone(),
            namespaces,
            role,
        })
    }

    /// Whether the scopes of the two let one refer to the other at all.
    fn reaches(&self, candidate: &Candidate) -> bool {
        self.id.gvk.is_cluster_scoped()
            || candidate.id.gvk.is_cluster_scoped()
            || candidate.id.effective_namespace() == self.id.effective_namespace()
            || self.namespaces.contains(&candidate.id.namespace)
    }
}

struct Update<'a> {
    referrer: &'a Referrer,
    target: &'a Gvk,
    path: &'a str,
    candidates: &'a Candidates,
}

impl Update<'_> {
    fn set(&self, node: &mut Node) -> Result<bool, Error> {
        match node {
            Node::Null { .. } => Ok(false),
            Node::Map(_) => self.set_mapping(node),
            Node::List(items) => items.iter_mut().try_fold(false, |changed, item| match item {
                Node::Null { .. } => Ok(changed),
                Node::Map(_) => Ok(self.set_mapping(item)? || changed),
                Node::List(_) => Err(Error::new("a list is expected to hold strings or mappings")),
                _ => Ok(self.set_scalar(item)? || changed),
            }),
            Node::Bool(_) | Node::Number(_) | Node::Text(_) => self.set_scalar(node),
        }
    }

    fn set_scalar(&self, node: &mut Node) -> Result<bool, Error> {
        let old = node.text().into_owned();
        let same = |a: &Candidate, b: &Candidate| a.id.name == b.id.name;
        if let Some(found) = self.select(&old, None, same)?
            && found.id.name != old
        {
            return Ok(node.assign_untyped(&found.id.name));
        }
        Ok(false)
    }

    fn set_mapping(&self, node: &mut Node) -> Result<bool, Error> {
        let Node::Map(map) = node else {
            return Err(wrong_kind("MappingNode", node));
        };
        let Some(name) = map.get("name") else {
            return Err(Error::new("path config error; no 'name' field in node"));
        };
        let old = name.text().into_owned();
        let namespace = map.get("namespace").map(|namespace| namespace.text().into_owned());
        let same = |a: &Candidate, b: &Candidate| a.id.name == b.id.name && a.id.namespace == b.id.namespace;
        let Some(found) = self.select(&old, namespace.as_deref(), same)? else {
            return Ok(false);
        };
        let mut changed = false;
        for (field, value) in [("name", &found.id.name), ("namespace", &found.id.namespace)] {
            // An empty namespace stands for any here and must not be written.
            if !value.is_empty() {
                changed |= map
                    .entry(field.to_owned())
                    .or_insert_with(|| crate::node::Create::Scalar.node())
                    .assign_untyped(value);
            }
        }
        Ok(changed)
    }

    /// The one object that a name means; none when there is none.
    fn select(
        &self,
        name: &str,
        namespace: Option<&str>,
        same: impl Fn(&Candidate, &Candidate) -> bool,
    ) -> Result<Option<&Candidate>, Error> {
        let places = self.candidates.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<&Candidate> = places
            .iter()
            .filter_map(|at| self.candidates.all.get(*at))
            .filter(|candidate| self.referrer.reaches(candidate))
            .collect();
        if let Some(namespace) = namespace {
            // A namespace means the one an object came with, if any object came with it.
            let original = |candidate: &Candidate| {
                candidate
                    .previous
                    .first()
                    .is_some_and(|id| id.effective_namespace() == namespace)
            };
            let anyone = self
                .candidates
                .all
                .iter()
                .filter(|candidate| self.referrer.reaches(candidate))
                .any(|candidate| {
                    candidate
                        .previous
                        .first()
                        .unwrap_or(&candidate.id)
                        .effective_namespace()
                        == namespace
                });
            if anyone {
                found.retain(|candidate| original(candidate));
            } else {
                found.retain(|candidate| candidate.id.effective_namespace() == namespace);
            }
        }
        found.retain(|candidate| candidate.previous.iter().any(|id| id.gvk.is_selected_by(self.target)));
        if self.path.ends_with("roleRef/name")
            && let Some(role) = &self.referrer.role
        {
            found.retain(|candidate| candidate.previous.iter().any(|id| id.gvk.is_selected_by(role)));
        }
        found.retain(|candidate| {
            self.referrer.id.gvk.is_cluster_scoped()
                || candidate.id.gvk.is_cluster_scoped()
                || candidate.id.gvk.kind == "ServiceAccount"
                || candidate.id.effective_namespace() == self.referrer.id.effective_namespace()
        });
        if let [only] = found.as_slice() {
            return Ok(Some(only));
        }
        found.retain(|candidate| affixes_agree(&candidate.memory, &self.referrer.memory, true));
        if found.len() > 1 {
            found.retain(|candidate| affixes_agree(&candidate.memory, &self.referrer.memory, false));
        }
        match found.as_slice() {
            [] => Ok(None),
            [first, rest @ ..] if rest.iter().all(|other| same(first, other)) => Ok(Some(first)),
            several => {
                let ids: Vec<String> = several.iter().map(|candidate| candidate.id.to_string()).collect();
                Err(Error::new(format!(
                    "found multiple possible referrals: {}",
                    ids.join(", ")
                )))
            }
        }
    }
}

/// Whether two objects went through the same prefixes and suffixes, as far as the shorter list goes.
fn affixes_agree(a: &Memory, b: &Memory, none_fits_any: bool) -> bool {
    let agree = |a: &[String], b: &[String]| {
        if none_fits_any && (a.is_empty() || b.is_empty()) {
            return true;
        }
        let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
        if short.is_empty() {
            long.is_empty()
        } else {
            long.ends_with(short)
        }
    };
    agree(&a.prefixes, &b.prefixes) && agree(&a.suffixes, &b.suffixes)
}

#[cfg(test)]
mod tests {
    use crate::trial::built;
    use serde_json::{Value, json};

    const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {serviceAccountName: a, volumes: \
                       [{name: v, configMap: {name: a}}, {name: w, secret: {secretName: a}}]}}";

    /// What the pod refers to: service account, config map, secret.
    fn check(fields: &str, others: &str, expected: [&str; 3]) {
        let objects = built(fields, &format!("{POD}\n---\n{others}")).unwrap();
        let spec = &objects[0]["spec"];
        let found = json!([
            spec["serviceAccountName"],
            spec["volumes"][0]["configMap"]["name"],
            spec["volumes"][1]["secret"]["secretName"]
        ]);
        assert_eq!(
            found,
            Value::from(expected.map(Value::from).to_vec()),
            "{fields} {others}"
        );
    }

    #[test]
    fn what_was_renamed_is_named_anew_by_its_kind() {
        let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
        check("namePrefix: x-", map, ["a", "x-a", "a"]);
        let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}";
        check("nameSuffix: -x", &format!("{map}\n---\n{account}"), ["a-x", "a-x", "a"]);
        check(
            "namePrefix: x-",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            ["a", "a", "a"],
        );
        let other = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: other}}";
        check("namePrefix: x-", other, ["a", "a", "a"]);
    }
}
