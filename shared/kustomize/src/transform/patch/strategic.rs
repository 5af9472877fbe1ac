//! `patchesStrategicMerge`: pieces of objects that are merged into the objects they name.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert("kustomization.yaml", "patchesStrategicMerge: [patch.yaml]\nresources: [app.yaml]\n")?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app}, spec: {replicas: 1}}\n",
//! )?;
//! files.insert("patch.yaml", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app}, spec: {replicas: 2}}\n")?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["spec"]["replicas"], 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::apply::{Allowed, apply_to_all, from_patch, read_file, read_inline, target_of};
use crate::Error;
use crate::error::Problems;
use crate::files::Loaded;
use crate::kustomization::Fields;
use crate::resource::{Resource, Resources};
use crate::transform::{Pass, Transformer};

/// `patchesStrategicMerge`.
pub(crate) struct StrategicPatches {
    patches: Vec<Resource>,
}

impl StrategicPatches {
    /// Patches from a field with paths or inline texts, and from an inline text; `load` reads files.
    ///
    /// # Errors
    /// When a path cannot be read or there is no patch at all.
    pub fn new(
        paths: (&str, &[String]),
        inline: &str,
        load: impl Fn(&str) -> Result<Loaded, Error>,
    ) -> Result<Self, Error> {
        let (field, paths) = paths;
        if paths.is_empty() && inline.is_empty() {
            return Err(Error::new("empty file path and empty patch content"));
        }
        let mut problems = Problems::default();
        let mut patches = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            let objects = read_inline(path).or_else(|_| read_file(&load(path)?));
            let objects = objects.map_err(|error| error.in_field(&format!("{field}[{at}]")));
            patches.extend(problems.note(objects)?.into_iter().flatten());
        }
        problems.finish()?;
        if !inline.is_empty() {
            patches.extend(read_inline(inline)?);
        }
        if patches.is_empty() {
            return Err(Error::new(format!("patch appears to be empty; files={paths:?}")));
        }
        Ok(Self { patches })
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>, load: impl Fn(&str) -> Result<Loaded, Error>) -> Result<Self, Error> {
        let (paths, patches) = (fields.texts("paths")?, fields.text("patches")?);
        Self::new(("paths", &paths), &patches, load)
    }
}

impl Transformer for StrategicPatches {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let mut problems = Problems::default();
        for patch in &self.patches {
            let changed = target_of(resources, &patch.original_id())
                .and_then(|at| apply_to_all(resources, &[at], patch, Allowed::default(), pass));
            problems.note(from_patch(changed, patch))?;
        }
        problems.finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::first;
    use serde_json::{Value, json};

    const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: '1', y: '2'}}";

    fn patch(name: &str, data: &str) -> String {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {data}}}")
    }

    fn check(patches: &[String], expected: Value) {
        let fields = format!("patchesStrategicMerge: {}", json!(patches));
        assert_eq!(first(&fields, MAP, "/data"), expected, "{fields}");
    }

    #[test]
    fn patches_are_merged_one_after_the_other() {
        let (one, other) = (patch("a", "{x: 3, z: '4'}"), patch("a", "{x: null, z: '5'}"));
        check(&[one.clone(), other.clone()], json!({"y": "2", "z": "5"}));
        check(&[format!("{one}\n---\n{other}\n")], json!({"y": "2", "z": "5"}));
    }

    #[test]
    fn a_patch_needs_its_object() {
        check(&[patch("b", "{}")], Value::Null);
        check(&["# nothing".to_owned()], Value::Null);
    }
}
