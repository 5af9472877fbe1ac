//! Random config maps and secrets to generate, and plugins.

use serde_json::{Map, Value, json};

use super::Generator;
use super::objects::{labels, texts};
use super::patches;
use super::{name_of, text_of};
use crate::dice::{IMAGES, NAMESPACES};

impl Generator {
    /// An entry of `configMapGenerator` or `secretGenerator`.
    pub fn generated(&mut self, dir: &str, kind: &str, behavior: Option<(&str, String)>) -> Value {
        let mut entry = Map::new();
        let name = match &behavior {
            Some((_, name)) => name.clone(),
            None => self.fresh_name(kind),
        };
        entry.insert("name".into(), name.into());
        if let Some((behavior, _)) = behavior {
            entry.insert("behavior".into(), behavior.into());
        }
        for _ in 0..self.dice.between(1, 2) {
            match self.dice.below(4) {
                0 => {
                    let path = self.file(dir, "txt");
                    let text = self.dice.text();
                    self.put(&path, text);
                    let local = path.strip_prefix(&format!("{dir}/")).unwrap_or(&path).to_owned();
                    let source = if self.dice.chance(40) {
                        format!("{}={local}", self.dice.pick(&["renamed", "k.txt", "a_b-c"]))
                    } else {
                        local
                    };
                    entry.insert("files".into(), json!([source]));
                }
                1 => {
                    let path = self.file(dir, "env");
                    let lines: Vec<String> = (0..self.dice.between(1, 3))
                        .map(|at| match self.dice.below(6) {
                            0 => "# a comment".to_owned(),
                            1 => String::new(),
                            _ => format!("E{at}={}", self.dice.label()),
                        })
                        .collect();
                    self.put(&path, lines.join("\n"));
                    let local = path.strip_prefix(&format!("{dir}/")).unwrap_or(&path).to_owned();
                    entry.insert("envs".into(), json!([local]));
                }
                _ => {
                    let literals: Vec<Value> = (0..self.dice.between(1, 2))
                        .map(|at| {
                            let quote = self.dice.pick(&["", "", "", "\"", "'"]);
                            let text = self.dice.text();
                            Value::String(format!("L{at}={quote}{text}{quote}"))
                        })
                        .collect();
                    entry.insert("literals".into(), Value::Array(literals));
                }
            }
        }
        if self.dice.chance(12) {
            entry.insert("namespace".into(), self.dice.pick(NAMESPACES).into());
        }
        if self.dice.chance(25) {
            entry.insert("options".into(), self.generator_options());
        }
        if kind == "Secret" && self.dice.chance(40) {
            entry.insert(
                "type".into(),
                self.dice.pick(&["Opaque", "kubernetes.io/tls", "example.com/x"]).into(),
            );
        }
        Value::Object(entry)
    }

    pub fn generator_options(&mut self) -> Value {
        let mut options = Map::new();
        if self.dice.chance(40) {
            options.insert("labels".into(), labels(&mut self.dice));
        }
        if self.dice.chance(40) {
            options.insert("annotations".into(), texts(&mut self.dice));
        }
        if self.dice.chance(50) {
            options.insert("disableNameSuffixHash".into(), json!(self.dice.chance(80)));
        }
        if self.dice.chance(20) {
            options.insert("immutable".into(), json!(true));
        }
        Value::Object(options)
    }

    /// The configuration of a built-in generator.
    pub fn generator_plugin(&mut self, dir: &str) -> Value {
        match self.dice.below(3) {
            0 => {
                json!({"apiVersion": "builtin", "kind": "IAMPolicyGenerator", "metadata": {"name": format!("iam{}", self.files)}, "cloud": "gke", "projectId": "p-1",
                "kubernetesService": {"name": "sa", "namespace": "team-a"}, "serviceAccount": {"name": "gsa"}})
            }
            at => {
                let (plugin, kind) = [("ConfigMapGenerator", "ConfigMap"), ("SecretGenerator", "Secret")][at - 1];
                let mut config = self.generated(dir, kind, None);
                if let Value::Object(config) = &mut config {
                    let name = config.remove("name").unwrap_or_default();
                    config.insert("apiVersion".into(), "builtin".into());
                    config.insert("kind".into(), plugin.into());
                    config.insert("metadata".into(), json!({"name": name}));
                }
                config
            }
        }
    }

