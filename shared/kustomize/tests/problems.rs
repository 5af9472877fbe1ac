//! Every problem of one pass, with its place: the texts are compared whole, line by line.

use anyhow::{Result, ensure};
use kustomize::{Builder, Error, LoadRestriction, MemoryFiles, Options, build};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  hostname: h\n";

fn tree(files: &[(&str, &str)]) -> Result<MemoryFiles> {
    let mut tree = MemoryFiles::default();
    for (path, content) in files {
        tree.insert(path, *content)?;
    }
    Ok(tree)
}

fn error(files: &[(&str, &str)]) -> Result<Error> {
    let options = Options {
        load_restriction: LoadRestriction::None,
        ..Options::default()
    };
    match build(&tree(files)?, "app", &options) {
        Ok(objects) => anyhow::bail!("built {} objects from {files:?}", objects.len()),
        Err(error) => Ok(error),
    }
}

/// Builds the directory `app` and expects an error of exactly these lines.
fn check(files: &[(&str, &str)], lines: &[&str]) -> Result<()> {
    let text = error(files)?.to_string();
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    Ok(())
}

#[test]
fn a_problem_has_its_place_in_parts() -> Result<()> {
    let patch = "resources: [pod.yaml]\nnamePrefix: x-\npatches:\n- target: {kind: Pod}\n  path: patch.yaml\n";
    let error = error(&[
        (
            "app/kustomization.yaml",
            "resources: [../base]\nreplacements:\n- path: r.yaml\n",
        ),
        (
            "app/r.yaml",
            "source: {kind: Pod}\ntargets:\n- select: {kind: Pod}\n  fieldPaths: [spec.gone]\n",
        ),
        ("base/kustomization.yaml", "resources: [pod.yaml]\nnamePrefix: x-\n"),
        ("base/pod.yaml", POD),
    ])?;
    let [problem] = error.problems() else {
        anyhow::bail!("{error}");
    };
    ensure!(!error.has_more());
    assert_eq!(problem.kustomization.as_deref(), Some("app/kustomization.yaml"));
    assert_eq!(problem.file.as_deref(), Some("app/r.yaml"));
    assert_eq!(problem.field.as_deref(), Some("replacements[0].targets[0]"));
    assert_eq!(problem.object.as_deref(), Some("Pod.v1.[noGrp]/x-p.[noNs]"));
    let origin = problem.origin.as_ref().map(ToString::to_string);
    assert_eq!(origin.as_deref(), Some("base/pod.yaml:1"));
    let touched: Vec<String> = problem.touched_by.iter().map(ToString::to_string).collect();
    assert_eq!(touched, ["base/kustomization.yaml namePrefix"]);
    check(
        &[
            ("app/kustomization.yaml", patch),
            ("app/pod.yaml", POD),
            (
                "app/patch.yaml",
                "- {op: test, path: /kind, value: Pod}\n- {op: remove, path: /spec/gone}\n",
            ),
        ],
        &[
            "patching Pod.v1.[noGrp]/p.[noNs]: operation 1: remove operation does not apply: unable to remove nonexistent key: /spec/gone (at app/patch.yaml, from patches[0] of app/kustomization.yaml); Pod.v1.[noGrp]/p.[noNs] is from app/pod.yaml:1",
        ],
    )
}

#[test]
fn every_wrong_field_of_a_kustomization_is_named() -> Result<()> {
    check(
        &[(
            "app/kustomization.yaml",
            "resource: [a]\nnamePrefix: 5\nimages:\n- name: a\n  newtag: [x]\n- nam: b\nreplicas:\n- {name: a, count: many}\nlabels: {a: b}\npatches:\n- target: Pod\n",
        )],
        &[
            "invalid Kustomization: json: cannot unmarshal list into field images[0].newTag: expected a string (at app/kustomization.yaml:5:11, images[0].newTag)",
            "invalid Kustomization: json: unknown field \"nam\"; did you mean \"name\"? (at app/kustomization.yaml:6:3, images[1].nam)",
            "invalid Kustomization: json: cannot unmarshal number into field namePrefix: expected a string (at app/kustomization.yaml:2:13, namePrefix)",
            "invalid Kustomization: json: cannot unmarshal mapping into field labels: expected a list (at app/kustomization.yaml:9:9, labels)",
            "invalid Kustomization: json: cannot unmarshal string into field patches[0].target: expected a mapping (at app/kustomization.yaml:11:11, patches[0].target)",
            "invalid Kustomization: json: cannot unmarshal string into field replicas[0].count: expected an integer (at app/kustomization.yaml:8:20, replicas[0].count)",
            "invalid Kustomization: json: unknown field \"resource\"; did you mean \"resources\"? (at app/kustomization.yaml:1:1, resource)",
        ],
    )?;
    check(
        &[("app/kustomization.yaml", "apiVersion: v1\nkind: Thing\nresources: []\n")],
        &[
            "Failed to read kustomization file under app: kind should be Kustomization or Component (at app/kustomization.yaml:2:1, kind)",
            "Failed to read kustomization file under app: apiVersion for Thing should be kustomize.config.k8s.io/v1beta1 (at app/kustomization.yaml:1:1, apiVersion)",
        ],
    )
}

