//! Where objects come from and what changed them, whatever `buildMetadata` says.

use anyhow::{Result, ensure};
use kustomize::{Builder, Built, MemoryFiles, Options};

fn built(files: &[(&str, &str)]) -> Result<Built> {
    let mut tree = MemoryFiles::default();
    for (path, content) in files {
        tree.insert(path, *content)?;
    }
    Ok(Builder::new(&tree, &Options::default()).build("app")?)
}

/// Builds the directory `app` and expects a line per object: name, origin, and what touched it.
fn check(files: &[(&str, &str)], lines: &[&str]) -> Result<()> {
    let objects = built(files)?.objects;
    let text: Vec<String> = objects
        .iter()
        .map(|built| {
            let origin = built.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            let touched: Vec<String> = built.touched_by.iter().map(ToString::to_string).collect();
            let name = built.object["metadata"]["name"].as_str().unwrap_or_default();
            format!("{name} from {origin}: {}", touched.join(", "))
        })
        .collect();
    assert_eq!(text, lines);
    Ok(())
}

const TWO: &str = "# first\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: ns, labels: {l: x}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\nspec:\n  replicas: 1\n  template:\n    spec: {containers: [{name: c, image: nginx}]}\n";

#[test]
fn only_what_changes_an_object_is_noted() -> Result<()> {
    check(
        &[
            (
                "app/kustomization.yaml",
                "resources: [../base]\nnamePrefix: x-\nlabels:\n- pairs: {l: x}\nimages: [{name: other, newTag: '1'}, {name: nginx, newTag: '2'}]\nreplicas: [{name: b, count: 1}]\ncommonAnnotations: {}\n",
            ),
            (
                "base/kustomization.yaml",
                "resources: [two.yaml]\nnamespace: ns\npatches:\n- target: {kind: Service}\n  patch: '- {op: add, path: /metadata/labels/l, value: x}'\n- patch: '{apiVersion: v1, kind: Service, metadata: {name: a, namespace: ns}}'\n- patch: '{apiVersion: v1, kind: Service, metadata: {name: a, namespace: ns}, spec: {type: x}}'\nreplacements:\n- source: {kind: Service, name: a}\n  targets: [{select: {kind: Deployment}, fieldPaths: [spec.x], options: {create: true}}]\n- source: {kind: Service, name: a, fieldPath: metadata.labels.l}\n  targets: [{select: {kind: Service}, fieldPaths: [metadata.labels.l]}]\n",
            ),
            ("base/two.yaml", TWO),
        ],
        &[
            "x-a from base/two.yaml:2: base/kustomization.yaml patches[2], app/kustomization.yaml namePrefix",
            "x-b from base/two.yaml:6: base/kustomization.yaml namespace, base/kustomization.yaml replacements, app/kustomization.yaml namePrefix, app/kustomization.yaml labels[0], app/kustomization.yaml images[1]",
        ],
    )
}

#[test]
fn every_transformer_notes_what_it_does() -> Result<()> {
    let plugin = |kind: &str, more: &str| {
        format!("- |\n  {{apiVersion: builtin, kind: {kind}, metadata: {{name: t}}, {more}}}\n")
    };
    let top = format!(
        "resources: [two.yaml]\nbases: []\nnameSuffix: -y\nimageTags: [{{name: nginx, newTag: '2'}}]\ncommonLabels: {{k: v}}\ncommonAnnotations: {{k: v}}\nreplicas: [{{name: b, count: 3}}]\npatchesStrategicMerge:\n- '{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: b}}, spec: {{paused: true}}}}'\npatchesJson6902:\n- target: {{version: v1, kind: Service, name: a}}\n  patch: '- {{op: add, path: /spec, value: {{}}}}'\ncomponents: [../part]\ntransformers:\n{}{}",
        plugin(
            "ValueAddTransformer",
            "value: q, targets: [{selector: {kind: Service}, fieldPath: spec/q}]"
        ),
        plugin("PrefixTransformer", "prefix: z-, fieldSpecs: [{path: metadata/name}]"),
    );
    check(
        &[
            ("app/kustomization.yaml", &top),
            ("app/two.yaml", TWO),
            (
                "part/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n",
            ),
        ],
        &[
            "z-c-a-y from app/two.yaml:2: part/kustomization.yaml namePrefix, app/kustomization.yaml nameSuffix, app/kustomization.yaml commonLabels, app/kustomization.yaml commonAnnotations, app/kustomization.yaml patchesJson6902[0], app/kustomization.yaml transformers[0], app/kustomization.yaml transformers[1]",
            "z-c-b-y from app/two.yaml:6: part/kustomization.yaml namePrefix, app/kustomization.yaml patchesStrategicMerge, app/kustomization.yaml nameSuffix, app/kustomization.yaml commonLabels, app/kustomization.yaml commonAnnotations, app/kustomization.yaml replicas[0], app/kustomization.yaml imageTags[0], app/kustomization.yaml transformers[1]",
        ],
    )
}

