//! Random configurations of transformers, definitions of custom types, and schemas.

use serde_json::{Map, Value, json};

use super::Generator;

impl Generator {
    /// Configurations, crds and schemas.
    pub fn configuration(&mut self, dir: &str, fields: &mut Map<String, Value>) {
        if self.wants(1) {
            let mut config = Map::new();
            let dice = &mut self.dice;
            let all = [
                (
                    "nameReference",
                    json!([{"kind": "Gorilla", "group": "example.com", "fieldSpecs": [{"kind": "Zoo", "path": "spec/gorillaRef/name"}]},
                    {"kind": "Secret", "version": "v1", "fieldSpecs": [{"kind": "Zoo", "path": "spec/keepers"}, {"kind": "Thing", "path": "spec/items/name"}]}]),
                ),
                ("namePrefix", json!([{"kind": "Zoo", "path": "spec/keeper/name"}])),
                ("nameSuffix", json!([{"kind": "Zoo", "path": "spec/keeper/name"}])),
                (
                    "namespace",
                    json!([{"kind": "Zoo", "path": "spec/gorillaRef/namespace", "create": true}]),
                ),
                (
                    "commonLabels",
                    json!([{"kind": "Zoo", "path": "spec/labels", "create": dice.chance(50)}]),
                ),
                (
                    "commonAnnotations",
                    json!([{"kind": "Thing", "path": "spec/map", "create": dice.chance(50)}]),
                ),
                (
                    "images",
                    json!([{"kind": "Zoo", "path": "spec/image"}, {"kind": "Zoo", "path": "spec/containers/image"}]),
                ),
                (
                    "replicas",
                    json!([{"kind": "Zoo", "path": "spec/replicas", "create": true}]),
                ),
                (
                    "varReference",
                    json!([{"kind": "Zoo", "path": "spec/note"}, {"kind": "Thing", "path": "spec"}]),
                ),
            ];
            for (key, specs) in all {
                if dice.chance(40) {
                    config.insert(key.into(), specs);
                }
            }
            let file = self.yaml_file(dir, &[Value::Object(config)]);
            fields.insert("configurations".into(), json!([file]));
        }
        if self.wants(1) {
            let reference =
                |kind: &str| json!({"x-kubernetes-object-ref-api-version": "v1", "x-kubernetes-object-ref-kind": kind});
            let schema = json!({
                "example.com/v1.Zoo": {"Schema": {"properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": {"$ref": "example.com/v1.ZooSpec"}}}},
                "example.com/v1.ZooSpec": {"Schema": {"properties": {"keeper": reference("Secret"), "gorillaRef": reference("ConfigMap"),
                    "labels": {"x-kubernetes-label-selector": true}, "note": {"x-kubernetes-annotation": true}}}},
            });
            let path = format!("{dir}/crds.json");
            self.put(&path, schema.to_string());
            fields.insert("crds".into(), json!(["crds.json"]));
        }
        if self.wants(1) {
            let list = |key: &str| json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": key});
            let key = self.dice.pick(&["id", "name"]);
            let schema = json!({"definitions": {
                "v1.Thing": {"x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Thing", "version": "v1"}],
                    "properties": {"spec": {"type": "object", "properties": {"items": list(key), "list": {"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"}}}}},
                "v1.Zoo": {"x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Zoo", "version": "v1"}],
                    "properties": {"spec": {"$ref": "#/definitions/v1.ZooSpec"}}},
                "v1.ZooSpec": {"type": "object", "properties": {"containers": list("name")}},
            }});
            self.put(&format!("{dir}/schema.json"), schema.to_string());
            fields.insert("openapi".into(), json!({"path": "schema.json"}));
        }
    }
}
