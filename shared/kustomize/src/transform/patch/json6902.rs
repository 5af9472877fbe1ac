//! `patchesJson6902`: operations on the objects that a target selects.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "patchesJson6902: [{target: {group: apps, version: v1, kind: Deployment, name: app}, path: change.yaml}]\n\
//!      resources: [app.yaml]\n",
//! )?;
//! files.insert("change.yaml", "- {op: replace, path: /spec/replicas, value: 2}\n")?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app}, spec: {replicas: 1}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["spec"]["replicas"], 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::apply::operate;
use super::json_patch::JsonPatch;
use crate::Error;
use crate::error::Within;
use crate::files::Loaded;
use crate::resource::Resources;
use crate::select::Selector;
use crate::transform::{Pass, Transformer};

/// An entry of `patchesJson6902`.
pub(crate) struct Json6902Patch {
    target: Selector,
    patch: JsonPatch,
    /// The file of the patch, when it has one.
    file: Option<String>,
}

impl Json6902Patch {
    /// Operations from a file or a text; `load` reads the file.
    ///
    /// # Errors
    /// When the target has no name, both or neither of path and text are given, or there are no operations.
    pub fn new(
        target: Option<Selector>,
        path: &str,
        text: &str,
        load: impl FnOnce(&str) -> Result<Loaded, Error>,
    ) -> Result<Self, Error> {
        let target = target
            .filter(|target| !target.id.name.is_empty())
            .ok_or_else(|| Error::new("must specify the target name"))?;
        let (text, file) = match (path.is_empty(), text.is_empty()) {
            (true, true) => return Err(Error::new("empty file path and empty jsonOp")),
            (false, false) => return Err(Error::new("must specify a file path or jsonOp, not both")),
            (true, false) => (text.to_owned(), None),
            (false, true) => {
                let file = load(path)?;
                let text = String::from_utf8(file.content);
                let text = text
                    .map_err(|_| Error::new("the patch is not UTF-8"))
                    .in_file(&file.path)?;
                (text, Some(file.path))
            }
        };
        let patch = JsonPatch::parse(&text).within(|| "decoding JSON patch");
        let patch = match &file {
            Some(file) => patch.in_file(file)?,
            None => patch.map_err(Error::inline)?,
        };
        if patch.is_empty() {
            return Err(Error::new(format!("patch appears to be empty; file={path}")));
        }
        Ok(Self { target, patch, file })
    }
}

impl Transformer for Json6902Patch {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let chosen = resources.select(&self.target)?;
        let changed = operate(resources, &chosen, pass, |resource| {
            resource.apply_operations(&self.patch)
        });
        match &self.file {
            Some(file) => changed.in_file(file),
            None => changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    fn check(entry: &str, expected: Value) {
        let fields = format!("patchesJson6902: [{{{entry}}}]");
        let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1'}}";
        assert_eq!(first(&fields, map, "/data"), expected, "{entry}");
    }

    #[test]
    fn operations_change_what_the_target_selects() {
        let add = "patch: '[{\"op\": \"add\", \"path\": \"/data/y\", \"value\": \"2\"}]'";
        let target = |name: &str| format!("target: {{version: v1, kind: ConfigMap, name: {name}}}, {add}");
        check(&target("a"), json!({"x": "1", "y": "2"}));
        check(&target("b"), json!({"x": "1"}));
    }

    #[test]
    fn an_entry_has_a_named_target_and_operations_from_one_place() {
        let target = "target: {version: v1, kind: ConfigMap, name: a}";
        check(
            "target: {version: v1, kind: ConfigMap}, patch: '- {op: remove, path: /data}'",
            Value::Null,
        );
        check(target, Value::Null);
        check(&format!("{target}, patch: '[]'"), Value::Null);
        check(
            &format!("{target}, path: all.yaml, patch: '- {{op: remove, path: /data}}'"),
            Value::Null,
        );
    }
}
