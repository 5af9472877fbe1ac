//! Schemas from an OpenAPI (Swagger 2) document, as `openapi.path` of a kustomization names one.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Builtin, Schema, Shape, Type, Types};

impl Schema {
    /// The types of an OpenAPI document's `definitions`, beside or instead of those that are built in.
    pub fn from_openapi(document: &Value, builtin: Builtin) -> Self {
        let mut types = match builtin {
            Builtin::Gone => Types::default(),
            Builtin::Below | Builtin::Above => Types::clone(Schema::builtin()),
        };
        types.add_openapi(document, builtin != Builtin::Above);
        types.into()
    }
}

impl Types {
    /// Adds the types of a document; `over` is whether they replace those of the same names and kinds.
    fn add_openapi(&mut self, document: &Value, over: bool) {
        let none = serde_json::Map::new();
        let definitions = document.get("definitions").and_then(Value::as_object).unwrap_or(&none);
        // References may be to any of them, so that all have their numbers first.
        let mut added = Vec::with_capacity(definitions.len());
        for (name, definition) in definitions {
            let number = match self.by_name.get(name) {
                Some(_) if !over => continue,
                Some(number) => *number,
                None => {
                    self.types.push(Type::default());
                    self.by_name.insert(name.clone(), self.types.len() - 1);
                    self.types.len() - 1
                }
            };
            added.push((number, definition));
        }
        for (number, definition) in added {
            if let Some(slot) = self.types.get_mut(number) {
                *slot = fields(definition, &self.by_name, 0);
            }
            let kinds = definition
                .get("x-kubernetes-group-version-kind")
                .and_then(Value::as_array);
            for kind in kinds.into_iter().flatten() {
                let entry = self.by_kind.entry(version_and_kind(kind));
                if over {
                    entry.insert_entry(number);
                } else {
                    entry.or_insert(number);
                }
            }
        }
        self.cluster_scoped = cluster_scoped(document);
    }

    /// The shape that a schema on its own describes; its references mean the definitions of this schema.
    pub fn shape(&self, schema: &Value) -> Shape {
        shape(schema, &self.by_name, 0)
    }
}

/// The `apiVersion` and kind in a group, version and kind.
fn version_and_kind(gvk: &Value) -> (String, String) {
    let part = |name: &str| gvk.get(name).and_then(Value::as_str).unwrap_or_default();
    let version = match part("group") {
        "" => part("version").to_owned(),
        group => format!("{group}/{}", part("version")),
    };
    (version, part("kind").to_owned())
}

/// The types that are read at paths without a namespace, and at none with one.
fn cluster_scoped(document: &Value) -> HashSet<(String, String)> {
    let (mut namespaced, mut others) = (HashSet::new(), HashSet::new());
    let paths = document.get("paths").and_then(Value::as_object);
    for (path, operations) in paths.into_iter().flatten() {
        let gvk = operations
            .get("get")
            .and_then(|get| get.get("x-kubernetes-group-version-kind"));
        let Some(gvk) = gvk.filter(|gvk| gvk.is_object()) else {
            continue;
        };
        let known = if path.contains("namespaces/{namespace}") {
            &mut namespaced
        } else {
            &mut others
        };
        known.insert(version_and_kind(gvk));
    }
    others.retain(|kind| !namespaced.contains(kind));
    others
}

/// Schemas written inline may nest only so deep.
const MAX_DEPTH: usize = 64;

fn fields(definition: &Value, names: &HashMap<String, usize>, depth: usize) -> Type {
    let properties = definition.get("properties").and_then(Value::as_object);
    Type {
        fields: properties
            .into_iter()
            .flatten()
            .map(|(field, property)| (field.clone(), shape(property, names, depth)))
            .collect(),
        rest: definition
            .get("additionalProperties")
            .filter(|rest| rest.is_object())
            .map(|rest| Box::new(shape(rest, names, depth))),
    }
}

