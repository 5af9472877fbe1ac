//! The kustomization file at the root of a build: generated where there is none, with the spec merged into it.
//!
//! Nothing is written. [`kustomization`] returns the path and the new content of one file, which the caller lays over
//! the unpacked artifact. The file is taken through the Go struct of a kustomization (see
//! [`schema`](crate::normalize::schema)), so that what kustomize does not know vanishes from it, as in Flux; files
//! below stay strict.

mod root;
mod scan;

pub use root::Root;

use api::kustomize::{Image, KustomizationSpec};
use kustomize::{FileKind, Files, Positions};
use root::Merged;
use serde_json::{Map, Value, json};

use crate::normalize::schema::{self, Mismatch, Reading};

/// The names a kustomization file can have, in the order in which they are looked for.
pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

const API_VERSION: &str = "kustomize.config.k8s.io";
const KIND: &str = "Kustomization";

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 32 << 20;

/// Why there is no kustomization. The words are Flux's, with paths from the root of the artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The path names a file.
    #[error("open {0}/kustomization.yaml: not a directory remove {0}/kustomization.yaml: not a directory")]
    NotADirectory(String),
    /// A file or directory could not be read.
    #[error(transparent)]
    File(#[from] kustomize::FileError),
    /// A manifest below the path is no Kubernetes YAML.
    #[error("failed to decode Kubernetes YAML from {path}: {reason}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The existing kustomization file is no YAML.
    #[error("error converting YAML to JSON: {reason} (at {place})")]
    Syntax {
        /// The file, with line and column where they are known.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The existing kustomization file has a field of the wrong type.
    #[error("error unmarshaling JSON: while decoding JSON: {reason} (at {place})")]
    Field {
        /// The file, with line and column where they are known.
        place: String,
        /// The field and what stands there.
        reason: Mismatch,
    },
    /// A component of the spec is a URL or an absolute path.
    #[error("component path '{0}' must be local and relative")]
    Component(String),
    /// The tree below the path has too many files or is too deep.
    #[error("too many files or directories below '{0}'")]
    TooMany(String),
}

/// The kustomization file for a build of the directory `path` ("" is the root of the artifact) with a spec.
///
/// # Errors
/// See [`Error`].
pub fn kustomization(files: &dyn Files, path: &str, spec: &KustomizationSpec) -> Result<Root, Error> {
    if files.kind(path) == Some(FileKind::File) {
        return Err(Error::NotADirectory(path.to_owned()));
    }
    let existing = FILE_NAMES
        .iter()
        .find(|name| files.kind(&below(path, name)) == Some(FileKind::File));
    let mut merged = Merged::default();
    let (name, mut fields, written) = match existing {
        Some(name) => {
            let (mut fields, written) = read(files, &below(path, name))?;
            // kustomize refuses a file with nothing in it; this is something.
            if !fields.contains_key("resources") {
                fields.insert("buildMetadata".to_owned(), json!(["originAnnotations"]));
                merged.made_up("buildMetadata");
            }
            (*name, fields, Some(written))
        }
        None => {
            let resources = scan::resources(files, path)?;
            let mut fields = Map::new();
            if resources.is_empty() {
                fields.insert("namespace".to_owned(), "_placeholder".into());
            } else {
                fields.insert("resources".to_owned(), json!(resources));
            }
            (FILE_NAMES[0], fields, None)
        }
    };
    fields
        .entry("apiVersion")
        .or_insert_with(|| "kustomize.config.k8s.io/v1beta1".into());
    fields.entry("kind").or_insert_with(|| KIND.into());
    merge(&mut fields, &mut merged, files, path, spec)?;
    // The build names the file by where it is, whatever links led to it.
    let directory = files.resolve(path).unwrap_or_else(|_| path.to_owned());
    let content = yaml::to_string(&Value::Object(fields));
    Ok(Root::new(below(&directory, name), content, written, merged))
}

/// The fields of a file, and its text.
fn read(files: &dyn Files, file: &str) -> Result<(Map<String, Value>, String), Error> {
    let place = |at: Option<(usize, usize)>| match at {
        Some((line, column)) => format!("{file}:{line}:{column}"),
        None => file.to_owned(),
    };
    let text = String::from_utf8(files.read(file, MAX_FILE)?).map_err(|_| Error::Syntax {
        place: place(None),
        reason: "yaml: invalid UTF-8".to_owned(),
    })?;
    let documents = yaml::parse_json(&text, yaml::Dialect::V2).map_err(|error| Error::Syntax {
        place: place(Some((error.position().line, error.position().column))),
        reason: error.to_string(),
    })?;
    let document = documents
        .into_iter()
        .next()
        .map_or_else(|| Value::Object(Map::new()), |(_, value)| value);
    match schema::round_trip(&document, API_VERSION, KIND, Reading::Yaml) {
        Some(Ok(Value::Object(fields))) => Ok((fields, text)),
        Some(Err(reason)) => Err(Error::Field {
            place: place(Positions::read(text.as_bytes()).and_then(|positions| positions.of(&indexed(&reason.path)))),
            reason,
        }),
        // The table has the kind, and a round trip of a struct is an object.
        Some(Ok(_)) | None => Ok((Map::new(), text)),
    }
}

/// A path of names and indexes as kustomize writes it: `patches[1].target` for `patches.1.target`.
fn indexed(path: &str) -> String {
    let mut field = String::new();
    for part in path.split('.') {
        match part.parse::<usize>() {
            Ok(at) => field.push_str(&format!("[{at}]")),
            Err(_) if field.is_empty() => field.push_str(part),
            Err(_) => field.push_str(&format!(".{part}")),
        }
    }
    field
}

/// Puts the fields of the spec into those of the file: names replace, lists are appended, images are merged by name.
fn merge(
    fields: &mut Map<String, Value>,
    merged: &mut Merged,
    files: &dyn Files,
    path: &str,
    spec: &KustomizationSpec,
) -> Result<(), Error> {
    let texts = [
        ("namespace", "spec.targetNamespace", &spec.target_namespace),
        ("namePrefix", "spec.namePrefix", &spec.name_prefix),
        ("nameSuffix", "spec.nameSuffix", &spec.name_suffix),
    ];
    for (field, from, value) in texts {
        if let Some(value) = value {
            fields.insert(field.to_owned(), value.clone().into());
            merged.given(field, from);
        }
    }
    for (index, patch) in spec.patches.iter().enumerate() {
        let target = patch.target.as_ref().map(|target| json!(target));
        let mut entry = json!({"patch": patch.patch});
        if let Some(target) = target {
            entry["target"] = target;
        }
        let at = append(fields, "patches", entry);
        merged.given(format!("patches[{at}]"), format!("spec.patches[{index}]"));
    }
    for (index, component) in spec.components.iter().enumerate() {
        if !is_local_and_relative(component) {
            return Err(Error::Component(component.clone()));
        }
        if !spec.ignore_missing_components || clean(path, component).is_some_and(|component| files.exists(&component)) {
            let at = append(fields, "components", component.clone().into());
            merged.given(format!("components[{at}]"), format!("spec.components[{index}]"));
        }
    }
    for (index, image) in spec.images.iter().enumerate() {
        merge_image(fields, merged, image, format!("spec.images[{index}]"));
    }
    if !spec.build_metadata.is_empty() {
        let names: Vec<&str> = spec.build_metadata.iter().map(|choice| choice.as_str()).collect();
        fields.insert("buildMetadata".to_owned(), json!(names));
        merged.given("buildMetadata", "spec.buildMetadata");
    }
    Ok(())
}

/// Adds an entry to a list; returns its index.
fn append(fields: &mut Map<String, Value>, field: &str, entry: Value) -> usize {
    let list = fields.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = list.as_array_mut() else { return 0 };
    list.push(entry);
    list.len() - 1
}

/// A tag and a digest choose a version together: whoever gives one of them replaces both.
fn merge_image(fields: &mut Map<String, Value>, merged: &mut Merged, image: &Image, from: String) {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (new_name, new_tag, digest) = (given(&image.new_name), given(&image.new_tag), given(&image.digest));
    let known = fields.get_mut("images").and_then(Value::as_array_mut);
    let known = known.into_iter().flatten().enumerate();
    let known = known
        .filter_map(|(at, known)| Some((at, known.as_object_mut()?)))
        .find(|(_, known)| known.get("name").and_then(Value::as_str).unwrap_or_default() == image.name);
    let mut set = Map::new();
    if let Some(new_name) = new_name {
        set.insert("newName".to_owned(), new_name.into());
    }
    let version = new_tag.is_some() || digest.is_some();
    set.extend(new_tag.map(|tag| ("newTag".to_owned(), tag.into())));
    set.extend(digest.map(|digest| ("digest".to_owned(), digest.into())));
    match known {
        Some(_) if set.is_empty() => {}
        Some((at, known)) => {
            if version {
                known.remove("newTag");
                known.remove("digest");
            }
            known.append(&mut set);
            merged.changed(format!("images[{at}]"), from);
        }
        None => {
            set.insert("name".to_owned(), image.name.clone().into());
            let at = append(fields, "images", Value::Object(set));
            merged.given(format!("images[{at}]"), from);
        }
    }
}

fn is_local_and_relative(path: &str) -> bool {
    const REMOTE: [&str; 8] = [
        "git::",
        "gh:",
        "ssh://",
        "https://",
        "http://",
        "git@",
        "github.com:",
        "github.com/",
    ];
    let lower = path.to_lowercase();
    let remote = REMOTE
        .iter()
        .any(|prefix| lower.len() > prefix.len() && lower.starts_with(prefix));
    !remote && !path.starts_with('/') && !lower.strip_prefix("file://").is_some_and(|rest| rest.starts_with('/'))
}

fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// A path relative to a directory, from the root; none when it climbs out of it.
fn clean(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use kustomize::MemoryFiles;

    use super::*;

    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

    fn spec(fields: Value) -> KustomizationSpec {
        let mut spec = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "s"}});
        if let (Some(spec), Value::Object(fields)) = (spec.as_object_mut(), fields) {
            spec.extend(fields);
        }
        serde_json::from_value(spec).unwrap()
    }

    fn check(tree: &[(&str, &str)], path: &str, fields: Value, expected: Result<(&str, &str), &str>) {
        let mut files = MemoryFiles::default();
        for (path, content) in tree {
            files.insert(path, *content).unwrap();
        }
        let found = kustomization(&files, path, &spec(fields));
        let found = found
            .map(|root| (root.path, root.content))
            .map_err(|error| error.to_string());
        let head = "apiVersion: kustomize.config.k8s.io/v1beta1\n";
        let expected = expected
            .map(|(path, content)| (path.to_owned(), format!("{head}{content}")))
            .map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn without_a_kustomization_every_manifest_below_is_a_resource() {
        check(
            &[
                ("deploy/z.yaml", CONFIG),
                ("deploy/a/b.yml", CONFIG),
                ("deploy/.hidden/c.yaml", CONFIG),
                ("deploy/base/kustomization.yaml", "resources: [x.yaml]"),
                ("deploy/base/x.yaml", "not: kubernetes"),
                ("deploy/readme.md", "# text"),
                ("deploy/values.json", "{}"),
                ("other.yaml", "["),
            ],
            "deploy",
            json!({}),
            Ok((
                "deploy/kustomization.yaml",
                "kind: Kustomization\nresources:\n- ./.hidden/c.yaml\n- ./a/b.yml\n- ./base\n- ./z.yaml\n",
            )),
        );
    }

    #[test]
    fn nothing_below_is_a_placeholder_that_builds_to_nothing() {
        check(
            &[("readme.md", "")],
            "",
            json!({}),
            Ok(("kustomization.yaml", "kind: Kustomization\nnamespace: _placeholder\n")),
        );
    }

    #[test]
    fn the_first_kustomization_file_wins_and_loses_what_it_should_not_hold() {
        check(
            &[
                (
                    "kustomization.yml",
                    "resources: [a.yaml]\nunknown: 1\nNamePrefix: x-\ncommonLabels: {a: 1}\n",
                ),
                ("Kustomization", "["),
            ],
            "",
            json!({}),
            Ok((
                "kustomization.yml",
                "commonLabels:\n  a: \"1\"\nkind: Kustomization\nnamePrefix: x-\nresources:\n- a.yaml\n",
            )),
        );
    }

    #[test]
    fn a_file_without_resources_gets_build_metadata() {
        check(
            &[("kustomization.yaml", "")],
            "",
            json!({}),
            Ok((
                "kustomization.yaml",
                "buildMetadata:\n- originAnnotations\nkind: Kustomization\n",
            )),
        );
    }

    #[test]
    fn the_spec_is_merged_into_the_file() {
        check(
            &[
                (
                    "kustomization.yaml",
                    "resources: [a.yaml]\nnamespace: old\npatches: [{path: p.yaml}]\nimages:\n- {name: a, newName: x, newTag: '1'}\n- {name: b, digest: 'sha256:1'}\n",
                ),
                ("here/kustomization.yaml", ""),
            ],
            "",
            json!({
                "targetNamespace": "new", "namePrefix": "p-", "nameSuffix": "-s",
                "patches": [{"patch": "- op: remove\n  path: /a\n", "target": {"kind": "Pod", "labelSelector": "a=b"}}],
                "components": ["here", "gone"], "ignoreMissingComponents": true,
                "images": [{"name": "a", "newTag": "2"}, {"name": "b", "newName": "y"}, {"name": "c", "digest": "sha256:2"}],
                "buildMetadata": ["transformerAnnotations"],
            }),
            Ok((
                "kustomization.yaml",
                "buildMetadata:\n- transformerAnnotations\ncomponents:\n- here\nimages:\n- name: a\n  newName: x\n  newTag: \"2\"\n- digest: sha256:1\n  name: b\n  newName: \"y\"\n- digest: sha256:2\n  name: c\nkind: Kustomization\nnamePrefix: p-\nnameSuffix: -s\nnamespace: new\npatches:\n- path: p.yaml\n- patch: |\n    - op: remove\n      path: /a\n  target:\n    kind: Pod\n    labelSelector: a=b\nresources:\n- a.yaml\n",
            )),
        );
        check(
            &[("kustomization.yaml", "resources: [a]\nimages: [{name: a, newTag: '1'}]")],
            "",
            json!({"images": [{"name": "a", "digest": "sha256:1"}], "components": ["gone"]}),
            Ok((
                "kustomization.yaml",
                "components:\n- gone\nimages:\n- digest: sha256:1\n  name: a\nkind: Kustomization\nresources:\n- a\n",
            )),
        );
    }

    #[test]
    fn components_must_be_local_and_relative() {
        let remote = [
            "https://x/y",
            "HTTP://x/y",
            "git@github.com:a/b",
            "github.com/a/b",
            "gh:a",
            "ssh://x",
            "git::x",
            "/abs",
            "file:///abs",
        ];
        for component in remote {
            let expected = format!("component path '{component}' must be local and relative");
            check(
                &[("kustomization.yaml", "")],
                "",
                json!({"components": [component]}),
                Err(&expected),
            );
        }
        for component in ["../x", "x", "./x", "file://x", "gh:"] {
            assert!(is_local_and_relative(component), "{component}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        check(
            &[("a/b.yaml", CONFIG)],
            "a/b.yaml",
            json!({}),
            Err(
                "open a/b.yaml/kustomization.yaml: not a directory remove a/b.yaml/kustomization.yaml: not a directory",
            ),
        );
        check(
            &[("d/kustomization.yaml", "a: b: c\n")],
            "d",
            json!({}),
            Err(
                "error converting YAML to JSON: yaml: mapping values are not allowed in this context (at d/kustomization.yaml:1:5)",
            ),
        );
        check(
            &[("kustomization.yaml", "resources: x\n")],
            "",
            json!({}),
            Err(
                "error unmarshaling JSON: while decoding JSON: resources: cannot take a string for a list (at kustomization.yaml:1:1)",
            ),
        );
        check(
            &[("kustomization.yaml", "patches:\n- path: a\n- path: b\n  target: [1]\n")],
            "",
            json!({}),
            Err(
                "error unmarshaling JSON: while decoding JSON: patches.1.target: cannot take a list for an object (at kustomization.yaml:4:3)",
            ),
        );
        check(
            &[("a.yaml", "a: [\n")],
            "",
            json!({}),
            Err(
                "failed to decode Kubernetes YAML from a.yaml: MalformedYAMLError: yaml: line 1: did not find expected node content (at line 2, column 1)",
            ),
        );
    }
}
