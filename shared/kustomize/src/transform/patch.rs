//! `patches`, `patchesStrategicMerge` and `patchesJson6902`: changes written as pieces of objects or as operations.

use super::Transformer;
use super::json_patch::JsonPatch;
use crate::Error;
use crate::error::Within;
use crate::kustomization::{Fields, Patch};
use crate::merge::merge;
use crate::node::Node;
use crate::resource::{Id, Resource, Resources, read};
use crate::schema::Schema;
use crate::select::Selector;

/// What a patch may change besides content.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    name: bool,
    kind: bool,
}

impl Resource {
    /// Merges a patch into this object, which is null afterwards if the patch deletes it.
    fn apply_strategic(&mut self, patch: Node, allowed: Allowed, schema: &Schema) -> Result<(), Error> {
        let id = self.id();
        if allowed.name || allowed.kind {
            self.remember_id();
        }
        merge(&mut self.node, patch, schema).within(|| format!("patching {id}"))?;
        if self.node.is_empty() {
            return Ok(());
        }
        if !allowed.kind {
            self.set_kind(&id.gvk.kind);
        }
        if !allowed.name {
            self.set_name(&id.name)?;
        }
        self.set_namespace(&id.namespace)?;
        self.settle_cells();
        Ok(())
    }

    fn apply_operations(&mut self, patch: &JsonPatch) -> Result<(), Error> {
        let id = self.id();
        self.show_memory()?;
        self.drop_cells();
        let mut json = std::mem::replace(&mut self.node, Node::map()).into_json();
        patch.apply(&mut json).within(|| format!("patching {id}"))?;
        if !json.is_object() {
            return Err(Error::new(format!("patching {id}: the patch leaves no object")));
        }
        self.node = Node::from_json(json);
        let annotations = self.meta_strings("annotations");
        self.set_meta_strings("annotations", annotations)?;
        self.hide_memory();
        Ok(())
    }
}

/// The object a patch without target is for.
fn target_of(resources: &Resources, id: &Id) -> Result<usize, Error> {
    let why = match resources.with_any_id(id) {
        [at] => return Ok(*at),
        [] => "no matches",
        _ => "multiple matches",
    };
    Err(Error::new(format!(
        "{why} for Id {id}; failed to find unique target for patch {id}"
    )))
}

/// Merges a patch into several objects, each as if the patch had been written for it.
fn apply_to_all(
    resources: &mut Resources,
    chosen: &[usize],
    patch: &Resource,
    allowed: Allowed,
    schema: &Schema,
) -> Result<(), Error> {
    for at in chosen {
        let Some(resource) = resources.body_mut(*at) else {
            continue;
        };
        let mut copy = patch.clone();
        // Upstream rebuilds labels and annotations of the patch as strings on the way, nulls included.
        for field in ["labels", "annotations"] {
            let strings = copy.meta_strings(field);
            copy.set_meta_strings(field, strings)?;
        }
        copy.set_api_version(&resource.api_version());
        let before = resource.id();
        resource.apply_strategic(copy.node, allowed, schema)?;
        if resource.node.is_empty() || allowed.name || allowed.kind || resource.id() != before {
            resources.touch();
        }
    }
    resources.drop_empty();
    if allowed.name || allowed.kind {
        resources.check_unique()?;
    }
    Ok(())
}

/// An entry of `patches`.
pub(crate) struct Patches {
    source: String,
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
    pub fn new(patch: Patch, load: impl FnOnce(&str) -> Result<Vec<u8>, Error>) -> Result<Self, Error> {
        let inline = patch.patch.trim();
        let (text, source) = match (inline.is_empty(), patch.path.as_str()) {
            (true, "") => return Err(Error::new("patches: must specify one of patch and path")),
            (false, "") => (
                inline.as_bytes().to_vec(),
                format!(
                    "[patch: \"{}\"]",
                    inline.lines().take(4).collect::<Vec<_>>().join("\\n")
                ),
            ),
            (true, path) => (
                load(path).within(|| format!("failed to get the patch file from path({path})"))?,
                format!("[path: \"{path}\"]"),
            ),
            (false, _) => return Err(Error::new("patches: patch and path can't be set at the same time")),
        };
        let objects = read(&text);
        let operations = std::str::from_utf8(&text)
            .map_err(|_| Error::new("invalid UTF-8"))
            .and_then(JsonPatch::parse);
        let what = match (objects, operations) {
            (Ok(objects), Ok(operations)) if !objects.is_empty() && !operations.is_empty() => {
                return Err(Error::new(format!(
                    "illegally qualifies as both an SM and JSON patch: {source}"
                )));
            }
            (Ok(objects), _) if objects.is_empty() => What::Nothing,
            (Ok(objects), _) => What::Merge(objects.into_iter().map(|(_, object)| object).collect()),
            (Err(_), Ok(operations)) => What::Operations(operations),
            (Err(merge), Err(json)) => {
                return Err(Error::new(format!(
                    "unable to parse SM or JSON patch from {source}: as an object: {merge}; as operations: {json}"
                )));
            }
        };
        let allowed = Allowed {
            name: patch.allow_name_change,
            kind: patch.allow_kind_change,
        };
        Ok(Self {
            source,
            target: patch.target,
            allowed,
            what,
        })
    }
}