fn shape(property: &Value, names: &HashMap<String, usize>, depth: usize) -> Shape {
    if depth > MAX_DEPTH {
        return Shape::Opaque;
    }
    let text = |name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default();
    let reference = text("$ref");
    if !reference.is_empty() {
        let name = reference.strip_prefix("#/definitions/").unwrap_or(reference);
        return names.get(name).map_or(Shape::Opaque, |number| Shape::Object(*number));
    }
    let strategy = text("x-kubernetes-patch-strategy");
    let items = property.get("items");
    if text("type") == "array" && (items.is_some() || !strategy.is_empty()) {
        let keys = match property.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
            Some(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => vec![text("x-kubernetes-patch-merge-key").to_owned()]
                .into_iter()
                .filter(|key| !key.is_empty())
                .collect(),
        };
        return Shape::ListOf {
            merges: strategy.split(',').any(|part| part == "merge"),
            keys,
            item: Box::new(items.map_or(Shape::Opaque, |items| shape(items, names, depth + 1))),
        };
    }
    if property.get("properties").is_some() {
        return Shape::Inline(Box::new(fields(property, names, depth + 1)));
    }
    match property.get("additionalProperties").filter(|rest| rest.is_object()) {
        Some(rest) => Shape::MapOf(Box::new(shape(rest, names, depth + 1))),
        None => Shape::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_only_outside_of_namespaces_have_none() {
        let get = |kind: &str| serde_json::json!({"get": {"x-kubernetes-group-version-kind": {"group": "x.y", "version": "v1", "kind": kind}}});
        let schema = Schema::from_openapi(
            &serde_json::json!({"paths": {
                "/apis/x.y/v1/as/{name}": get("A"),
                "/apis/x.y/v1/bs": get("B"),
                "/apis/x.y/v1/namespaces/{namespace}/bs": get("B"),
            }}),
            Builtin::Gone,
        );
        assert!(schema.is_cluster_scoped("x.y/v1", "A"));
        assert!(!schema.is_cluster_scoped("x.y/v1", "B"));
    }

    #[test]
    fn merge_keys_come_from_inline_and_referenced_types() {
        let document = serde_json::json!({"definitions": {
            "a": {
                "x-kubernetes-group-version-kind": [{"group": "x.y", "version": "v1", "kind": "A"}],
                "properties": {"spec": {"properties": {"list": {
                    "type": "array", "items": {"$ref": "#/definitions/b"},
                    "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "id",
                }}}},
            },
            "b": {"properties": {"id": {"type": "string"}}},
        }});
        let schema = Schema::from_openapi(&document, Builtin::Gone);
        let kind = schema.of_kind("x.y/v1", "A").unwrap();
        let list = schema.field(&kind, "spec").and_then(|spec| schema.field(spec, "list"));
        assert!(
            matches!(list, Some(Shape::ListOf { merges: true, keys, item }) if keys == &["id"] && **item == Shape::Object(1))
        );
    }

    #[test]
    fn built_in_types_may_stay_below_or_above() {
        let document = serde_json::json!({"definitions": {
            "io.k8s.api.core.v1.PodSpec": {"properties": {"containers": {"type": "array", "items": {}}}},
            "own": {
                "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}],
                "properties": {"spec": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"}},
            },
            "other": {
                "x-kubernetes-group-version-kind": [{"group": "x.y", "version": "v1", "kind": "A"}],
                "properties": {"pod": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"}},
            },
        }});
        let check = |builtin: Builtin, version: &str, kind: &str, path: &[&str], expected: Option<bool>| {
            let schema = Schema::from_openapi(&document, builtin);
            let found = schema.of_kind(version, kind).and_then(|kind| {
                path.iter()
                    .try_fold(kind, |shape, field| schema.field(&shape, field).cloned())
            });
            let merges = found.map(|shape| matches!(shape, Shape::ListOf { merges: true, .. }));
            assert_eq!(merges, expected, "{builtin:?} {kind}");
        };
        let deployed = ["spec", "template", "spec", "containers"];
        check(Builtin::Gone, "apps/v1", "Deployment", &deployed, None);
        check(Builtin::Below, "apps/v1", "Deployment", &deployed, Some(false));
        check(Builtin::Above, "apps/v1", "Deployment", &deployed, Some(true));
        for (builtin, merges) in [(Builtin::Gone, false), (Builtin::Below, false), (Builtin::Above, true)] {
            check(builtin, "v1", "Pod", &["spec", "containers"], Some(merges));
            check(builtin, "x.y/v1", "A", &["pod", "containers"], Some(merges));
        }
    }
}
