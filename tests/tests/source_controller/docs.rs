//! The page about GitRepositories is complete: it has a section for each field, with its default, an example and what can go
//! wrong, and the API server takes every example as it stands.

use std::fs;

use anyhow::{Context, Result};
use kube::api::{Api, DynamicObject, Patch, PatchParams, TypeMeta, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};
use tests::checkout;

use crate::stage::builder;

const PAGE: &str = "docs/gitrepository.md";
const DEFINITION: &str = "config/crd/source.toolkit.fluxcd.io_gitrepositories.yaml";

/// The sections of the third level below a heading of the second: their headings and texts.
fn sections<'a>(page: &'a str, heading: &str) -> Result<Vec<(&'a str, &'a str)>> {
    let start = page
        .split_once(&format!("\n## {heading}\n"))
        .context("no such heading")?
        .1;
    let part = start.split("\n## ").next().unwrap_or_default();
    let sections = part.split("\n### ").skip(1);
    Ok(sections
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect())
}

/// The examples in a text.
fn examples(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).collect()
}

/// The names of the fields below a field of the definition.
fn fields(definition: &Value, path: &str) -> Result<Vec<String>> {
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let of = path
        .split('.')
        .fold(schema.clone(), |schema, name| match &schema["properties"] {
            Value::Null => schema[name].clone(),
            properties => properties[name].clone(),
        });
    Ok(of["properties"]
        .as_object()
        .context("no fields")?
        .keys()
        .cloned()
        .collect())
}

#[test]
fn every_field_has_a_section_with_a_default_an_example_and_what_can_go_wrong() -> Result<()> {
    let page = fs::read_to_string(checkout::root().join(PAGE))?;
    let definition: Value = serde_yaml::from_str(&fs::read_to_string(checkout::root().join(DEFINITION))?)?;
    let spec = sections(&page, "Spec")?;
    let of_spec = fields(&definition, "spec")?;
    let of_ref = fields(&definition, "spec.ref")?;
    let names = of_spec
        .into_iter()
        .chain(of_ref.iter().map(|name| format!("ref.{name}")));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 18, "{names:?}");
    for name in &names {
        let (_, text) = spec.iter().find(|(heading, _)| heading == name).context(name.clone())?;
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        assert!(says(&["default", "required", "optional"]), "{name}: no default");
        assert!(says(&["What can go wrong"]), "{name}: nothing can go wrong");
        assert!(!examples(text).is_empty(), "{name}: no example");
    }
    let sections = sections(&page, "Status")?;
    for name in fields(&definition, "status")? {
        let has_section = sections
            .iter()
            .any(|(heading, _)| heading.split(", ").any(|told| told == name));
        assert!(has_section, "status.{name}");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_example() -> Result<()> {
    let s = builder("examples").start().await?;
    let page = fs::read_to_string(checkout::root().join(PAGE))?;
    let params = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("examples")
    };
    let mut count = 0;
    for document in examples(&page).into_iter().flat_map(|example| example.split("\n---\n")) {
        let mut object: Value = serde_yaml::from_str(document).with_context(|| document.to_owned())?;
        if object.get("kind").is_none() {
            // Fields of a spec.
            let mut spec = Map::from_iter([
                ("interval".to_owned(), json!("5m")),
                ("url".to_owned(), json!("https://h/r")),
            ]);
            spec.extend(object.as_object().context("no fields")?.clone());
            object = json!({
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": { "name": "example" },
                "spec": spec,
            });
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.insert("namespace".to_owned(), json!(s.ns()));
        }
        let object: DynamicObject = serde_json::from_value(object)?;
        let TypeMeta { api_version, kind } = object.types.clone().context("no kind")?;
        let plural = match kind.as_str() {
            "GitRepository" => "gitrepositories",
            _ => "secrets",
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let kind = GroupVersionKind::gvk(group, version, &kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> = Api::namespaced_with(s.cluster.client(), s.ns(), &resource);
        let name = object.metadata.name.clone().context("no name")?;
        let taken = api.patch(&name, &params, &Patch::Apply(&object)).await;
        assert!(taken.is_ok(), "{document}\n{taken:?}");
        count += 1;
    }
    assert!(count > 20, "{count}");
    Ok(())
}
