//! The manifests below a directory, for a directory without a kustomization file.

use kustomize::{FileKind, Files};
use serde_json::Value;

use super::{Error, FILE_NAMES, MAX_FILE, below};

/// How deep directories may nest below the path.
const MAX_DEPTH: usize = 64;
/// How many files and directories there may be below the path.
const MAX_ENTRIES: usize = 200_000;

/// The resources below `path` as the generated file names them (`./a/b.yaml`), in the order of a walk through sorted
/// directories. A directory with a kustomization file is one resource. Every other YAML file is checked: files that
/// have nothing to do with Kubernetes do not belong below the path.
pub(super) fn resources(files: &dyn Files, path: &str) -> Result<Vec<String>, Error> {
    let mut walk = Walk {
        files,
        base: path,
        seen: 0,
        resources: Vec::new(),
    };
    walk.directory(path, 0)?;
    Ok(walk.resources)
}

struct Walk<'a> {
    files: &'a dyn Files,
    base: &'a str,
    seen: usize,
    resources: Vec<String>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &str, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooMany(self.base.to_owned()));
        }
        for name in self.files.list(path)? {
            self.seen += 1;
            if self.seen > MAX_ENTRIES {
                return Err(Error::TooMany(self.base.to_owned()));
            }
            let entry = below(path, &name);
            match self.files.kind(&entry) {
                Some(FileKind::Directory) => {
                    let built = |name: &str| self.files.kind(&below(&entry, name)) == Some(FileKind::File);
                    if FILE_NAMES.iter().any(|name| built(name)) {
                        self.add(&entry);
                    } else {
                        self.directory(&entry, depth + 1)?;
                    }
                }
                Some(FileKind::File) if name.ends_with(".yaml") || name.ends_with(".yml") => {
                    let content = self.files.read(&entry, MAX_FILE)?;
                    check(&content).map_err(|reason| Error::Manifest {
                        path: entry.clone(),
                        reason,
                    })?;
                    self.add(&entry);
                }
                Some(FileKind::File) | None => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str) {
        let relative = path.strip_prefix(self.base).unwrap_or(path).trim_start_matches('/');
        self.resources.push(format!("./{relative}"));
    }
}

/// What kustomize asks of every document of a resource file. What is wrong beyond that is left to the build, which
/// names the place.
fn check(content: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(content).map_err(|_| "MalformedYAMLError: yaml: invalid UTF-8".to_owned())?;
    let documents = match yaml::parse_json(text, yaml::Dialect::V3) {
        Ok(documents) => documents,
        Err(error) => match error.kind() {
            yaml::ErrorKind::Syntax => return Err(format!("MalformedYAMLError: {error} (at {})", error.position())),
            yaml::ErrorKind::Separator | yaml::ErrorKind::Limit => return Err(error.to_string()),
            yaml::ErrorKind::Content => return Ok(()),
        },
    };
    documents.iter().try_for_each(|(_, document)| check_document(document))
}

fn check_document(document: &Value) -> Result<(), String> {
    if is_nothing(document) {
        return Ok(());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        scalar => scalar.to_string(),
    };
    let kind = text(&document["kind"]);
    if kind.ends_with("List")
        && let Some(items) = document.get("items").filter(|items| !items.is_null())
    {
        let Some(items) = items.as_array() else {
            let found = match items {
                Value::Object(_) => "map[string]interface {}",
                Value::Bool(_) => "bool",
                Value::Number(number) if number.is_f64() => "float64",
                Value::Number(_) => "int",
                Value::Null | Value::String(_) | Value::Array(_) => "string",
            };
            return Err(format!("expected array in {kind}/items, but found {found}"));
        };
        return items.iter().try_for_each(check_document);
    }
    let metadata = &document["metadata"];
    let said = ["apiVersion", "kind"]
        .iter()
        .any(|field| !is_nothing(&document[*field]))
        || ["name", "namespace", "labels", "annotations"]
            .iter()
            .any(|field| !is_nothing(&metadata[*field]));
    if !said {
        return Err("missing Resource metadata".to_owned());
    }
    let shown = || {
        let labels = |field: &str| {
            let entries = metadata[field].as_object().into_iter().flatten();
            entries
                .map(|(key, value)| format!("{key}:{}", text(value)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!(
            "{{{{{} {kind}}} {{{{{} {}}} map[{}] map[{}]}}}}",
            text(&document["apiVersion"]),
            text(&metadata["name"]),
            text(&metadata["namespace"]),
            labels("labels"),
            labels("annotations"),
        )
    };
    if kind.is_empty() {
        return Err(format!("missing kind in object {}", shown()));
    }
    if !kind.ends_with("List") && text(&metadata["name"]).is_empty() {
        return Err(format!("missing metadata.name in object {}", shown()));
    }
    Ok(())
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    fn check(content: &str, expected: Result<(), &str>) {
        assert_eq!(
            super::check(content.as_bytes()),
            expected.map_err(str::to_owned),
            "{content}"
        );
    }

    #[test]
    fn kubernetes_objects_pass() {
        check(
            "apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n# nothing\n---\n{}\n",
            Ok(()),
        );
        check("", Ok(()));
        check("kind: AList\n", Ok(()));
        check(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: A\n  metadata: {name: a}\n",
            Ok(()),
        );
        check("kind: List\nitems:\n", Ok(()));
    }

    #[test]
    fn other_yaml_does_not() {
        check("replicas: 1\n", Err("missing Resource metadata"));
        check("- a\n", Err("missing Resource metadata"));
        check("text\n", Err("missing Resource metadata"));
        check(
            "apiVersion: v1\nmetadata: {name: a}\n",
            Err("missing kind in object {{v1 } {{a } map[] map[]}}"),
        );
        check(
            "apiVersion: v1\nkind: A\nmetadata: {namespace: n, labels: {b: c, a: b}}\n",
            Err("missing metadata.name in object {{v1 A} {{ n} map[a:b b:c] map[]}}"),
        );
        check("kind: List\nitems: [{a: b}]\n", Err("missing Resource metadata"));
        check(
            "kind: List\nitems: a\n",
            Err("expected array in List/items, but found string"),
        );
        check(
            "a: [\n",
            Err("MalformedYAMLError: yaml: line 1: did not find expected node content (at line 2, column 1)"),
        );
    }

    #[test]
    fn what_the_build_tells_better_is_left_to_it() {
        check("a: 1\na: 2\n", Ok(()));
    }
}