impl Transformer for Patches {
    fn transform(&self, resources: &mut Resources, schema: &Schema) -> Result<(), Error> {
        match (&self.what, &self.target) {
            (What::Nothing, _) => Ok(()),
            (What::Merge(patches), Some(target)) => {
                let [patch] = patches.as_slice() else {
                    return Err(Error::new(format!(
                        "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` field: {}",
                        self.source
                    )));
                };
                let chosen = resources
                    .select(target)
                    .within(|| "unable to find patch target in `resources`")?;
                apply_to_all(resources, &chosen, patch, self.allowed, schema)
            }
            (What::Merge(patches), None) => {
                for patch in patches {
                    let id = patch.original_id();
                    let at = target_of(resources, &id)
                        .within(|| format!("no resource matches strategic merge patch \"{id}\""))?;
                    let Some(resource) = resources.body_mut(at) else {
                        continue;
                    };
                    resource.apply_strategic(patch.node.clone(), self.allowed, schema)?;
                    if resource.node.is_empty() || self.allowed.name || self.allowed.kind || resource.id() != id {
                        resources.touch();
                    }
                }
                Ok(())
            }
            (What::Operations(operations), None) if operations.is_empty() => Ok(()),
            (What::Operations(_), None) => Err(Error::new(format!(
                "must specify a target for JSON patch {}",
                self.source
            ))),
            (What::Operations(operations), Some(target)) => {
                for at in resources.select(target)? {
                    let Some(resource) = resources.get_mut(at) else {
                        continue;
                    };
                    resource.remember_id();
                    resource.apply_operations(operations)?;
                }
                Ok(())
            }
        }
    }
}

/// `patchesStrategicMerge`.
pub(crate) struct StrategicPatches {
    patches: Vec<Resource>,
}

impl StrategicPatches {
    /// Patches from paths or inline texts; `load` reads files.
    ///
    /// # Errors
    /// When a path cannot be read or there is no patch at all.
    pub fn new(paths: &[String], inline: &str, load: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Self, Error> {
        if paths.is_empty() && inline.is_empty() {
            return Err(Error::new("empty file path and empty patch content"));
        }
        let mut patches = Vec::new();
        for path in paths {
            let objects = match read(path.as_bytes()) {
                Ok(objects) => objects,
                Err(_) => read(&load(path)?).within(|| format!("patch file '{path}'"))?,
            };
            patches.extend(objects.into_iter().map(|(_, object)| object));
        }
        if !inline.is_empty() {
            patches.extend(read(inline.as_bytes())?.into_iter().map(|(_, object)| object));
        }
        if patches.is_empty() {
            return Err(Error::new(format!("patch appears to be empty; files={paths:?}")));
        }
        Ok(Self { patches })
    }

    /// From a plugin configuration.
    pub fn decode(fields: &mut Fields<'_>, load: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Self, Error> {
        let (paths, patches) = (fields.texts("paths")?, fields.text("patches")?);
        Self::new(&paths, &patches, load)
    }
}

impl Transformer for StrategicPatches {
    fn transform(&self, resources: &mut Resources, schema: &Schema) -> Result<(), Error> {
        for patch in &self.patches {
            let at = target_of(resources, &patch.original_id())?;
            apply_to_all(resources, &[at], patch, Allowed::default(), schema)?;
        }
        Ok(())
    }
}

/// An entry of `patchesJson6902`.
pub(crate) struct Json6902Patch {
    target: Selector,
    patch: JsonPatch,
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
        load: impl FnOnce(&str) -> Result<Vec<u8>, Error>,
    ) -> Result<Self, Error> {
        let target = target
            .filter(|target| !target.id.name.is_empty())
            .ok_or_else(|| Error::new("must specify the target name"))?;
        let text = match (path.is_empty(), text.is_empty()) {
            (true, true) => return Err(Error::new("empty file path and empty jsonOp")),
            (false, false) => return Err(Error::new("must specify a file path or jsonOp, not both")),
            (true, false) => text.to_owned(),
            (false, true) => {
                String::from_utf8(load(path)?).map_err(|_| Error::new(format!("patch file '{path}' is not UTF-8")))?
            }
        };
        let patch = JsonPatch::parse(&text).within(|| format!("decoding JSON patch {path}"))?;
        if patch.is_empty() {
            return Err(Error::new(format!("patch appears to be empty; file={path}")));
        }
        Ok(Self { target, patch })
    }
}

impl Transformer for Json6902Patch {
    fn transform(&self, resources: &mut Resources, _: &Schema) -> Result<(), Error> {
        for at in resources.select(&self.target)? {
            if let Some(resource) = resources.get_mut(at) {
                resource.apply_operations(&self.patch)?;
            }
        }
        Ok(())
    }
}
