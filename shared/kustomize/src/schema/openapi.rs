//! Schemas from an OpenAPI (Swagger 2) document, as `openapi.path` of a kustomization names one.

use std::collections::HashMap;

use serde_json::Value;

use super::{Schema, Shape, Type};

impl Schema {
    /// The types of an OpenAPI document's `definitions`.
    pub fn from_openapi(document: &Value) -> Self {
        let Some(definitions) = document.get("definitions").and_then(Value::as_object) else {
            return Schema::default();
        };
        let numbers = definitions
            .keys()
            .enumerate()
            .map(|(number, name)| (name.as_str(), number))
            .collect();
        let types = definitions.iter().map(|_| Type::default()).collect();
        let mut reading = Reading {
            numbers,
            schema: Schema {
                types,
                by_kind: HashMap::new(),
            },
        };
        for (number, definition) in definitions.values().enumerate() {
            let known = reading.fields(definition, 0);
            if let Some(slot) = reading.schema.types.get_mut(number) {
                *slot = known;
            }
            for kind in definition
                .get("x-kubernetes-group-version-kind")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let part = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
                let version = match part("group") {
                    "" => part("version").to_owned(),
                    group => format!("{group}/{}", part("version")),
                };
                reading
                    .schema
                    .by_kind
                    .insert((version, part("kind").to_owned()), number);
            }
        }
        reading.schema
    }
}

/// Schemas written inline may nest only so deep.
const MAX_DEPTH: usize = 64;

struct Reading<'a> {
    numbers: HashMap<&'a str, usize>,
    schema: Schema,
}

impl Reading<'_> {
    fn fields(&mut self, definition: &Value, depth: usize) -> Type {
        let mut known = Type::default();
        for (field, property) in definition
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            known.fields.insert(field.clone(), self.shape(property, depth));
        }
        known.rest = definition
            .get("additionalProperties")
            .filter(|rest| rest.is_object())
            .map(|rest| Box::new(self.shape(rest, depth)));
        known
    }

    fn shape(&mut self, property: &Value, depth: usize) -> Shape {
        if depth > MAX_DEPTH {
            return Shape::Opaque;
        }
        let text = |name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default();
        let reference = text("$ref");
        if !reference.is_empty() {
            let name = reference.strip_prefix("#/definitions/").unwrap_or(reference);
            return self
                .numbers
                .get(name)
                .map_or(Shape::Opaque, |number| Shape::Object(*number));
        }
        if let Some(items) = property.get("items").filter(|_| text("type") == "array") {
            let strategy = text("x-kubernetes-patch-strategy");
            let keys = match property.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
                Some(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                None => vec![text("x-kubernetes-patch-merge-key").to_owned()]
                    .into_iter()
                    .filter(|key| !key.is_empty())
                    .collect(),
            };
            let merges = strategy.split(',').any(|part| part == "merge");
            return Shape::ListOf {
                merges,
                keys,
                item: Box::new(self.shape(items, depth + 1)),
            };
        }
        if property.get("properties").is_some() {
            let known = self.fields(property, depth + 1);
            self.schema.types.push(known);
            return Shape::Object(self.schema.types.len() - 1);
        }
        match property.get("additionalProperties").filter(|rest| rest.is_object()) {
            Some(rest) => Shape::MapOf(Box::new(self.shape(rest, depth + 1))),
            None => Shape::Opaque,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
