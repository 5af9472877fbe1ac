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

use std::cell::OnceCell;
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
    /// Lent by the object.
    memory: Memory,
    is_cluster_scoped: bool,
}

impl Candidate {
    /// The identity it had at first.
    fn original_id(&self) -> Id {
        let first = self.memory.previous().first();
        first.map_or_else(|| self.id.clone(), |previous| previous.id(&self.id.gvk))
    }

    /// Whether it was ever of the type, before it was what it is now.
    fn was(&self, selector: &Gvk) -> bool {
        let mut previous = self.memory.previous().iter();
        previous.any(|previous| previous.gvk(&self.id.gvk).is_selected_by(selector))
    }
}

/// The objects as they are when the fields are updated, found by the names they had.
struct Candidates {
    all: Vec<Candidate>,
    by_name: HashMap<Box<str>, Vec<u32>>,
    /// By the effective namespaces that they had at first; only asked for where a reference names one.
    by_namespace: OnceCell<HashMap<String, Vec<u32>>>,
}

impl Candidates {
    fn of(resources: &mut Resources) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut all = Vec::with_capacity(resources.len());
        for resource in resources.iter_mut() {
            let at = u32::try_from(all.len()).unwrap_or(u32::MAX);
            for previous in resource.memory.previous() {
                match by_name.get_mut(previous.name.as_str()) {
                    Some(places) if places.last() == Some(&at) => {}
                    Some(places) => places.push(at),
                    None => drop(by_name.insert(previous.name.as_str().into(), vec![at])),
                }
            }
            let id = resource.id();
            all.push(Candidate {
                is_cluster_scoped: id.gvk.is_cluster_scoped(),
                id,
                memory: std::mem::take(&mut resource.memory),
            });
        }
        Self {
            all,
            by_name,
            by_namespace: OnceCell::new(),
        }
    }

    /// Gives the objects back what they lent.
    fn give_back(self, resources: &mut Resources) {
        for (resource, candidate) in resources.iter_mut().zip(self.all) {
            resource.memory = candidate.memory;
        }
    }

    fn at<'a>(&'a self, places: Option<&'a Vec<u32>>) -> impl Iterator<Item = &'a Candidate> {
        let places = places.into_iter().flatten();
        places.filter_map(|at| self.all.get(usize::try_from(*at).ok()?))
    }

    /// Those that had a name.
    fn named(&self, name: &str) -> impl Iterator<Item = &Candidate> {
        self.at(self.by_name.get(name))
    }

    /// Those that were in a namespace at first.
    fn first_in(&self, namespace: &str) -> impl Iterator<Item = &Candidate> {
        let by_namespace = self.by_namespace.get_or_init(|| {
            let mut index: HashMap<String, Vec<u32>> = HashMap::new();
            for (at, candidate) in (0..).zip(&self.all) {
                let id = candidate.original_id();
                index.entry(id.effective_namespace().to_owned()).or_default().push(at);
            }
            index
        });
        self.at(by_namespace.get(namespace))
    }
}

/// The type that a field refers to, the field, and its path in parts.
type Field<'a> = (&'a Gvk, &'a FieldSpec, Vec<String>);

impl Transformer for NameReferences<'_> {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let candidates = Candidates::of(resources);
        let updated = self.update(resources, &candidates, pass);
        candidates.give_back(resources);
        updated
    }
}

impl NameReferences<'_> {
    fn update(&self, resources: &mut Resources, candidates: &Candidates, pass: &Pass<'_>) -> Result<(), Error> {
        // The fields that matter, by the type of the object that has them.
        let mut by_type: BTreeMap<Gvk, Vec<Field<'_>>> = BTreeMap::new();
        let objects = resources.iter_mut().zip(&candidates.all);
        pass.each_with(objects, |resource, candidate| {
            let mut changed = false;
            let original = candidate.original_id();
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
            let referrer = Referrer::of(resource, candidate)?;
            for (target, spec, path) in fields.iter() {
                let update = Update {
                    referrer: &referrer,
                    target,
                    path: &spec.path,
                    candidates,
                };
                // The fields are those of the type that the object had at first, whatever its type is now.
                changed |= apply_path(&mut resource.node, spec, path, Target::Existing, &mut |node| {
                    update.set(node)
                })
                .within(|| format!("updating name reference in '{}' field of '{}'", spec.path, candidate.id))?;
            }
            resource.settle_cells();
            Ok(changed)
        })
    }
}

