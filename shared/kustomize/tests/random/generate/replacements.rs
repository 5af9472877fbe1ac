//! Random replacements between objects that are there.

use serde_json::{Map, Value, json};

use super::paths::{self, Step};
use super::{name_of, text_of};
use crate::dice::Dice;

/// An entry of `replacements`.
pub fn replacement(dice: &mut Dice, objects: &[Value]) -> Value {
    let mut entry = Map::new();
    let source = objects[dice.below(objects.len())].clone();
    let mut names = false;
    if dice.chance(12) {
        entry.insert("sourceValue".into(), dice.text().into());
    } else {
        let origin = origin(dice, &source);
        // An object whose name becomes empty or a list is refused at once; names come from names.
        names = origin.get("options").is_none() && origin.get("fieldPath").is_none_or(|path| path == "metadata.name");
        entry.insert("source".into(), origin);
    }
    let count = dice.between(1, 2);
    let targets = (0..count)
        .map(|_| target(dice, objects, &name_of(&source), names))
        .collect();
    entry.insert("targets".into(), targets);
    Value::Object(entry)
}

fn origin(dice: &mut Dice, object: &Value) -> Value {
    let mut source = json!({"kind": text_of(object, "kind"), "name": name_of(object)});
    if dice.chance(25) {
        let version = text_of(object, "apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        if !group.is_empty() {
            source["group"] = group.into();
        }
        source["version"] = version.into();
    }
    if let Some(namespace) = object["metadata"]["namespace"].as_str() {
        source["namespace"] = namespace.into();
    }
    if dice.chance(85) {
        let wants_scalar = dice.chance(85);
        source["fieldPath"] = field_path(dice, object, wants_scalar, false).into();
    }
    if dice.chance(15) {
        source["options"] = json!({"delimiter": dice.pick(&[":", "/", ".", "-", "e"]), "index": dice.below(3)});
    }
    source
}

fn target(dice: &mut Dice, objects: &[Value], source: &str, names: bool) -> Value {
    let object = objects[dice.below(objects.len())].clone();
    let mut select = json!({"kind": text_of(&object, "kind")});
    match dice.below(8) {
        0 => {}
        1 => select["name"] = ".*".into(),
        2 => select["name"] = format!("{}|other", name_of(&object)).into(),
        3 => select = json!({"labelSelector": dice.pick(&["app", "app=web", "!tier", "tier notin (x)"])}),
        4 => select = json!({"kind": dice.pick(&["Deploy.*", "ConfigMap|Secret", ".*"])}),
        5 => select = json!({"namespace": dice.pick(&["prod", "default", "team-.*"])}),
        _ => select["name"] = name_of(&object).into(),
    }
    let mut target = json!({"select": select});
    if dice.chance(50) {
        let reject = match dice.below(10) {
            0 => json!({"name": name_of(&object)}),
            // One that changes its own source on the way is rare.
            3.. => json!({"name": source}),
            1 => json!({"kind": "Secret", "name": dice.pick(&["web", "w.*"])}),
            _ => json!({"labelSelector": "app=web"}),
        };
        target["reject"] = json!([reject]);
    }
    if !names || dice.chance(80) {
        let count = dice.between(1, 2);
        target["fieldPaths"] = (0..count)
            .map(|_| {
                let create = dice.chance(20);
                let path = field_path(dice, &object, true, create);
                let is_name = path.starts_with("metadata.name");
                Value::String(if is_name && !names && dice.chance(90) {
                    "metadata.labels.app".to_owned()
                } else {
                    path
                })
            })
            .collect();
    }
    if dice.chance(35) {
        let mut options = Map::new();
        if dice.chance(60) {
            options.insert("create".into(), json!(true));
        }
        if dice.chance(40) {
            options.insert("delimiter".into(), dice.pick(&[":", "/", ".", "-", "e"]).into());
            if dice.chance(70) {
                options.insert("index".into(), json!(dice.below(4) as i64 - 1));
            }
        }
        target["options"] = Value::Object(options);
    }
    target
}

/// A path to a field of an object, in the notation of replacements; with `beyond`, to one that is not there.
fn field_path(dice: &mut Dice, object: &Value, wants_scalar: bool, beyond: bool) -> String {
    let all: Vec<_> = paths::all(object)
        .into_iter()
        .filter(|path| {
            let scalar = paths::at(object, path).is_some_and(|value| !value.is_object() && !value.is_array());
            // What makes an object another one is left alone.
            let is_own = matches!(path.first(), Some(Step::Key(key)) if key == "kind" || key == "apiVersion");
            !is_own && scalar == wants_scalar
        })
        .collect();
    if all.is_empty() {
        return "metadata.name".to_owned();
    }
    let mut path = all[dice.below(all.len())].clone();
    if beyond {
        path.pop();
        let step = dice.pick(&[
            "new",
            "deep.new",
            "a\\.b/c",
            "[a.b/c]",
            "[name=new].value",
            "0",
            "-",
            "*",
        ]);
        path.push(Step::Key(format!("\u{1}{step}")));
    }
    let mut parts = Vec::new();
    let mut value = object;
    for step in &path {
        match step {
            Step::Key(key) => match key.strip_prefix('\u{1}') {
                Some(raw) => parts.push(raw.to_owned()),
                None if key.contains('.') && dice.chance(50) => parts.push(format!("[{key}]")),
                None => parts.push(key.replace('.', "\\.")),
            },
            Step::Index(index) => {
                let name = value
                    .get(*index)
                    .and_then(|item| item.get("name"))
                    .and_then(Value::as_str);
                parts.push(match name {
                    Some(name) if dice.chance(50) => {
                        let pattern = dice.pick(&["", "^", r"\b", "(?i)", "[[:word:]]", r"\Q\E", "{", "x**"]);
                        format!("[name={pattern}{name}]")
                    }
                    _ if dice.chance(30) => "*".to_owned(),
                    _ => index.to_string(),
                });
            }
        }
        value = match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(*index),
        }
        .unwrap_or(&Value::Null);
    }
    // A field of structured text.
    if let Value::String(text) = value
        && (text.starts_with('{') || text.starts_with("key: "))
        && dice.chance(60)
    {
        parts.push(
            dice.pick(&["a", "key", "c.d", "b.2", "list.0", "new", "list.1.b"])
                .to_owned(),
        );
    }
    parts.join(".")
}
