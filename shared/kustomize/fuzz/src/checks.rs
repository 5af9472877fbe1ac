//! What each target does with an input.

use ::yaml::Dialect;

use super::{check, parts, readable};

const OBJECTS: &str = include_str!("../fixed/objects.yaml");

/// The YAML reader in both dialects, that its short way agrees with its long way, and that what it read is printed so that
/// it reads the same.
pub fn yaml(text: &str) {
    let _ = ::yaml::parse_json(text, Dialect::V2);
    // A comment that is not ASCII makes it go the long way. Without any, what is missing at the end has another place.
    if text.ends_with('\n') && !text.contains("---") {
        let read = |comment: &str| ::yaml::parse(&format!("{text}# {comment}\n"), Dialect::V3);
        if let Ok(short) = read("e") {
            let long = read("\u{e9}");
            assert_eq!(long.map(|long| format!("{long:?}")), Ok(format!("{short:?}")));
        }
    }
    for (_, value) in ::yaml::parse_json(text, Dialect::V3).unwrap_or_default() {
        readable(&value);
    }
}

/// The reader of kustomization files, and whatever such a file asks for, over a small fixed tree.
pub fn kustomization(text: &str) {
    check(&super::tree([
        ("kustomization.yaml", text),
        ("objects.yaml", OBJECTS),
        (
            "base/kustomization.yaml",
            "resources: [objects.yaml]\nnamePrefix: base-\n",
        ),
        ("base/objects.yaml", OBJECTS),
        (
            "component/kustomization.yaml",
            "kind: Component\nlabels: [{pairs: {a: b}}]\n",
        ),
        ("data.env", "A=1\nB=two\n"),
        (
            "patch.yaml",
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}\n",
        ),
    ]));
}

/// Strategic merge: the objects, then the patch, which applies to all of them.
pub fn strategic_merge(input: &str) {
    with_objects(
        input,
        "patch.yaml",
        "patches: [{path: patch.yaml, target: {kind: .*}}]\n",
    );
}

/// JSON patches: the objects, then the operations, which apply to all of them.
pub fn json_patch(input: &str) {
    with_objects(
        input,
        "patch.json",
        "patches: [{path: patch.json, target: {kind: .*}}]\n",
    );
}

/// Replacements: the objects, then the list of `replacements`.
pub fn replacements(input: &str) {
    with_objects(
        input,
        "replacements.yaml",
        "replacements: [{path: replacements.yaml}]\n",
    );
}

/// Whole builds: any tree of files, each behind a line `=== PATH`.
pub fn tree(input: &str) {
    check(&super::tree(parts(input)));
}

/// An input of objects and a file that says what to do with them.
fn with_objects(input: &str, file: &str, kustomization: &str) {
    if let [(_, objects), (_, content)] = parts(input)[..] {
        let kustomization = format!("resources: [objects.yaml]\n{kustomization}");
        check(&super::tree([
            ("kustomization.yaml", kustomization.as_str()),
            ("objects.yaml", objects),
            (file, content),
        ]));
    }
}
