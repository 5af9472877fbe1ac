//! A build over a tree with the recorded footprint has the recorded result: what changes the footprint, what does not, and
//! random trees.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use kustomize::{BuiltObject, DirFiles, Files, Footprint, LoadRestriction, MemoryFiles, Options, Overlay, Recorded};

/// A kustomization laid over the one of the tree, which must not count.
const OVER: &str = "resources: [a.yaml, sub, ../base]\ncomponents: [../part]\nnamePrefix: x-\n";

const TREE: [(&str, &str); 9] = [
    ("app/kustomization.yaml", "resources: [gone.yaml]\n"),
    (
        "app/a.yaml",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}\n",
    ),
    (
        "app/sub/kustomization.yaml",
        "configMapGenerator: [{name: s, files: [s.txt]}]\n",
    ),
    ("app/sub/s.txt", "text"),
    ("app/README.md", "not read"),
    ("base/kustomization.yaml", "resources: [b.yaml]\n"),
    (
        "base/b.yaml",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n",
    ),
    (
        "part/kustomization.yaml",
        "kind: Component\npatches: [{path: p.yaml, target: {kind: ConfigMap}}]\n",
    ),
    ("part/p.yaml", "- op: add\n  path: /data\n  value: {k: w}\n"),
];

fn options() -> Options {
    Options {
        load_restriction: LoadRestriction::None,
        ..Options::default()
    }
}

/// Every YAML file in and below the directory, as something that makes a kustomization for it would look for them.
fn scan(files: &dyn Files, dir: &str, found: &mut Vec<String>) -> Result<()> {
    for name in files.list(dir)? {
        let path = format!("{dir}/{name}");
        if files.is_dir(&path) {
            scan(files, &path, found)?;
        } else if name.ends_with(".yaml") {
            found.push(path);
        }
    }
    Ok(())
}

fn built(files: &dyn Files) -> Result<Vec<BuiltObject>> {
    let mut overlay = Overlay::new(files);
    scan(files, "app", &mut Vec::new())?;
    overlay.insert("app/kustomization.yaml", OVER)?;
    Ok(kustomize::build(&overlay, "app", &options())?)
}

fn footprint(files: &dyn Files) -> Result<Footprint> {
    let recorded = Recorded::new(files);
    let direct = built(files)?;
    ensure!(
        built(&recorded)? == direct && direct.len() == 3,
        "recording changes the build"
    );
    Ok(recorded.footprint())
}

/// A change of the tree, and whether the footprint stays that of the tree.
type Change = (&'static str, Option<&'static str>, bool);

const CHANGES: [Change; 14] = [
    ("app/README.md", Some("still not read"), true),
    ("app/sub/s.txt", Some("other"), false),
    (
        "app/a.yaml",
        Some("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: x}}\n"),
        false,
    ),
    // The one that is laid over is not read.
    ("app/kustomization.yaml", Some("{}"), true),
    ("app/new.txt", Some("in a directory that was listed"), false),
    ("base/new.txt", Some("in a directory that was not listed"), true),
    ("new/kustomization.yaml", Some("in a directory of its own"), true),
    ("base/kustomization.yml", Some("{}"), false),
    ("app/kustomization.yml", Some("{}"), false),
    ("app/README.md", None, false),
    ("app/a.yaml", None, false),
    (
        "base/b.yaml",
        Some("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"),
        false,
    ),
    ("base/kustomization.yaml", Some("namePrefix: y-\n"), false),
    (
        "part/p.yaml",
        Some("- op: add\n  path: /data\n  value: {k: u}\n"),
        false,
    ),
];

#[test]
fn the_footprint_in_memory_is_of_trees_that_differ_in_what_was_not_read() -> Result<()> {
    let tree = |change: Option<Change>| -> Result<MemoryFiles> {
        let mut files = MemoryFiles::default();
        let changed = change.map(|(path, _, _)| path);
        for (path, content) in TREE.iter().filter(|(path, _)| Some(*path) != changed) {
            files.insert(path, *content)?;
        }
        if let Some((path, Some(content), _)) = change {
            files.insert(path, content)?;
        }
        Ok(files)
    };
    let files = tree(None)?;
    let footprint = footprint(&files)?;
    assert!(footprint.is_of(&files));
    assert!(footprint.size() < 3000, "{} bytes for {footprint:?}", footprint.size());
    for change in CHANGES {
        assert_eq!(footprint.is_of(&tree(Some(change))?), change.2, "{change:?}");
    }
    Ok(())
}

/// Writes the tree; `link` leads from `app/sub` to where it is.
fn write(root: &Path, link: &str) -> Result<()> {
    for (path, content) in TREE {
        let path = root.join(path.replace("app/sub/", "one/"));
        std::fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        std::fs::write(path, content)?;
    }
    std::fs::create_dir_all(root.join("two"))?;
    std::fs::copy(root.join("one/kustomization.yaml"), root.join("two/kustomization.yaml"))?;
    std::fs::copy(root.join("one/s.txt"), root.join("two/s.txt"))?;
    std::os::unix::fs::symlink(link, root.join("app/sub"))?;
    Ok(())
}

fn open(root: &Path) -> Result<DirFiles> {
    Ok(DirFiles::new(Dir::open_ambient_dir(root, ambient_authority())?))
}

