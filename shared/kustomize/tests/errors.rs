//! What is refused, and in which words: every message names the place and what to do about it.

use anyhow::Result;
use kustomize::{Limits, LoadRestriction, MemoryFiles, Options, Overlay, build};

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: p}}\n";

fn tree(files: &[(&str, &str)]) -> Result<MemoryFiles> {
    let mut tree = MemoryFiles::default();
    for (path, content) in files {
        tree.insert(path, *content)?;
    }
    Ok(tree)
}

/// Builds the directory `app` and expects an error with all these words in it.
fn check(files: &[(&str, &str)], words: &[&str]) -> Result<()> {
    check_with(&Options::default(), files, words)
}

fn check_with(options: &Options, files: &[(&str, &str)], words: &[&str]) -> Result<()> {
    let error = match build(&tree(files)?, "app", options) {
        Ok(objects) => anyhow::bail!("built {} objects from {files:?}", objects.len()),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
    Ok(())
}

#[test]
fn kustomization_files_are_found_and_read_or_an_error() -> Result<()> {
    check(
        &[("app/x", "")],
        &["unable to find one of 'kustomization.yaml'", "'app'"],
    )?;
    check(
        &[("app/kustomization.yaml", "{}"), ("app/Kustomization", "{}")],
        &["Found multiple kustomization files under: app"],
    )?;
    check(
        &[("app/kustomization.yaml", "a: [")],
        &["app/kustomization.yaml", "invalid Kustomization", "line"],
    )?;
    check(
        &[("app/kustomization.yaml", "resource: []")],
        &["json: unknown field \"resource\"; did you mean \"resources\"? (at app/kustomization.yaml:1:1, resource)"],
    )?;
    check(
        &[("app/kustomization.yaml", "namePrefix: 5")],
        &[
            "cannot unmarshal number into field namePrefix: expected a string (at app/kustomization.yaml:1:13, namePrefix)",
        ],
    )?;
    check(
        &[("app/kustomization.yaml", "kind: Kustomization")],
        &["kustomization.yaml is empty"],
    )?;
    check(&[("x", "")], &["must build at directory", "'app' doesn't exist"])
}

#[test]
fn resources_that_cannot_be_read_are_named() -> Result<()> {
    let with = |resource: &str| format!("resources: ['{resource}']");
    check(
        &[("app/kustomization.yaml", &with("gone.yaml"))],
        &["accumulating resources from 'gone.yaml'", "app/gone.yaml"],
    )?;
    check(
        &[
            ("app/kustomization.yaml", &with("a.yaml")),
            ("app/a.yaml", "x: y\na: b: c"),
        ],
        &["a.yaml", "MalformedYAMLError", "line 2"],
    )?;
    check(
        &[("app/kustomization.yaml", &with("a.yaml")), ("app/a.yaml", "kind: Pod")],
        &["a.yaml", "missing metadata.name"],
    )?;
    let twice = format!("{POD}---\n{POD}");
    check(
        &[("app/kustomization.yaml", &with("a.yaml")), ("app/a.yaml", &twice)],
        &["already registered id: Pod.v1.[noGrp]/p.[noNs]"],
    )?;
    check(
        &[("app/kustomization.yaml", &with("../a.yaml")), ("a.yaml", POD)],
        &["security; file 'a.yaml' is not in or below 'app'"],
    )?;
    check(&[("app/kustomization.yaml", &with("../../a.yaml"))], &["leads outside"])?;
    check(
        &[("app/kustomization.yaml", &with("/etc/passwd"))],
        &["cannot be absolute"],
    )
}

#[test]
fn cycles_are_found() -> Result<()> {
    check(&[("app/kustomization.yaml", "resources: [.]")], &["cycle detected"])?;
    check(
        &[
            ("app/kustomization.yaml", "resources: [../b]"),
            ("b/kustomization.yaml", "resources: [../app]"),
        ],
        &["cycle detected: candidate root 'app' contains visited root 'app'"],
    )
}

#[test]
fn what_is_not_supported_says_so() -> Result<()> {
    let words = ["not supported yet"];
    check(
        &[("app/kustomization.yaml", "helmCharts: [{name: x}]")],
        &["app/kustomization.yaml", "'helmCharts'", words[0]],
    )?;
    let plugin = "generators:\n- |\n  {apiVersion: example.com/v1, kind: Gen, metadata: {name: x}}\n";
    check(
        &[("app/kustomization.yaml", plugin)],
        &["unable to load external plugin 'Gen'", words[0]],
    )
}

#[test]
fn patches_without_an_object_are_errors() -> Result<()> {
    let patch =
        "resources: [pod.yaml]\npatches:\n- patch: |\n    {apiVersion: v1, kind: Pod, metadata: {name: other}}\n";
    check(
        &[("app/kustomization.yaml", patch), ("app/pod.yaml", POD)],
        &[
            "app/kustomization.yaml",
            "no matches for Id Pod.v1.[noGrp]/other.[noNs]",
        ],
    )?;
    let operations = "resources: [pod.yaml]\npatches:\n- target: {kind: Pod}\n  patch: '[{\"op\": \"remove\", \"path\": \"/spec\"}]'\n";
    check(
        &[("app/kustomization.yaml", operations), ("app/pod.yaml", POD)],
        &["patching Pod.v1.[noGrp]/p.[noNs]", "/spec"],
    )
}

#[test]
fn limits_hold() -> Result<()> {
    let limited = |limits: Limits| Options {
        limits,
        ..Options::default()
    };
    let files = [
        ("app/kustomization.yaml", "resources: [a]"),
        ("app/a/kustomization.yaml", "resources: [pod.yaml]"),
        ("app/a/pod.yaml", POD),
    ];
    check_with(
        &limited(Limits {
            depth: 1,
            ..Limits::default()
        }),
        &files,
        &["more than 1 kustomizations nested"],
    )?;
    check_with(
        &limited(Limits {
            file_bytes: 30,
            ..Limits::default()
        }),
        &files,
        &["larger than 30 bytes"],
    )?;
    check_with(
        &limited(Limits {
            total_bytes: 60,
            ..Limits::default()
        }),
        &files,
        &["more than 60 bytes read"],
    )?;
    check_with(
        &limited(Limits {
            files: 2,
            ..Limits::default()
        }),
        &files,
        &["more than 2 files read"],
    )?;
    check_with(
        &limited(Limits {
            objects: 0,
            ..Limits::default()
        }),
        &files,
        &["more than 0 objects"],
    )
}

#[test]
fn trees_that_copy_themselves_are_stopped() -> Result<()> {
    let mut patch = String::from("resources: [pod.yaml]\npatches:\n- target: {kind: Pod}\n  patch: |-\n");
    for name in 0..40 {
        patch.push_str(&format!(
            "    - {{op: copy, from: /metadata, path: /metadata/c{name}}}\n"
        ));
    }
    check(
        &[("app/kustomization.yaml", &patch), ("app/pod.yaml", POD)],
        &["bytes copied"],
    )?;
    let anchors: String = (1..40)
        .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1))
        .collect();
    let bomb = format!("a0: &a0 [x, x]\n{anchors}");
    check(
        &[("app/kustomization.yaml", "resources: [a.yaml]"), ("app/a.yaml", &bomb)],
        &["app/a.yaml", "alias"],
    )
}

