//! `patches`: pieces of objects that are merged, or operations, for one object or all that a target selects.
//!
//! ```
//! # use kustomize::{MemoryFiles, Options, build};
//! let mut files = MemoryFiles::default();
//! files.insert(
//!     "kustomization.yaml",
//!     "patches: [{target: {kind: Deployment}, patch: '{kind: any, metadata: {name: any}, spec: {replicas: 2}}'}]\n\
//!      resources: [app.yaml]\n",
//! )?;
//! files.insert(
//!     "app.yaml",
//!     "{apiVersion: apps/v1, kind: Deployment, metadata: {name: app}, spec: {replicas: 1}}\n",
//! )?;
//! let objects = build(&files, "", &Options::default())?;
//! assert_eq!(objects[0].object["spec"]["replicas"], 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::apply::{Allowed, apply_to_all, from_patch, operate, read_file, read_inline, target_of};
use super::json_patch::JsonPatch;
use crate::Error;
use crate::error::{Problems, Within};
use crate::files::Loaded;
use crate::kustomization::Patch;
use crate::resource::{Resource, Resources};
use crate::select::Selector;
use crate::transform::{Pass, Transformer};

/// An entry of `patches`.
pub(crate) struct Patches {
    /// The file of the patch, when it has one.
    file: Option<String>,
    target: Option<Selector>,
    allowed: Allowed,
    what: What,
}

enum What {
    Nothing,
    Merge(Vec<Resource>),
    Operations(JsonPatch),
}

impl Patches {
    /// A patch; `load` reads its file.
    ///
    /// # Errors
    /// When it has neither path nor text, or both, or is neither kind of patch.
    pub fn new(patch: Patch, load: impl FnOnce(&str) -> Result<Loaded, Error>) -> Result<Self, Error> {
        let inline = patch.patch.trim();
        let file = match (inline.is_empty(), patch.path.as_str()) {
            (true, "") => return Err(Error::new("must specify one of patch and path")),
            (false, "") => None,
            (true, path) => Some(load(path).within(|| format!("failed to get the patch file from path({path})"))?),
            (false, _) => return Err(Error::new("patch and path can't be set at the same time")),
        };
        let (objects, text) = match &file {
            Some(file) => (read_file(file), file.content.as_slice()),
            None => (read_inline(inline), inline.as_bytes()),
        };
        let operations = std::str::from_utf8(text)
            .map_err(|_| Error::new("invalid UTF-8"))
            .and_then(JsonPatch::parse);
        let file = file.map(|file| file.path);
        let what = match (objects, operations) {
            (Ok(objects), Ok(operations)) if !objects.is_empty() && !operations.is_empty() => {
                let error = Error::new("illegally qualifies as both an SM and JSON patch");
                return Err(file.map_or(error.clone(), |file| error.in_file(&file)));
            }
            (Ok(objects), _) if objects.is_empty() => What::Nothing,
            (Ok(objects), _) => What::Merge(
                objects
                    .into_iter()
                    .map(|object| strings_if_marked(object, &patch))
                    .collect::<Result<_, Error>>()?,
            ),
            (Err(_), Ok(operations)) => What::Operations(operations),
            (Err(merge), Err(json)) => {
                let json = json.first_message().to_owned();
                return Err(merge)
                    .within(|| format!("unable to parse SM or JSON patch: as operations: {json}; as an object"));
            }
        };
        let allowed = Allowed {
            name: patch.allow_name_change,
            kind: patch.allow_kind_change,
        };
        Ok(Self {
            file,
            target: patch.target,
            allowed,
            what,
        })
    }
}

/// Upstream notes in the patch's annotations that it may rename, and so makes all of them strings.
fn strings_if_marked(mut object: Resource, patch: &Patch) -> Result<Resource, Error> {
    if patch.allow_name_change || patch.allow_kind_change {
        let annotations = object.meta_strings("annotations");
        object.set_meta_strings("annotations", annotations)?;
    }
    Ok(object)
}

impl Transformer for Patches {
    fn transform(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        let changed = self.change(resources, pass);
        match &self.file {
            Some(file) => changed.in_file(file),
            None => changed,
        }
    }
}

impl Patches {
    fn change(&self, resources: &mut Resources, pass: &Pass<'_>) -> Result<(), Error> {
        match (&self.what, &self.target) {
            (What::Nothing, _) => Ok(()),
            (What::Merge(patches), Some(target)) => {
                let [patch] = patches.as_slice() else {
                    return Err(Error::new(
                        "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` field",
                    ));
                };
                let chosen = resources
                    .select(target)
                    .within(|| "unable to find patch target in `resources`")?;
                from_patch(apply_to_all(resources, &chosen, patch, self.allowed, pass), patch)
            }
            (What::Merge(patches), None) => {
                let mut problems = Problems::default();
                for patch in patches {
                    problems.note(from_patch(self.merge(resources, patch, pass), patch))?;
                }
                problems.finish()
            }
            (What::Operations(operations), None) if operations.is_empty() => Ok(()),
            (What::Operations(_), None) => Err(Error::new("must specify a target for JSON patch")),
            (What::Operations(operations), Some(target)) => {
                let chosen = resources.select(target)?;
                operate(resources, &chosen, pass, |resource| {
                    resource.remember_id()?;
                    resource.apply_operations(operations)
                })
            }
        }
    }

    /// Merges a patch into the one object it names.
    fn merge(&self, resources: &mut Resources, patch: &Resource, pass: &Pass<'_>) -> Result<(), Error> {
        let id = patch.original_id();
        let at = target_of(resources, &id).within(|| format!("no resource matches strategic merge patch \"{id}\""))?;
        let Some(resource) = resources.body_mut(at) else {
            return Ok(());
        };
        let change = |resource: &mut Resource| resource.apply_strategic(patch.clone(), self.allowed, pass.merging());
        let merged = pass.on(resource, change);
        if resource.node.is_empty() || self.allowed.name || self.allowed.kind || resource.id() != id {
            resources.touch();
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use crate::trial::built;

    /// How many objects there are then; none when it is refused, for a reason with this text.
    fn check(entry: &str, expected: Result<usize, &str>) {
        let maps = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n\
                    {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n";
        let found = built(&format!("patches: [{{{entry}}}]"), maps);
        match expected {
            Ok(count) => assert_eq!(found.unwrap().len(), count, "{entry}"),
            Err(part) => assert!(found.unwrap_err().contains(part), "{entry}"),
        }
    }

    #[test]
    fn a_patch_is_for_one_object_or_for_all_of_a_target() {
        let delete = "'{$patch: delete, apiVersion: v1, kind: ConfigMap, metadata: {name: a}}'";
        check(&format!("patch: {delete}"), Ok(1));
        check(&format!("patch: {delete}, target: {{kind: ConfigMap}}"), Ok(0));
        check(&format!("patch: {delete}, target: {{kind: Secret}}"), Ok(2));
    }

    #[test]
    fn a_patch_is_one_thing_from_one_place() {
        check("target: {kind: ConfigMap}", Err("must specify one of patch and path"));
        check("path: all.yaml, patch: '{}'", Err("can't be set at the same time"));
        check("patch: 'text'", Err("unable to parse SM or JSON patch"));
        check("patch: '- {op: remove, path: /data}'", Err("must specify a target"));
        check(
            "path: all.yaml, target: {kind: ConfigMap}",
            Err("Multiple Strategic-Merge Patches"),
        );
    }
}