#[test]
fn the_footprint_of_a_directory_is_of_others_that_differ_in_what_was_not_read() -> Result<()> {
    let first = tempfile::tempdir()?;
    write(first.path(), "../one")?;
    let files = open(first.path())?;
    let footprint = footprint(&files)?;
    assert!(footprint.is_of(&files));
    for (path, content, expected) in CHANGES {
        let other = tempfile::tempdir()?;
        write(other.path(), "../one")?;
        let file = other.path().join(path);
        match content {
            Some(content) => {
                std::fs::create_dir_all(file.parent().context("a file is in a directory")?)?;
                std::fs::write(file, content)?;
            }
            None => std::fs::remove_file(file)?,
        }
        assert_eq!(footprint.is_of(&open(other.path())?), expected, "{path} {content:?}");
    }
    Ok(())
}

#[test]
fn links_count_by_where_they_lead() -> Result<()> {
    let first = tempfile::tempdir()?;
    write(first.path(), "../one")?;
    let footprint = footprint(&open(first.path())?)?;
    for (link, expected) in [
        ("../one", true),
        ("../two/../one", true),
        // The same contents in another place.
        ("../two", false),
        ("../gone", false),
        ("/", false),
        ("sub", false),
    ] {
        let other = tempfile::tempdir()?;
        write(other.path(), link)?;
        assert_eq!(footprint.is_of(&open(other.path())?), expected, "{link}");
    }
    Ok(())
}

/// A tree of a few directories whose kustomizations refer to one another and to files that may be there.
fn random(random: &mut fastrand::Rng) -> Result<MemoryFiles> {
    const DIRS: [&str; 4] = ["app", "app/sub", "base", "part"];
    let mut files = MemoryFiles::default();
    for dir in DIRS {
        for name in ["a.yaml", "b.yaml", "c.txt", "d/e.yaml"] {
            if random.u8(..5) > 0 {
                let (name, value) = (format!("{dir}/{name}"), random.u8(..2));
                let object = name.replace(['/', '.'], "-");
                let text = format!(
                    "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {object}}}, data: {{k: '{value}'}}}}\n"
                );
                files.insert(&name, text)?;
            }
        }
        let component = dir == "part";
        let mut text = if component {
            "kind: Component\n"
        } else {
            "kind: Kustomization\n"
        }
        .to_owned();
        let resources = match (dir, random.u8(..4)) {
            ("app", 0) => "[a.yaml, sub]",
            ("app", 1) => "[sub, ../base]",
            ("app", _) => "[a.yaml, ../base]",
            (_, 0) => "[d/e.yaml]",
            (_, 1) => "[b.yaml, d/e.yaml]",
            (_, _) => "[b.yaml]",
        };
        text.push_str(&format!("resources: {resources}\n"));
        for (line, odds) in [
            ("components: [../part]\n", if dir == "base" { 4 } else { 0 }),
            ("namePrefix: p-\n", 3),
            ("configMapGenerator: [{name: g, files: [c.txt]}]\n", 2),
            ("patches: [{path: d/e.yaml}]\n", 1),
        ] {
            if random.u8(..10) < odds {
                text.push_str(line);
            }
        }
        if random.u8(..20) > 0 {
            files.insert(&format!("{dir}/kustomization.yaml"), text)?;
        }
        if random.u8(..20) == 0 {
            files.insert(&format!("{dir}/Kustomization"), "{}")?;
        }
    }
    Ok(files)
}

/// The tree with one file removed, changed or added, mostly.
fn changed(files: &MemoryFiles, random: &mut fastrand::Rng) -> Result<MemoryFiles> {
    let victim = random.usize(..files.iter().count());
    let mut changed = MemoryFiles::default();
    for (at, (path, content)) in files.iter().enumerate() {
        match random.u8(..4) {
            _ if at != victim => changed.insert(path, content)?,
            0 => {}
            1 => changed.insert(&path.replace(".yaml", ".yml"), content)?,
            2 => changed.insert(path, String::from_utf8_lossy(content).replace('0', "1"))?,
            _ => changed.insert(path, [content, b"\n# more\n"].concat())?,
        }
    }
    Ok(changed)
}

#[test]
fn random_trees_with_one_footprint_build_to_one_result() -> Result<()> {
    let (mut same, mut differ, mut objects) = (0, 0, 0);
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let files = random(&mut rng)?;
        let build = |files: &dyn Files| kustomize::build(files, "app", &options()).map_err(|error| error.to_string());
        let recorded = Recorded::new(&files);
        let first = build(&recorded);
        objects += first.as_ref().map_or(0, Vec::len);
        let footprint = recorded.footprint();
        ensure!(footprint.is_of(&files), "seed {seed}: not of its own tree");
        for _ in 0..8 {
            let other = changed(&files, &mut rng)?;
            let second = build(&other);
            if footprint.is_of(&other) {
                same += 1;
                ensure!(first == second, "seed {seed}: {first:?} and {second:?}");
            } else {
                differ += 1;
            }
        }
    }
    // A test in which nothing ever was the same, differed or could be built would show nothing.
    ensure!(same > 500 && differ > 500 && objects > 200, "{same} {differ} {objects}");
    Ok(())
}
