//! Random trees of kustomizations: bases, overlays on overlays, components, and any field with anything in it.
//!
//! Most of what comes out can be built. It does not use what is refused or different on purpose (see DEVIATION.md), nor the
//! network.

mod configuration;
mod objects;
mod patches;
mod paths;
mod replacements;
mod sources;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::dice::{Dice, IMAGES, NAMESPACES};
use crate::style::write;
use crate::tree::Tree;
use objects::{labels, texts};

/// The random tree of a seed, without `tenths` tenths of what its kustomizations do.
pub fn tree(seed: u64, tenths: usize) -> Tree {
    let mut generator = Generator {
        dice: Dice::new(seed),
        tree: Tree::default(),
        kustomizations: Vec::new(),
        used: BTreeSet::new(),
        files: 0,
        eager: 0,
    };
    // Trees of few features say more when they differ; those of many find what happens between them.
    generator.eager = generator.dice.pick(&[4, 8, 8, 15, 25]);
    let levels = generator.dice.pick(&[0, 0, 1, 1, 2, 3]);
    generator.kustomization("app", levels, false, &[]);
    generator.drop_changes(seed, tenths);
    for (path, fields) in std::mem::take(&mut generator.kustomizations) {
        let text = write(&mut generator.dice, &Value::Object(fields));
        generator.put(&path, text);
    }
    generator.tree.root = "app".to_owned();
    generator.tree.sorted = generator.dice.chance(50);
    generator.tree.free = generator.dice.chance(30);
    generator.tree
}

/// What is being generated.
struct Generator {
    dice: Dice,
    tree: Tree,
    /// Kustomization files that are to be written.
    kustomizations: Vec<(String, Map<String, Value>)>,
    /// Identities that are taken.
    used: BTreeSet<String>,
    files: usize,
    /// How often a feature is used, in percent.
    eager: u32,
}

fn scalar(dice: &mut Dice) -> Value {
    match dice.below(6) {
        0 => json!(dice.below(1000)),
        1 => json!(dice.chance(50)),
        2 => dice.plain(),
        _ => Value::String(dice.text()),
    }
}

