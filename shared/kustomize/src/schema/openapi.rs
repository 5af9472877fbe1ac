//! Schemas from an OpenAPI (Swagger 2) document, as `openapi.path` of a kustomization names one.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Schema, Shape, Type, Types};

impl Schema {
    /// The types of an OpenAPI document's `definitions`.
    pub fn from_openapi(document: &Value) -> Self {
        Types::from_openapi(document).into()
    }
}

impl Types {
    fn from_openapi(document: &Value) -> Self {
        let none = serde_json::Map::new();
        let definitions = document.get("definitions").and_then(Value::as_object).unwrap_or(&none);
        let by_name = (definitions.keys().cloned().zip(0..)).collect();
        let mut schema = Types {
            types: definitions
                .values()
                .map(|definition| fields(definition, &by_name, 0))
                .collect(),
            by_kind: HashMap::new(),
            by_name,
            cluster_scoped: cluster_scoped(document),
        };
        for (number, definition) in definitions.values().enumerate() {
            for kind in definition
                .get("x-kubernetes-group-version-kind")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                schema.by_kind.insert(version_and_kind(kind), number);
            }
        }
        schema
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
        let schema = Schema::from_openapi(&serde_json::json!({"paths": {
            "/apis/x.y/v1/as/{name}": get("A"),
            "/apis/x.y/v1/bs": get("B"),
            "/apis/x.y/v1/namespaces/{namespace}/bs": get("B"),
        }}));
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
        let schema = Schema::from_openapi(&document);
        let kind = schema.of_kind("x.y/v1", "A").unwrap();
        let list = schema.field(&kind, "spec").and_then(|spec| schema.field(spec, "list"));
        assert!(
            matches!(list, Some(Shape::ListOf { merges: true, keys, item }) if keys == &["id"] && **item == Shape::Object(1))
        );
    }
}
