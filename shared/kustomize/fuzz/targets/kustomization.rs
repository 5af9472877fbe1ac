//! The reader of kustomization files, and whatever such a file asks for, over a small fixed tree.
#![no_main]

use libfuzzer_sys::fuzz_target;

const OBJECTS: &str = include_str!("../fixed/objects.yaml");

fuzz_target!(init: kustomize_fuzz::tolerate_caught_panics(), |kustomization: &str| {
    kustomize_fuzz::check(&kustomize_fuzz::tree([
        ("kustomization.yaml", kustomization),
        ("objects.yaml", OBJECTS),
        ("base/kustomization.yaml", "resources: [objects.yaml]\nnamePrefix: base-\n"),
        ("base/objects.yaml", OBJECTS),
        ("component/kustomization.yaml", "kind: Component\nlabels: [{pairs: {a: b}}]\n"),
        ("data.env", "A=1\nB=two\n"),
        ("patch.yaml", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}\n"),
    ]));
});
