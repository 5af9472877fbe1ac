//! Changing objects by patches, however these were given.

use serde_json::Value;

use super::json_patch::JsonPatch;
use crate::error::{Problems, Within};
use crate::files::Loaded;
use crate::merge::merge;
use crate::node::Node;
use crate::resource::{Id, Resource, Resources, read};
use crate::schema::Schema;
use crate::transform::Pass;
use crate::{Error, Origin};

/// What a patch may change besides content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    /// The name.
    pub(super) name: bool,
    /// The kind.
    pub(super) kind: bool,
}

impl Resource {
    /// Merges a patch into this object, which is null afterwards if the patch deletes it. Whether it is another one now.
    pub(super) fn apply_strategic(
        &mut self,
        patch: Resource,
        allowed: Allowed,
        schema: &Schema,
    ) -> Result<bool, Error> {
        self.share_flaws(&patch);
        let (id, before) = (self.id(), self.node.fingerprint());
        if allowed.name || allowed.kind {
            self.remember_id()?;
        }
        let with_memory = takes_annotations_away(&patch.node);
        if with_memory {
            self.write_memory()?;
        }
        if let Err(error) = merge(&mut self.node, patch.node, schema) {
            self.reduce_to(&id)?;
            return Err(error).within(|| format!("patching {id}"));
        }
        if with_memory {
            self.read_memory()?;
        }
        if self.node.is_empty() {
            return Ok(true);
        }
        if !allowed.kind {
            self.set_kind(&id.gvk.kind);
        }
        if !allowed.name {
            self.set_name(&id.name)?;
        }
        self.set_namespace(&id.namespace)?;
        self.settle_cells();
        Ok(self.node.fingerprint() != before)
    }

    /// Leaves no more of an object that could not be patched than further patches need to find it, so that they are not
    /// said to be for nothing.
    fn reduce_to(&mut self, id: &Id) -> Result<(), Error> {
        self.node = Node::map();
        self.set_api_version(&id.gvk.api_version());
        self.set_kind(&id.gvk.kind);
        self.set_name(&id.name)?;
        self.set_namespace(&id.namespace)
    }

    pub(super) fn apply_operations(&mut self, patch: &JsonPatch) -> Result<bool, Error> {
        let id = self.id();
        self.check_keys()?;
        self.write_memory()?;
        self.drop_cells();
        let mut json = std::mem::replace(&mut self.node, Node::map()).into_json();
        let applied = patch.apply(&mut json).within(|| format!("patching {id}"));
        if !json.is_object() {
            self.reduce_to(&id)?;
            return Err(Error::new(format!("patching {id}: the patch leaves no object")));
        }
        merge_keys(&mut json).within(|| format!("patching {id}"))?;
        self.node = Node::from_json(json);
        let changed = applied?;
        let annotations = self.meta_strings("annotations");
        self.set_meta_strings("annotations", annotations)?;
        self.hide_memory();
        Ok(changed)
    }
}

