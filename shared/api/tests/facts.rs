//! The schemas hold what the contract holds, member by member.
//!
//! `tests/facts/<kind>.txt` lists the facts that clients and stored objects rely on: names, columns, and for every field
//! its type, default, pattern, limits and CEL rules (`*` marks a required field; `[]` and `{}` are the elements of lists
//! and maps). They are kept by hand: a line changes only when the contract does. What a schema has beyond them has to be
//! listed in `ADDITIONS` and may not be required; what it allows beyond them, in `WIDER`.
#![cfg(test)]

use std::collections::BTreeSet;

use api::crd;
use serde_json::{Map, Value};

/// Fields of ours, by kind and path. Everything below them is ours too.
const ADDITIONS: &[(&str, &str)] = &[("Kustomization", ".status.changes")];

/// Facts of ours that take the place of a fact of the contract, by kind and by both: they allow more.
const WIDER: &[(&str, &str, &str)] = &[
    (
        "GitRepository",
        r#".spec.provider {"enum":["generic","aws","azure","github"],"type":"string"}"#,
        r#".spec.provider {"enum":["generic","aws","azure","github","gcp"],"type":"string"}"#,
    ),
    (
        "GitRepository",
        r#".spec {"type":"object","x-kubernetes-validations":[{"message":"serviceAccountName can only be set when provider is 'azure' or 'aws'","rule":"!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))"}]}"#,
        r#".spec {"type":"object","x-kubernetes-validations":[{"message":"serviceAccountName can only be set when provider is 'azure', 'aws' or 'gcp'","rule":"!has(self.serviceAccountName) || (has(self.provider) && self.provider in ['azure', 'aws', 'gcp'])"}]}"#,
    ),
];

/// The facts of a definition, in the form of the files.
fn facts(definition: &Value) -> Vec<String> {
    let (metadata, spec) = (&definition["metadata"], &definition["spec"]);
    let mut lines = vec![format!("name {}", metadata["name"].as_str().unwrap())];
    for (key, value) in metadata["annotations"].as_object().unwrap() {
        lines.push(format!("annotation {key}={}", value.as_str().unwrap()));
    }
    lines.push(format!("scope {}", spec["scope"].as_str().unwrap()));
    lines.push(format!("names {}", spec["names"]));
    for version in spec["versions"].as_array().unwrap() {
        let mut identity = version.as_object().unwrap().clone();
        identity.retain(|key, _| !["additionalPrinterColumns", "schema"].contains(&key.as_str()));
        lines.push(format!("version {}", Value::Object(identity)));
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            lines.push(format!("column {column}"));
        }
        walk(
            version["schema"]["openAPIV3Schema"].as_object().unwrap(),
            "",
            false,
            &mut lines,
        );
    }
    lines
}

fn walk(schema: &Map<String, Value>, path: &str, required: bool, lines: &mut Vec<String>) {
    let mut own = schema.clone();
    own.retain(|key, _| {
        !["description", "properties", "items", "additionalProperties", "required"].contains(&key.as_str())
    });
    let place = if path.is_empty() { "." } else { path };
    lines.push(format!(
        "{place}{} {}",
        if required { "*" } else { "" },
        Value::Object(own)
    ));
    if let Some(properties) = schema.get("properties") {
        let names: BTreeSet<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, inner) in properties.as_object().unwrap() {
            walk(
                inner.as_object().unwrap(),
                &format!("{path}.{name}"),
                names.contains(name.as_str()),
                lines,
            );
        }
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key) {
            walk(inner.as_object().unwrap(), &format!("{path}{mark}"), false, lines);
        }
    }
}

fn check(kind: &str, expected: &str) {
    let definitions = crd::definitions().unwrap();
    let definition = definitions
        .iter()
        .find(|definition| definition["spec"]["names"]["kind"] == kind)
        .unwrap();
    let is_addition = |line: &str| {
        ADDITIONS.iter().any(|(of, path)| {
            *of == kind
                && line
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with([' ', '.', '[', '{']))
        })
    };
    let (additions, found): (Vec<_>, Vec<_>) = facts(definition).into_iter().partition(|line| is_addition(line));
    let mut expected: Vec<_> = expected.lines().collect();
    for (_, fact, ours) in WIDER.iter().filter(|(of, ..)| *of == kind) {
        let place = expected.iter_mut().find(|line| *line == fact);
        *place.unwrap_or_else(|| panic!("{kind}: the contract does not hold {fact}")) = ours;
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|line| !found.iter().any(|found| found == *line))
        .collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(&line.as_str())).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{kind}: missing {missing:#?}, beyond the contract {extra:#?}"
    );
    assert_eq!(found, expected, "{kind}: the order of columns differs");
    assert_eq!(
        additions.is_empty(),
        !ADDITIONS.iter().any(|(of, _)| *of == kind),
        "{kind}: an addition is gone"
    );
}

#[test]
fn the_schema_of_gitrepository_is_the_contract() {
    check("GitRepository", include_str!("facts/gitrepository.txt"));
}

#[test]
fn the_schema_of_kustomization_is_the_contract() {
    check("Kustomization", include_str!("facts/kustomization.txt"));
}

#[test]
fn the_schema_of_provider_is_the_contract() {
    check("Provider", include_str!("facts/provider.txt"));
}

#[test]
fn the_schema_of_alert_is_the_contract() {
    check("Alert", include_str!("facts/alert.txt"));
}

#[test]
fn the_schema_of_receiver_is_the_contract() {
    check("Receiver", include_str!("facts/receiver.txt"));
}

/// What the API server demands of a structural schema, and what would let a null slip in.
#[test]
fn no_schema_uses_what_the_api_server_refuses() {
    fn visit(value: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (key, inner) in members {
                    let inside = format!("{path}/{key}");
                    assert!(
                        !["$ref", "anyOf", "oneOf", "nullable", "title", "$schema"].contains(&key.as_str()),
                        "{inside}"
                    );
                    visit(inner, &inside);
                }
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, item)| visit(item, &format!("{path}/{at}"))),
            _ => {}
        }
    }
    for definition in crd::definitions().unwrap() {
        visit(
            &definition["spec"]["versions"][0]["schema"],
            definition["metadata"]["name"].as_str().unwrap(),
        );
    }
}

/// Descriptions are what `kubectl explain` shows.
#[test]
fn every_field_is_described() {
    fn visit(schema: &Value, path: &str) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            for key in ["items", "additionalProperties"] {
                if let Some(inner) = schema.get(key) {
                    visit(inner, path);
                }
            }
            return;
        };
        for (name, inner) in properties {
            let inside = format!("{path}.{name}");
            let described = inner["description"].as_str().is_some_and(|text| text.len() > 3);
            assert!(
                described || name == "metadata" || ["spec", "status"].contains(&name.as_str()),
                "{inside} has no description"
            );
            visit(inner, &inside);
        }
    }
    for definition in crd::definitions().unwrap() {
        visit(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
    }
}