#[test]
fn generated_objects_are_from_the_entry_of_their_generator() -> Result<()> {
    let top = "resources: [../base]\ngeneratorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator:\n- {name: m, behavior: merge, literals: [b=2]}\n- {name: r, behavior: replace, literals: [b=2]}\nsecretGenerator:\n- name: s\n  literals: [a=1]\ngenerators:\n- g.yaml\n";
    check(
        &[
            ("app/kustomization.yaml", top),
            (
                "app/g.yaml",
                "{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: g}, literals: [a=1]}",
            ),
            (
                "base/kustomization.yaml",
                "generatorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator:\n- {name: m, literals: [a=1]}\n- {name: r, literals: [a=1]}\n",
            ),
        ],
        &[
            "m from base/kustomization.yaml:3: app/kustomization.yaml configMapGenerator[0]",
            "r from app/kustomization.yaml:5: app/kustomization.yaml configMapGenerator[1]",
            "s from app/kustomization.yaml:7: ",
            "g-h29d89cmmt from app/kustomization.yaml:10: ",
        ],
    )
}

#[test]
fn build_metadata_makes_no_difference() -> Result<()> {
    let files = |metadata: &str| -> Result<Built> {
        built(&[
            (
                "app/kustomization.yaml",
                &format!("resources: [two.yaml]\nnamePrefix: x-\n{metadata}"),
            ),
            ("app/two.yaml", TWO),
        ])
    };
    let (without, with) = (
        files("")?,
        files("buildMetadata: [originAnnotations, transformerAnnotations]\n")?,
    );
    ensure!(without.objects.len() == 2);
    for (a, b) in without.objects.iter().zip(&with.objects) {
        assert_eq!((&a.origin, &a.touched_by), (&b.origin, &b.touched_by));
    }
    Ok(())
}

#[test]
fn warnings_are_kustomizes_and_said_once() -> Result<()> {
    let deprecated = |name: &str, instead: &str, tries: &str| {
        format!(
            "# Warning: '{name}' is deprecated. Please use '{instead}' instead. {tries}Run 'kustomize edit fix' to update your Kustomization automatically."
        )
    };
    let warnings = built(&[
        ("app/kustomization.yaml", "bases: [../base]\ncommonLabels: {a: b}\nimageTags: []\npatchesJson6902: []\npatchesStrategicMerge: []\nvars:\n- {name: B, objref: {apiVersion: v1, kind: Service, name: a}}\n- {name: A, objref: {apiVersion: v1, kind: Service, name: a}}\n- {name: USED, objref: {apiVersion: v1, kind: Service, name: a}}\n"),
        ("base/kustomization.yaml", "resources: [two.yaml]\ncommonLabels: {}\nvars: null\n"),
        ("base/two.yaml", "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {x: $(USED)}}}"),
    ])?
    .warnings;
    assert_eq!(
        warnings,
        [
            deprecated("bases", "resources", ""),
            deprecated("commonLabels", "labels", ""),
            deprecated("imageTags", "images", ""),
            deprecated("patchesJson6902", "patches", ""),
            deprecated("patchesStrategicMerge", "patches", ""),
            deprecated("vars", "replacements", "[EXPERIMENTAL] "),
            "well-defined vars that were never replaced: A,B".to_owned(),
        ]
    );
    Ok(())
}