#[test]
fn all_that_is_read_is_looked_at_in_the_whole_tree() -> Result<()> {
    let top = "resources:\n- gone.yaml\n- ../base\n- bad.yaml\n- pod.yaml\n- pod.yaml\ncomponents: [../part]\nconfigMapGenerator:\n- name: c\n  files: [x.txt, y.txt]\n  literals: [a]\nsecretGenerator:\n- name: s\n  behavior: merge\n  envs: [z.env]\npatches:\n- path: patch.yaml\n- patch: 'a: ['\nreplacements:\n- path: r.yaml\ntransformers: [t.yaml]\nvalidators: [v.yaml]\ncrds: [crd.yaml]\nconfigurations: [conf.yaml]\n";
    check(
        &[
            ("app/kustomization.yaml", top),
            ("app/bad.yaml", "a: b\nc: d: e\n"),
            ("app/pod.yaml", POD),
            ("app/patch.yaml", "kind: Pod\n"),
            ("app/v.yaml", "{apiVersion: a/v1, kind: V, metadata: {name: v}}"),
            ("app/conf.yaml", "images:\n- pth: x\n"),
            (
                "base/kustomization.yaml",
                "resources: [gone.yaml, two.yaml]\npatches:\n- path: nowhere.yaml\n",
            ),
            (
                "base/two.yaml",
                "kind: A\n---\nmetadata: {name: b}\n---\n{kind: C, metadata: {name: c}}\n",
            ),
            (
                "part/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- path: nowhere.yaml\n",
            ),
        ],
        &[
            "accumulating resources: accumulation err='accumulating resources from 'gone.yaml': 'app/gone.yaml' doesn't exist': must build at directory: 'app/gone.yaml' doesn't exist (at app/kustomization.yaml:2:3, resources[0])",
            "accumulating resources: accumulation err='accumulating resources from 'gone.yaml': 'base/gone.yaml' doesn't exist': must build at directory: 'base/gone.yaml' doesn't exist (at base/kustomization.yaml:1:13, resources[0])",
            "accumulating resources from 'two.yaml': missing metadata.name in object /A (at base/two.yaml:1, from resources[1] of base/kustomization.yaml)",
            "accumulating resources from 'two.yaml': missing kind in object with apiVersion '' and name 'b' (at base/two.yaml:3, from resources[1] of base/kustomization.yaml)",
            "failed to get the patch file from path(nowhere.yaml): 'base/nowhere.yaml' doesn't exist (at base/kustomization.yaml:3:3, patches[0])",
            "accumulating resources from 'bad.yaml': MalformedYAMLError: yaml: line 2: mapping values are not allowed in this context (at app/bad.yaml:2:5, from resources[2] of app/kustomization.yaml)",
            "merging resources from 'pod.yaml': may not add resource with an already registered id: Pod.v1.[noGrp]/p.[noNs], which is also in app/pod.yaml:1 (at app/pod.yaml:1, from resources[4] of app/kustomization.yaml)",
            "configurations 'conf.yaml': json: unknown field \"pth\"; did you mean \"path\"? (at app/conf.yaml:2:3, from configurations[0] of app/kustomization.yaml)",
            "'app/crd.yaml' doesn't exist (at app/kustomization.yaml:23:8, crds[0])",
            "configMapGenerator 'c': literal sources: entry 1 is invalid, expected key=value (at app/kustomization.yaml:11:14, configMapGenerator[0].literals[0])",
            "configMapGenerator 'c': file sources: [\"x.txt\", \"y.txt\"]: 'app/x.txt' doesn't exist (at app/kustomization.yaml:10:11, configMapGenerator[0].files[0])",
            "configMapGenerator 'c': file sources: [\"x.txt\", \"y.txt\"]: 'app/y.txt' doesn't exist (at app/kustomization.yaml:10:18, configMapGenerator[0].files[1])",
            "secretGenerator 's': env source files: [\"z.env\"]: 'app/z.env' doesn't exist (at app/kustomization.yaml:15:10, secretGenerator[0].envs[0])",
            "failed to get the patch file from path(nowhere.yaml): 'part/nowhere.yaml' doesn't exist (at part/kustomization.yaml:4:3, patches[0])",
            "unable to parse SM or JSON patch: as operations: a JSON patch is a list of operations; as an object: missing metadata.name in object /Pod (at app/patch.yaml:1, from patches[0] of app/kustomization.yaml)",
            "unable to parse SM or JSON patch: as operations: yaml: line 1: did not find expected node content; as an object: MalformedYAMLError: yaml: line 1: did not find expected node content (at app/kustomization.yaml:18:3, patches[1])",
            "'app/r.yaml' doesn't exist (at app/kustomization.yaml:20:3, replacements[0])",
            "accumulating resources: accumulation err='accumulating resources from 't.yaml': 'app/t.yaml' doesn't exist': must build at directory: 'app/t.yaml' doesn't exist (at app/kustomization.yaml:21:16, transformers[0])",
            "external plugins disabled; unable to load external plugin 'V' (not supported yet: only the generators and transformers built into kustomize run) (at app/v.yaml:1, from validators[0] of app/kustomization.yaml)",
        ],
    )
}