#[test]
fn a_lenient_root_drops_unknown_fields_and_bases_stay_strict() -> Result<()> {
    let files = tree(&[
        ("kustomization.yaml", "resources: [b]\nother: 1\n"),
        ("b/kustomization.yaml", "resources: [pod.yaml]"),
        ("b/pod.yaml", POD),
    ])?;
    let options = Options {
        lenient_root: true,
        load_restriction: LoadRestriction::None,
        ..Options::default()
    };
    assert_eq!(build(&files, "", &options)?.len(), 1);
    let mut overlay = Overlay::new(&files);
    overlay.insert("b/kustomization.yaml", "resources: [pod.yaml]\nother: 1\n")?;
    assert!(build(&overlay, "", &options).is_err());
    Ok(())
}

#[test]
fn the_deepest_trees_fit_the_stack_of_a_worker_thread() -> Result<()> {
    let deep = |levels: usize| format!("{}x{}", "{a: ".repeat(levels), "}".repeat(levels));
    let object = |levels| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {}}}",
            deep(levels)
        )
    };
    let kustomization = format!(
        "resources: [pod.yaml]\nnamePrefix: x-\ncommonLabels: {{a: b}}\npatches:\n- patch: '{}'\n- target: {{kind: Pod}}\n  patch: '- {{op: copy, from: /spec, path: /spec/{}}}'\n",
        object(250),
        "a/".repeat(200) + "b",
    );
    let files = tree(&[
        ("app/kustomization.yaml", &kustomization),
        ("app/pod.yaml", &object(250)),
    ])?;
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let objects = build(&files, "app", &Options::default())?;
        Ok::<_, kustomize::Error>(yaml::to_string_all(objects.iter().map(|built| &built.object)).len())
    })?;
    let built = worker.join().map_err(|_| anyhow::anyhow!("the worker panicked"))?;
    assert!(built.is_ok_and(|length| length > 10_000));
    check(
        &[
            ("app/kustomization.yaml", "resources: [pod.yaml]"),
            ("app/pod.yaml", &object(300)),
        ],
        &["pod.yaml", "depth"],
    )
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_the_directory_only() -> Result<()> {
    use cap_std::{ambient_authority, fs::Dir};
    let temporary = tempfile::tempdir()?;
    let inside = temporary.path().join("inside");
    std::fs::create_dir_all(inside.join("base"))?;
    std::fs::write(temporary.path().join("secret.yaml"), POD)?;
    std::fs::write(inside.join("base/pod.yaml"), POD)?;
    std::fs::write(inside.join("base/kustomization.yaml"), "resources: [pod.yaml]")?;
    std::os::unix::fs::symlink("base", inside.join("link"))?;
    std::os::unix::fs::symlink("../secret.yaml", inside.join("out.yaml"))?;
    let files = kustomize::DirFiles::new(Dir::open_ambient_dir(&inside, ambient_authority())?);
    let options = Options {
        load_restriction: LoadRestriction::None,
        ..Options::default()
    };
    assert_eq!(build(&files, "link", &options)?.len(), 1);
    let mut overlay = Overlay::new(&files);
    overlay.insert("link/kustomization.yaml", "namePrefix: over-\nresources: [pod.yaml]")?;
    assert_eq!(
        build(&overlay, "link", &options)?[0].object["metadata"]["name"],
        "over-p"
    );
    std::fs::write(inside.join("kustomization.yaml"), "resources: [out.yaml]")?;
    let error = build(&files, "", &options)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(error.contains("leads outside"), "{error}");
    Ok(())
}