fn text_of(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

fn name_of(object: &Value) -> String {
    text_of(&object["metadata"], "name")
}

impl Generator {
    fn put(&mut self, path: &str, content: impl Into<String>) {
        self.tree.files.insert(path.to_owned(), content.into());
    }

    /// A path for a new file in or below a directory.
    fn file(&mut self, dir: &str, extension: &str) -> String {
        self.files += 1;
        let below = if self.dice.chance(15) { "sub/" } else { "" };
        format!("{dir}/{below}f{}.{extension}", self.files)
    }

    /// Writes YAML into a new file; its path relative to the directory.
    fn yaml_file(&mut self, dir: &str, values: &[Value]) -> String {
        let path = self.file(dir, "yaml");
        let documents: Vec<String> = values.iter().map(|value| write(&mut self.dice, value)).collect();
        let mut text = documents.join("---\n");
        if self.dice.chance(10) {
            text = format!("---\n{text}");
        }
        if self.dice.chance(5) {
            text = format!("# starts with a comment\n\n{text}---\n");
        }
        self.put(&path, text);
        path[dir.len() + 1..].to_owned()
    }

    fn wants(&mut self, times: u32) -> bool {
        let chance = (self.eager * times).min(90);
        self.dice.chance(chance)
    }

    /// A name no object of the kind has yet.
    fn fresh_name(&mut self, kind: &str) -> String {
        for _ in 0..20 {
            let name = self.dice.name();
            if self.used.insert(format!("{kind}/{name}/")) {
                return name;
            }
        }
        self.files += 1;
        format!("n{}", self.files)
    }

    /// An object whose identity is not taken.
    fn object(&mut self) -> Value {
        loop {
            let object = objects::object(&mut self.dice);
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let identity = format!("{}/{}/{namespace}", text_of(&object, "kind"), name_of(&object));
            if self.used.insert(identity) {
                return object;
            }
        }
    }

    /// Gives a patch the identity of an object.
    fn identify(&mut self, patch: &mut Value, object: &Value) {
        patch["apiVersion"] = object["apiVersion"].clone();
        patch["kind"] = object["kind"].clone();
        patch["metadata"]["name"] = object["metadata"]["name"].clone();
        if let Some(namespace) = object["metadata"].get("namespace") {
            patch["metadata"]["namespace"] = namespace.clone();
        }
    }

    /// Writes a kustomization into a directory and those it is built on into others; what objects there are then.
    fn kustomization(&mut self, dir: &str, levels: usize, component: bool, outer: &[Value]) -> Vec<Value> {
        let mut fields = Map::new();
        let mut objects: Vec<Value> = Vec::new();
        let mut resources: Vec<Value> = Vec::new();
        if levels > 0 {
            let bases = self.dice.pick(&[1, 1, 2]);
            for base in 0..bases {
                let name = format!("{dir}-b{base}");
                let seen = objects.clone();
                objects.extend(self.kustomization(&name, levels - 1, false, &seen));
                resources.push(format!("../{name}").into());
            }
        }
        let count = match (levels, component) {
            (0, false) => self.dice.between(1, 4),
            _ => self.dice.below(3),
        };
        let mut batch = Vec::new();
        for _ in 0..count {
            batch.push(self.object());
            if self.dice.chance(60) {
                resources.push(self.yaml_file(dir, &batch).into());
                objects.append(&mut batch);
            }
        }
        if !batch.is_empty() {
            let wrapped = if self.dice.chance(8) {
                vec![json!({"apiVersion": "v1", "kind": "List", "items": batch.clone()})]
            } else {
                batch.clone()
            };
            resources.push(self.yaml_file(dir, &wrapped).into());
            objects.append(&mut batch);
        }
        if self.dice.chance(20) {
            self.dice.shuffle(&mut resources);
        }
        if !resources.is_empty() {
            fields.insert("resources".into(), Value::Array(resources));
        }
        // A component changes what is around it as well.
        let mut visible = objects.clone();
        visible.extend_from_slice(outer);
        self.generators(dir, &mut fields, &mut visible, &mut objects);
        if levels == 0 && !component && self.wants(2) {
            let name = format!("{dir}-c");
            let seen = visible.clone();
            let more = self.kustomization(&name, 0, true, &seen);
            visible.extend(more.iter().cloned());
            objects.extend(more);
            fields.insert("components".into(), json!([format!("../{name}")]));
        }
        self.simple_fields(&mut fields, &visible);
        if !visible.is_empty() {
            self.changes(dir, &mut fields, &visible);
            self.plugins(dir, &mut fields, &visible);
        }
        self.configuration(dir, &mut fields);
        if component {
            fields.insert("apiVersion".into(), "kustomize.config.k8s.io/v1alpha1".into());
            fields.insert("kind".into(), "Component".into());
        } else if fields.is_empty() || self.dice.chance(30) {
            fields.insert("apiVersion".into(), "kustomize.config.k8s.io/v1beta1".into());
            fields.insert("kind".into(), "Kustomization".into());
        }
        if fields.keys().all(|key| key == "apiVersion" || key == "kind") {
            fields.insert("namePrefix".into(), "p-".into());
        }
        let name = self.dice.pick(&[
            "kustomization.yaml",
            "kustomization.yaml",
            "kustomization.yaml",
            "kustomization.yml",
            "Kustomization",
        ]);
        self.kustomizations.push((format!("{dir}/{name}"), fields));
        objects
    }

    /// Leaves out some of the fields, and of the entries of lists, that change objects.
    fn drop_changes(&mut self, seed: u64, tenths: usize) {
        const KEPT: &[&str] = &[
            "apiVersion",
            "kind",
            "resources",
            "components",
            "configMapGenerator",
            "secretGenerator",
            "namePrefix",
        ];
        let mut entries: Vec<(usize, String, usize)> = Vec::new();
        for (at, (_, fields)) in self.kustomizations.iter().enumerate() {
            for (key, value) in fields.iter().filter(|(key, _)| !KEPT.contains(&key.as_str())) {
                let length = value.as_array().map_or(1, Vec::len);
                entries.extend((0..length).map(|index| (at, key.clone(), index)));
            }
        }
        Dice::new(!seed).shuffle(&mut entries);
        entries.truncate((entries.len() * tenths).div_ceil(10));
        // From the end, so that what is left keeps its place.
        entries.sort_by_key(|(_, _, index)| std::cmp::Reverse(*index));
        for (at, key, index) in entries {
            let fields = &mut self.kustomizations[at].1;
            let empty = match fields.get_mut(&key) {
                Some(Value::Array(items)) => {
                    items.remove(index);
                    items.is_empty()
                }
                _ => true,
            };
            if empty {
                fields.remove(&key);
            }
            if fields.keys().all(|key| key == "apiVersion" || key == "kind") {
                fields.insert("namePrefix".into(), "p-".into());
            }
        }
    }

    fn generators(
        &mut self,
        dir: &str,
        fields: &mut Map<String, Value>,
        visible: &mut Vec<Value>,
        own: &mut Vec<Value>,
    ) {
        for (field, kind) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
            if !self.wants(2) {
                continue;
            }
            let mut entries = Vec::new();
            for _ in 0..self.dice.between(1, 2) {
                let there: Vec<String> = visible
                    .iter()
                    .filter(|object| object["kind"] == kind && object["metadata"].get("namespace").is_none())
                    .map(name_of)
                    .collect();
                let behavior = (!there.is_empty() && self.dice.chance(40))
                    .then(|| (self.dice.pick(&["merge", "replace", "merge"]), self.dice.pick(&there)));
                let new = behavior.is_none();
                let entry = self.generated(dir, kind, behavior);
                if new {
                    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": entry["name"]}});
                    if entry.get("literals").is_some() {
                        object["data"] = json!({"L0": "a:b"});
                    }
                    if let Some(namespace) = entry.get("namespace") {
                        object["metadata"]["namespace"] = namespace.clone();
                    }
                    visible.push(object.clone());
                    own.push(object);
                }
                entries.push(entry);
            }
            fields.insert(field.into(), Value::Array(entries));
        }
        if self.wants(1) {
            let options = self.generator_options();
            fields.insert("generatorOptions".into(), options);
        }
    }

    fn simple_fields(&mut self, fields: &mut Map<String, Value>, visible: &[Value]) {
        let mut set = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
        if self.wants(3) {
            set("namePrefix", self.dice.pick(&["p-", "dev-", "a.b-"]).into());
        }
        if self.wants(2) {
            set("nameSuffix", self.dice.pick(&["-s", "-v2"]).into());
        }
        if self.wants(3) {
            set("namespace", self.dice.pick(&["prod", "other", "team-a"]).into());
        }
        if self.wants(1) {
            set("commonLabels", labels(&mut self.dice));
        }
        if self.wants(2) {
            set("commonAnnotations", texts(&mut self.dice));
        }
        if self.wants(2) {
            let count = self.dice.between(1, 2);
            let entries = (0..count).map(|_| self.labels_entry()).collect();
            set("labels", entries);
        }
        if self.wants(2) {
            let count = self.dice.between(1, 2);
            let entries = (0..count).map(|_| self.image()).collect();
            set("images", entries);
        }
        if self.wants(2) {
            let counted: Vec<String> = visible
                .iter()
                .filter(|object| {
                    ["Deployment", "StatefulSet", "ReplicaSet"].contains(&text_of(object, "kind").as_str())
                })
                .map(name_of)
                .collect();
            if !counted.is_empty() {
                set(
                    "replicas",
                    json!([{"name": self.dice.pick(&counted), "count": self.dice.below(20)}]),
                );
            }
        }
        if self.wants(1) {
            let known = ["originAnnotations", "transformerAnnotations", "managedByLabel"];
            let count = self.dice.between(1, 3);
            set(
                "buildMetadata",
                (0..count).map(|_| Value::from(self.dice.pick(&known))).collect(),
            );
        }
        if self.wants(1) {
            let mut options = json!({"order": self.dice.pick(&["legacy", "fifo", "legacy"])});
            if options["order"] == "legacy" && self.dice.chance(50) {
                options["legacySortOptions"] =
                    json!({"orderFirst": ["Secret", "Deployment"], "orderLast": ["Namespace", "Thing"]});
            }
            set("sortOptions", options);
        }
    }

    fn labels_entry(&mut self) -> Value {
        let mut entry = json!({"pairs": labels(&mut self.dice)});
        match self.dice.below(5) {
            0 => entry["includeSelectors"] = json!(true),
            1 => entry["includeTemplates"] = json!(true),
            2 => {
                entry["fields"] = json!([{"path": "spec/labels", "create": self.dice.chance(60), "kind": "Zoo"}, {"path": "spec/template/metadata/labels", "group": "apps", "create": true}])
            }
            _ => {}
        }
        entry
    }

    fn image(&mut self) -> Value {
        let image = self.dice.pick(IMAGES);
        let name = match image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name
                .split('@')
                .next()
                .unwrap_or(name)
                .split(":1")
                .next()
                .unwrap_or(name),
            _ => image,
        };
        let mut entry = json!({"name": name});
        if self.dice.chance(40) {
            entry["newName"] = self
                .dice
                .pick(&["other", "registry.example.com:5000/x/y", "localhost/z"])
                .into();
        }
        match self.dice.below(5) {
            0 => entry["digest"] = "sha256:aaaa".into(),
            1 => entry["tagSuffix"] = "-fips".into(),
            2 => {}
            _ => entry["newTag"] = self.dice.label().into(),
        }
        if self.dice.chance(10) {
            entry["name"] = self.dice.pick(&["team/.*", ".*", "ngin."]).into();
        }
        entry
    }

    /// Patches, replacements and vars.
    fn changes(&mut self, dir: &str, fields: &mut Map<String, Value>, visible: &[Value]) {
        if self.wants(5) {
            let count = self.dice.between(1, 3);
            let entries = (0..count).map(|_| self.patch(dir, visible)).collect();
            fields.insert("patches".into(), entries);
        }
        if self.wants(1) {
            let object = self.dice.pick(visible);
            let mut patch = patches::strategic(&mut self.dice, &object);
            self.identify(&mut patch, &object);
            let entry = if self.dice.chance(50) {
                self.yaml_file(dir, &[patch])
            } else {
                write(&mut self.dice, &patch)
            };
            fields.insert("patchesStrategicMerge".into(), json!([entry]));
        }
        if self.wants(1) {
            let object = self.dice.pick(visible);
            let operations = patches::operations(&mut self.dice, &object);
            let version = text_of(&object, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", &version));
            let mut entry = json!({"target": {"version": version, "kind": object["kind"], "name": name_of(&object)}});
            if !group.is_empty() {
                entry["target"]["group"] = group.into();
            }
            if self.dice.chance(50) {
                entry["path"] = self.yaml_file(dir, &[operations]).into();
            } else {
                entry["patch"] = write(&mut self.dice, &operations).into();
            }
            fields.insert("patchesJson6902".into(), json!([entry]));
        }
        if self.wants(4) {
            let count = self.dice.between(1, 2);
            let entries: Vec<Value> = (0..count)
                .map(|_| replacements::replacement(&mut self.dice, visible))
                .collect();
            let entries = if self.dice.chance(15) {
                let file = if self.dice.chance(50) {
                    self.yaml_file(dir, &[Value::Array(entries)])
                } else {
                    self.yaml_file(dir, &entries[..1])
                };
                json!([{"path": file}])
            } else {
                Value::Array(entries)
            };
            fields.insert("replacements".into(), entries);
        }
        if self.wants(1) {
            let object = self.dice.pick(visible);
            let mut var = json!({"name": self.dice.pick(&["VAR", "web.NAME"]), "objref": {"apiVersion": object["apiVersion"], "kind": object["kind"], "name": name_of(&object)}});
            if let Some(namespace) = object["metadata"].get("namespace") {
                var["objref"]["namespace"] = namespace.clone();
            }
            if self.dice.chance(50) {
                let path = self.dice.pick(&[
                    "metadata.name",
                    "metadata.namespace",
                    "metadata.labels.app",
                    "spec.replicas",
                    "spec.ports[0].port",
                    "data.key",
                ]);
                var["fieldref"] = json!({"fieldPath": path});
            }
            fields.insert("vars".into(), json!([var]));
        }
    }

    fn patch(&mut self, dir: &str, visible: &[Value]) -> Value {
        let object = self.dice.pick(visible);
        let mut entry = Map::new();
        let json = self.dice.chance(40);
        let target = json || self.dice.chance(35);
        let mut patch = if json {
            patches::operations(&mut self.dice, &object)
        } else {
            patches::strategic(&mut self.dice, &object)
        };
        if !json {
            self.identify(&mut patch, &object);
            if target && self.dice.chance(40) {
                patch["metadata"]["name"] = "ignored".into();
            }
            // What has a hash and is neither of these is hashed by kustomize together with its lines and columns.
            let hashed = object["kind"] == "ConfigMap" || object["kind"] == "Secret";
            if !hashed && self.dice.chance(10) {
                let options = self.dice.pick(&["allowNameChange", "allowKindChange"]);
                entry.insert("options".into(), json!({options: true}));
                if target && options == "allowKindChange" {
                    patch["kind"] = "Changed".into();
                }
            }
        }
        if target {
            entry.insert("target".into(), self.target(&object));
        }
        if self.dice.chance(35) {
            let documents = if !json && !target && self.dice.chance(15) {
                let other = self.dice.pick(visible);
                let mut more = patches::strategic(&mut self.dice, &other);
                self.identify(&mut more, &other);
                vec![patch, more]
            } else {
                vec![patch]
            };
            entry.insert("path".into(), self.yaml_file(dir, &documents).into());
        } else {
            let text = write(&mut self.dice, &patch);
            entry.insert("patch".into(), text.into());
        }
        Value::Object(entry)
    }

    fn target(&mut self, object: &Value) -> Value {
        let kind = text_of(object, "kind");
        let name = name_of(object);
        match self.dice.below(9) {
            0 => json!({"kind": kind}),
            1 => json!({"kind": kind, "name": ".*"}),
            2 => json!({"kind": format!("{kind}|Other"), "name": format!("{}.*", &name[..1])}),
            3 => {
                json!({"labelSelector": self.dice.pick(&["app", "app in (web, v1)", "tier!=web", "!app"]), "kind": kind})
            }
            4 => json!({"annotationSelector": self.dice.pick(&["x", "!key"]), "kind": kind}),
            5 => json!({"namespace": self.dice.pick(NAMESPACES), "kind": kind}),
            6 => {
                let version = text_of(object, "apiVersion");
                let (group, version) = version.split_once('/').unwrap_or(("", &version));
                json!({"group": group, "version": version, "kind": kind, "name": name})
            }
            _ => json!({"kind": kind, "name": name}),
        }
    }

    /// Generators, transformers and validators.
    fn plugins(&mut self, dir: &str, fields: &mut Map<String, Value>, visible: &[Value]) {
        for field in ["generators", "transformers", "validators"] {
            if !self.wants(1) {
                continue;
            }
            let mut entries = Vec::new();
            for _ in 0..self.dice.between(1, 2) {
                let config = match field {
                    "generators" => self.generator_plugin(dir),
                    "validators" => {
                        json!({"apiVersion": "builtin", "kind": "ImageTagTransformer", "metadata": {"name": format!("v{}", entries.len())}, "imageTag": {"name": "none", "newTag": "x"}})
                    }
                    _ => self.transformer_plugin(visible),
                };
                entries.push(match self.dice.below(3) {
                    0 => Value::String(write(&mut self.dice, &config)),
                    1 => {
                        self.files += 1;
                        let name = format!("plugins{}", self.files);
                        let file = self.yaml_file(&format!("{dir}/{name}"), &[config]);
                        let text = write(&mut self.dice, &json!({"resources": [file]}));
                        self.put(&format!("{dir}/{name}/kustomization.yaml"), text);
                        name.into()
                    }
                    _ => self.yaml_file(dir, &[config]).into(),
                });
            }
            fields.insert(field.into(), Value::Array(entries));
        }
    }
}