#[test]
fn every_patch_and_replacement_without_its_object_is_named_and_later_fields_are_not() -> Result<()> {
    let patch = |name: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}");
    let patches = format!(
        "resources: [pod.yaml]\npatches:\n- patch: '{}'\n- path: p.yaml\n- patch: '{}'\n- target: {{kind: Pod}}\n  patch: '[{{\"op\": \"remove\", \"path\": \"/x/y\"}}]'\n- target: {{kind: Pod}}\n  patch: '[{{\"op\": \"remove\", \"path\": \"/z\"}}]'\nreplicas: [{{name: gone, count: 1}}]\n",
        patch("a"),
        patch("p"),
    );
    check(
        &[
            ("app/kustomization.yaml", &patches),
            ("app/pod.yaml", POD),
            ("app/p.yaml", &format!("# two\n{}\n---\n{}\n", patch("b"), patch("c"))),
        ],
        &[
            "no resource matches strategic merge patch \"Pod.v1.[noGrp]/a.[noNs]\": no matches for Id Pod.v1.[noGrp]/a.[noNs]; failed to find unique target for patch Pod.v1.[noGrp]/a.[noNs] (at app/kustomization.yaml:3:3, patches[0])",
            "no resource matches strategic merge patch \"Pod.v1.[noGrp]/b.[noNs]\": no matches for Id Pod.v1.[noGrp]/b.[noNs]; failed to find unique target for patch Pod.v1.[noGrp]/b.[noNs] (at app/p.yaml:2, from patches[1] of app/kustomization.yaml)",
            "no resource matches strategic merge patch \"Pod.v1.[noGrp]/c.[noNs]\": no matches for Id Pod.v1.[noGrp]/c.[noNs]; failed to find unique target for patch Pod.v1.[noGrp]/c.[noNs] (at app/p.yaml:4, from patches[1] of app/kustomization.yaml)",
            "patching Pod.v1.[noGrp]/p.[noNs]: operation 0: remove operation does not apply: doc is missing path: /x/y (at app/kustomization.yaml:6:3, patches[3]); Pod.v1.[noGrp]/p.[noNs] is from app/pod.yaml:1",
        ],
    )?;
    check(
        &[
            (
                "app/kustomization.yaml",
                "resources: [pod.yaml]\nreplacements:\n- source: {kind: Gone}\n  targets: [{select: {kind: Pod}}]\n- source: {kind: Pod, fieldPath: spec.x}\n  targets: [{select: {kind: Pod}}]\n- source: {kind: Pod}\n  targets:\n  - select: {kind: Pod}\n    fieldPaths: [spec.a]\n  - {reject: []}\n- targets: []\n",
            ),
            ("app/pod.yaml", POD),
        ],
        &[
            "nothing selected by Gone.[noVer].[noGrp]/[noName].[noNs] (at app/kustomization.yaml:3:3, replacements[0].source)",
            "fieldPath `spec.x` is missing for replacement source Pod.[noVer].[noGrp]/[noName].[noNs] (at app/kustomization.yaml:5:3, replacements[1].source)",
            "replacing in Pod.v1.[noGrp]/p.[noNs]: unable to find field \"spec.a\" in replacement target (at app/kustomization.yaml:9:5, replacements[2].targets[0]); Pod.v1.[noGrp]/p.[noNs] is from app/pod.yaml:1",
            "target must specify resources to select (at app/kustomization.yaml:11:5, replacements[2].targets[1])",
            "replacements must specify a source and at least one target (at app/kustomization.yaml:12:3, replacements[3])",
        ],
    )
}