    /// The configuration of a built-in transformer.
    pub fn transformer_plugin(&mut self, objects: &[Value]) -> Value {
        let object = objects[self.dice.below(objects.len())].clone();
        self.files += 1;
        let name = format!("t{}", self.files);
        let dice = &mut self.dice;
        let name_specs = json!([{"path": "metadata/name"}, {"kind": "Zoo", "path": "spec/keeper/name"}]);
        let (kind, fields) = match dice.below(15) {
            0 => (
                "AnnotationsTransformer",
                json!({"annotations": texts(dice), "fieldSpecs": [{"path": "metadata/annotations", "create": true}, {"kind": "Thing", "path": "spec/map", "create": dice.chance(50)}]}),
            ),
            1 => (
                "LabelTransformer",
                json!({"labels": labels(dice), "fieldSpecs": [{"path": "metadata/labels", "create": true}, {"kind": "Deployment", "path": "spec/template/metadata/labels"}]}),
            ),
            2 => (
                "NamespaceTransformer",
                json!({"metadata": {"namespace": "plugin-ns"},
                "unsetOnly": dice.chance(50), "setRoleBindingSubjects": dice.pick(&["defaultOnly", "allServiceAccounts", "none"]),
                "fieldSpecs": [{"path": "metadata/namespace", "create": dice.chance(80)}, {"path": "metadata/name", "kind": "Namespace", "create": true}]}),
            ),
            3 => ("PrefixTransformer", json!({"prefix": "pp-", "fieldSpecs": name_specs})),
            4 => ("SuffixTransformer", json!({"suffix": "-ss", "fieldSpecs": name_specs})),
            5 => (
                "PrefixSuffixTransformer",
                json!({"prefix": "pp-", "suffix": "-ss", "fieldSpecs": [{"path": "metadata/name"}]}),
            ),
            6 => (
                "ImageTagTransformer",
                json!({"imageTag": {"name": "nginx", "newTag": dice.label()}, "fieldSpecs": [{"path": "spec/containers[]/image"}, {"kind": "Zoo", "path": "spec/image"}]}),
            ),
            7 => (
                "ReplicaCountTransformer",
                json!({"replica": {"name": name_of(&object), "count": 7}, "fieldSpecs": [{"path": "spec/replicas", "create": dice.chance(50), "kind": text_of(&object, "kind")}]}),
            ),
            8 => (
                "PatchTransformer",
                json!({"patch": patches::operations(dice, &object).to_string(), "target": {"kind": text_of(&object, "kind"), "name": name_of(&object)}}),
            ),
            9 => (
                "PatchJson6902Transformer",
                json!({"jsonOp": patches::operations(dice, &object).to_string(), "target": {"kind": text_of(&object, "kind"), "name": name_of(&object)}}),
            ),
            10 => {
                let mut patch = patches::strategic(dice, &object);
                self.identify(&mut patch, &object);
                return json!({"apiVersion": "builtin", "kind": "PatchStrategicMergeTransformer", "metadata": {"name": name}, "patches": crate::style::write(&mut self.dice, &patch)});
            }
            11 => (
                "ReplacementTransformer",
                json!({"replacements": [super::replacements::replacement(dice, objects)]}),
            ),
            12 => (
                "ValueAddTransformer",
                json!({"value": dice.label(), "targets": [{"selector": {"kind": text_of(&object, "kind")}, "fieldPath": "/metadata/annotations/added"}, {"fieldPath": "metadata/namespace", "filePathPosition": dice.below(2)}]}),
            ),
            13 => (
                "ImageTagTransformer",
                json!({"imageTag": {"name": dice.pick(IMAGES).split(':').next(), "newName": "other/image", "digest": "sha256:aa"}}),
            ),
            _ => ("HashTransformer", json!({})),
        };
        let mut config = json!({"apiVersion": "builtin", "kind": kind});
        if let (Value::Object(config), Value::Object(fields)) = (&mut config, fields) {
            config.extend(fields);
        }
        config["metadata"]["name"] = name.into();
        config
    }
}