/// Merges what stands under keys `<<`, all through a tree. Upstream writes such keys of a patch without quotes and reads them
/// again.
///
/// # Errors
/// When there is no mapping under one, and no list of mappings.
fn merge_keys(value: &mut Value) -> Result<(), Error> {
    let wrong = || Error::new("map merge requires map or sequence of maps as the value");
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(merge_keys),
        Value::Object(map) => {
            map.values_mut().try_for_each(merge_keys)?;
            let sources = match map.remove("<<") {
                None => return Ok(()),
                Some(Value::Array(items)) => items,
                Some(one) => vec![one],
            };
            for source in sources {
                let Value::Object(source) = source else {
                    return Err(wrong());
                };
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
            }
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Whether a patch may take annotations away that it does not name. Upstream keeps what it remembers about an object there,
/// so that it forgets earlier names, prefixes, and that a name is to get a hash.
fn takes_annotations_away(patch: &Node) -> bool {
    let takes = |node: &Node| node.as_map().is_none_or(|map| map.contains_key("$patch"));
    let Some(meta) = patch.get("metadata") else {
        return false;
    };
    takes(meta) || meta.get("annotations").is_some_and(takes)
}

/// The object a patch without target is for.
pub(super) fn target_of(resources: &Resources, id: &Id) -> Result<usize, Error> {
    let why = match resources.with_any_id(id) {
        [at] => return Ok(*at),
        [] => "no matches",
        _ => "multiple matches",
    };
    Err(Error::new(format!(
        "{why} for Id {id}; failed to find unique target for patch {id}"
    )))
}

/// Merges a patch into several objects, each as if the patch had been written for it.
pub(super) fn apply_to_all(
    resources: &mut Resources,
    chosen: &[usize],
    patch: &Resource,
    allowed: Allowed,
    pass: &Pass<'_>,
) -> Result<(), Error> {
    let mut problems = Problems::default();
    for at in chosen {
        let Some(resource) = resources.body_mut(*at) else {
            continue;
        };
        let mut copy = patch.clone();
        // Upstream rebuilds labels and annotations of the patch as strings on the way, nulls included.
        for field in ["labels", "annotations"] {
            let strings = copy.meta_strings(field);
            copy.set_meta_strings(field, strings)?;
        }
        copy.set_api_version(&resource.api_version());
        let before = resource.id();
        let change = |resource: &mut Resource| resource.apply_strategic(copy, allowed, pass.merging());
        problems.note(pass.on(resource, change))?;
        if resource.node.is_empty() || allowed.name || allowed.kind || resource.id() != before {
            resources.touch();
        }
    }
    problems.finish()?;
    resources.drop_empty();
    if allowed.name || allowed.kind {
        resources.check_unique()?;
    }
    Ok(())
}

/// Adds the place of a patch in its file to an error.
pub(super) fn from_patch<T>(result: Result<T, Error>, patch: &Resource) -> Result<T, Error> {
    result.map_err(|error| error.in_origin(patch.place.as_ref()))
}

/// The objects of a patch file.
pub(super) fn read_file(file: &Loaded) -> Result<Vec<Resource>, Error> {
    let objects = read(&file.content).in_file(&file.path)?;
    let placed = objects.into_iter().map(|(line, mut object)| {
        object.place = Some(Origin {
            path: file.path.clone(),
            line: Some(line),
            ..Origin::default()
        });
        object
    });
    Ok(placed.collect())
}

/// The objects of a patch written into the kustomization.
pub(super) fn read_inline(text: &str) -> Result<Vec<Resource>, Error> {
    let objects = read(text.as_bytes()).map_err(Error::inline)?;
    Ok(objects.into_iter().map(|(_, object)| object).collect())
}

/// Changes the chosen objects by operations, which may change their identities.
pub(super) fn operate(
    resources: &mut Resources,
    chosen: &[usize],
    pass: &Pass<'_>,
    change: impl Fn(&mut Resource) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut problems = Problems::default();
    for at in chosen {
        if let Some(resource) = resources.body_mut(*at) {
            let before = resource.id();
            let result = pass.on(resource, &change);
            if resource.id() != before {
                resources.touch();
            }
            problems.note(result)?;
        }
    }
    problems.finish()
}

#[cfg(test)]
mod tests {
    use crate::trial::{built, first};
    use serde_json::{Value, json};

    const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {l: m}}, data: {x: '1'}}";

    fn check(fields: &str, pointer: &str, expected: Value) {
        assert_eq!(first(fields, MAP, pointer), expected, "{fields}");
    }

    fn patch(text: &str) -> String {
        format!("patches:\n- target: {{kind: ConfigMap}}\n  patch: |\n    {text}\n")
    }

    #[test]
    fn patches_change_content_and_no_identity() {
        let identity = json!({"name": "a", "labels": {"l": "m"}});
        let renaming = "{apiVersion: v1, kind: B, metadata: {name: b, namespace: c}, data: {x: 2}}";
        check(&patch(renaming), "/metadata", identity);
        check(&patch(renaming), "/kind", json!("ConfigMap"));
        check(&patch(renaming), "/data/x", json!("2"));
        let allowed = patch(renaming) + "  options: {allowNameChange: true, allowKindChange: true}";
        check(&allowed, "/metadata/name", json!("b"));
        check(&allowed, "/kind", json!("B"));
        check(
            &patch("- {op: replace, path: /metadata/name, value: b}"),
            "/metadata/name",
            json!("b"),
        );
        assert_eq!(
            built(&patch("{$patch: delete, kind: A, metadata: {name: a}}"), MAP),
            Ok(vec![])
        );
    }

    #[test]
    fn merge_keys_in_operations_are_merged() {
        let add = |value: &str| patch(&format!("- {{op: add, path: /data, value: {value}}}"));
        check(&add("{'<<': {x: a, z: b}, x: c}"), "/data", json!({"x": "c", "z": "b"}));
        check(
            &add("{'<<': [{x: a}, {x: b, z: c}]}"),
            "/data",
            json!({"x": "a", "z": "c"}),
        );
        check(&add("{a: [{'<<': null}]}"), "", Value::Null);
        check(&add("{'<<': [a]}"), "", Value::Null);
    }

    #[test]
    fn operations_see_what_kustomize_remembers_in_annotations() {
        let copy = "- {op: copy, from: /metadata/annotations, path: /data/seen}";
        let fields = format!("namePrefix: x-\ntransformers: [patch.yaml]\n{}", patch(copy));
        assert!(built(&fields, MAP).is_err());
        let seen = first(&format!("namePrefix: x-\n{}", patch(copy)), MAP, "/data/seen");
        assert_eq!(seen["internal.config.kubernetes.io/previousNames"], "a");
        check(&patch(copy), "/metadata/annotations", Value::Null);
    }

    #[test]
    fn what_takes_all_annotations_away_takes_the_memory() {
        let generator = "configMapGenerator: [{name: g, literals: [a=b]}]\n";
        let name = |annotations: &str| {
            let patch =
                format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: g, annotations: {annotations}}}}}");
            let objects = built(&format!("{generator}patches: [{{patch: '{patch}'}}]"), MAP).unwrap();
            objects[1]["metadata"]["name"].clone()
        };
        assert_ne!(name("{x: y}"), "g");
        assert_eq!(name("null"), "g");
        assert_eq!(name("{$patch: replace, x: y}"), "g");
    }
}