#[test]
fn every_conflict_of_two_bases_is_named() -> Result<()> {
    let two = format!("{POD}---\n{{apiVersion: v1, kind: Pod, metadata: {{name: q}}}}\n");
    check(
        &[
            ("app/kustomization.yaml", "resources: [../a, ../b]\n"),
            ("a/kustomization.yaml", "resources: [two.yaml]\n"),
            ("b/kustomization.yaml", "resources: [two.yaml]\nnamespace: ''\n"),
            ("a/two.yaml", &two),
            ("b/two.yaml", &two),
        ],
        &[
            "accumulating resources: recursed merging from path '../b': may not add resource with an already registered id: Pod.v1.[noGrp]/p.[noNs], which is also in a/two.yaml:1 (at b/two.yaml:1, from resources[1] of app/kustomization.yaml)",
            "accumulating resources: recursed merging from path '../b': may not add resource with an already registered id: Pod.v1.[noGrp]/q.[noNs], which is also in a/two.yaml:8 (at b/two.yaml:8, from resources[1] of app/kustomization.yaml)",
        ],
    )
}

#[test]
fn all_validators_run() -> Result<()> {
    let label = |name: &str| {
        format!(
            "- |\n  {{apiVersion: builtin, kind: LabelTransformer, metadata: {{name: {name}}}, labels: {{{name}: x}}, fieldSpecs: [{{path: metadata/labels, create: true}}]}}\n"
        )
    };
    let validators = format!("resources: [pod.yaml]\nvalidators:\n{}{}", label("a"), label("b"));
    check(
        &[("app/kustomization.yaml", &validators), ("app/pod.yaml", POD)],
        &[
            "validator shouldn't modify the resource map: LabelTransformer.builtin.[noGrp]/a.[noNs] (at app/kustomization.yaml:3:3, validators[0])",
            "validator shouldn't modify the resource map: LabelTransformer.builtin.[noGrp]/b.[noNs] (at app/kustomization.yaml:5:3, validators[1])",
        ],
    )
}

#[test]
fn problems_are_bounded_and_limits_end_the_build() -> Result<()> {
    let list: String = (0..80).map(|number| format!("- gone{number}.yaml\n")).collect();
    let many = error(&[("app/kustomization.yaml", &format!("resources:\n{list}"))])?;
    assert_eq!(many.problems().len(), Error::MAX_PROBLEMS);
    ensure!(many.has_more());
    assert_eq!(
        many.to_string().lines().last(),
        Some("and more: these are the first 50 problems")
    );
    let cycle = error(&[
        (
            "app/kustomization.yaml",
            "resources: [gone.yaml, ../b, gone-too.yaml]\n",
        ),
        ("b/kustomization.yaml", "resources: [../app]\n"),
    ])?;
    let lines: Vec<&str> = cycle
        .problems()
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(lines.len(), 2, "{cycle}");
    ensure!(lines[0].starts_with("cycle detected"), "{cycle}");
    ensure!(lines[1].contains("'app/gone.yaml' doesn't exist"), "{cycle}");
    Ok(())
}