/// The object whose fields are updated.
struct Referrer<'a> {
    candidate: &'a Candidate,
    /// Namespaces of service accounts that a role binding names.
    namespaces: HashSet<String>,
    /// The type its `roleRef` names.
    role: Option<Gvk>,
}

impl<'a> Referrer<'a> {
    fn of(resource: &Resource, candidate: &'a Candidate) -> Result<Self, Error> {
        let id = &candidate.id;
        let mut namespaces = HashSet::new();
        if id.gvk.kind == "RoleBinding" {
            let subjects = resource
                .node
                .get("subjects")
                .and_then(Node::as_list)
                .unwrap_or_default();
            for (at, subject) in subjects.iter().enumerate() {
                if subject.as_map().is_none() {
                    return Err(wrong_kind("MappingNode", subject)).within(|| format!("subjects[{at}] of {id}"));
                }
                let is_account = subject.get("kind").is_some_and(|kind| kind.text() == "ServiceAccount");
                match subject.get("namespace") {
                    Some(Node::Text(namespace)) if is_account => {
                        namespaces.insert(namespace.text.to_string());
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
            candidate,
            namespaces,
            role,
        })
    }

    /// Whether the scopes of the two let one refer to the other at all.
    fn reaches(&self, candidate: &Candidate) -> bool {
        let own = self.candidate;
        own.is_cluster_scoped
            || candidate.is_cluster_scoped
            || candidate.id.effective_namespace() == own.id.effective_namespace()
            || self.namespaces.contains(&candidate.id.namespace)
    }
}

struct Update<'a> {
    referrer: &'a Referrer<'a>,
    target: &'a Gvk,
    path: &'a str,
    candidates: &'a Candidates,
}

impl Update<'_> {
    fn set(&self, node: &mut Node) -> Result<bool, Error> {
        match node {
            Node::Null(_) => Ok(false),
            Node::Map(_) => self.set_mapping(node),
            Node::List(items) => items.iter_mut().try_fold(false, |changed, item| match item {
                Node::Null(_) => Ok(changed),
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
                    .get_or_insert_with(field, || crate::node::Create::Scalar.node())
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
        let (referrer, candidates) = (self.referrer, self.candidates);
        let mut found: Vec<&Candidate> = candidates
            .named(name)
            .filter(|candidate| referrer.reaches(candidate))
            .collect();
        if let Some(namespace) = namespace {
            // A namespace means the one an object came with, if any object came with it.
            if candidates
                .first_in(namespace)
                .any(|candidate| referrer.reaches(candidate))
            {
                found.retain(|candidate| candidate.original_id().effective_namespace() == namespace);
            } else {
                found.retain(|candidate| candidate.id.effective_namespace() == namespace);
            }
        }
        found.retain(|candidate| candidate.was(self.target));
        if self.path.ends_with("roleRef/name")
            && let Some(role) = &referrer.role
        {
            found.retain(|candidate| candidate.was(role));
        }
        let own = referrer.candidate;
        found.retain(|candidate| {
            own.is_cluster_scoped
                || candidate.is_cluster_scoped
                || candidate.id.gvk.kind == "ServiceAccount"
                || candidate.id.effective_namespace() == own.id.effective_namespace()
        });
        if let [only] = found.as_slice() {
            return Ok(Some(only));
        }
        found.retain(|candidate| affixes_agree(&candidate.memory, &own.memory, true));
        if found.len() > 1 {
            found.retain(|candidate| affixes_agree(&candidate.memory, &own.memory, false));
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