#[test]
fn a_build_ends_when_the_caller_says_so() -> Result<()> {
    let files = tree(&[
        (
            "app/kustomization.yaml",
            "resources: [pod.yaml]\nnamePrefix: a-\nnameSuffix: -b\n",
        ),
        ("app/pod.yaml", POD),
    ])?;
    let options = Options::default();
    let polls = std::cell::Cell::new(0);
    let mut ended = 0;
    for allowed in 0.. {
        polls.set(0);
        let stop = || {
            polls.set(polls.get() + 1);
            polls.get() > allowed
        };
        match Builder::new(&files, &options).stop(&stop).build("app") {
            Err(error) => assert!(
                error.to_string().contains("the build was stopped: its time is used up"),
                "{error}"
            ),
            Ok(built) => {
                assert_eq!(built.objects[0].object["metadata"]["name"], "a-p-b");
                break;
            }
        }
        ended += 1;
    }
    // Files, transformers and objects are all places to stop at.
    ensure!(ended > 6, "{ended}");
    Ok(())
}

#[test]
fn aliases_that_hold_themselves_are_errors() -> Result<()> {
    check(
        &[
            (
                "app/kustomization.yaml",
                "resources: [a.yaml]\npatches:\n- path: p.yaml\n",
            ),
            ("app/a.yaml", "kind: A\nmetadata: &m\n  name: a\n  labels: *m\n"),
            ("app/p.yaml", "kind: A\nmetadata: {name: a}\nspec: &s [*s]\n"),
        ],
        &[
            "accumulating resources from 'a.yaml': MalformedYAMLError: yaml: anchor 'm' value contains itself (at app/a.yaml:4:11, from resources[0] of app/kustomization.yaml)",
            "unable to parse SM or JSON patch: as operations: yaml: anchor 's' value contains itself; as an object: MalformedYAMLError: yaml: anchor 's' value contains itself (at app/p.yaml:3:11, from patches[0] of app/kustomization.yaml)",
        ],
    )
}

#[test]
fn no_value_of_a_secret_is_said() -> Result<()> {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\n";
    let cases: [&[(&str, &str)]; 5] = [
        &[
            ("app/kustomization.yaml", "resources: [s.yaml]\n"),
            (
                "app/s.yaml",
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: !!int hunter2}\n",
            ),
        ],
        &[
            (
                "app/kustomization.yaml",
                "resources: [s.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: other}\n    stringData: {a: hunter2}\n",
            ),
            ("app/s.yaml", secret),
        ],
        &[
            (
                "app/kustomization.yaml",
                "resources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: '[{\"op\": \"test\", \"path\": \"/stringData/a\", \"value\": \"hunter2x\"}]'\n",
            ),
            ("app/s.yaml", secret),
        ],
        &[
            (
                "app/kustomization.yaml",
                "resources: [s.yaml, d.yaml]\nreplacements:\n- source: {kind: Secret, fieldPath: stringData.a}\n  targets: [{select: {kind: D}, fieldPaths: [spec.n]}]\n",
            ),
            ("app/s.yaml", secret),
            ("app/d.yaml", "{kind: D, metadata: {name: d}, spec: {n: 5}}"),
        ],
        &[(
            "app/kustomization.yaml",
            "secretGenerator:\n- name: s\n  literals: [hunter2]\n- name: t\n  literals: [a=hunter2, a=hunter2]\n",
        )],
    ];
    for files in cases {
        let text = error(files)?.to_string();
        ensure!(!text.contains("hunter2"), "{text}");
    }
    Ok(())
}

#[test]
fn an_object_that_cannot_be_patched_is_said_once() -> Result<()> {
    let patch = |spec: &str| format!("- patch: '{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}'\n");
    let patches = format!(
        "resources: [pod.yaml]\npatches:\n{}{}- target: {{kind: Pod}}\n  patch: '- {{op: replace, path: \"\", value: 5}}'\n{}",
        patch("{$patch: twist}"),
        patch("{a: b}"),
        patch("{c: d}"),
    );
    check(
        &[("app/kustomization.yaml", &patches), ("app/pod.yaml", POD)],
        &[
            "patching Pod.v1.[noGrp]/p.[noNs]: field 'spec': unknown patch strategy 'twist' (at app/kustomization.yaml:3:3, patches[0]); Pod.v1.[noGrp]/p.[noNs] is from app/pod.yaml:1",
        ],
    )
}
