//! `patches`, `patchesStrategicMerge` and `patchesJson6902`: changes written as pieces of objects or as operations.

use super::json_patch::JsonPatch;
use super::{Pass, Transformer};
use crate::error::{Problems, Within};
use crate::files::Loaded;
use crate::kustomization::{Fields, Patch};
use crate::merge::merge;
use crate::node::Node;
use crate::resource::{Id, Memory, Resource, Resources, read};
use crate::schema::Schema;
use crate::select::Selector;
use crate::{Error, Origin};

/// What a patch may change besides content.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    name: bool,
    kind: bool,
}

impl Resource {
    /// Merges a patch into this object, which is null afterwards if the patch deletes it. Whether it is another one now.
    fn apply_strategic(&mut self, patch: Resource, allowed: Allowed, schema: &Schema) -> Result<bool, Error> {
        self.share_flaws(&patch);
        let (id, before) = (self.id(), self.node.fingerprint());
        if allowed.name || allowed.kind {
            self.remember_id();
        }
        if clears_annotations(&patch.node) {
            self.memory = Memory::default();
        }
        if let Err(error) = merge(&mut self.node, patch.node, schema) {
            self.reduce_to(&id)?;
            return Err(error).within(|| format!("patching {id}"));
        }
        if self.node.is_empty() {
            return Ok(true);
        }
        if !allowed.kind {
            self.set_kind(&id.gvk.kind);
        }
        if !allowed.name {
            self.set_name(&id.name)?;
        }
        self.set_namespace(&id.namespace)?;
        self.settle_cells();
        Ok(self.node.fingerprint() != before)
    }

    /// Leaves no more of an object that could not be patched than further patches need to find it, so that they are not
    /// said to be for nothing.
    fn reduce_to(&mut self, id: &Id) -> Result<(), Error> {
        self.node = Node::map();
        self.set_api_version(&id.gvk.api_version());
        self.set_kind(&id.gvk.kind);
        self.set_name(&id.name)?;
        self.set_namespace(&id.namespace)
    }

    fn apply_operations(&mut self, patch: &JsonPatch) -> Result<bool, Error> {
        let id = self.id();
        self.check_keys()?;
        self.show_memory()?;
        self.drop_cells();
        let mut json = std::mem::replace(&mut self.node, Node::map()).into_json();
        let applied = patch.apply(&mut json).within(|| format!("patching {id}"));
        if !json.is_object() {
            self.reduce_to(&id)?;
            return Err(Error::new(format!("patching {id}: the patch leaves no object")));
        }
        self.node = Node::from_json(json);
        let changed = applied?;
        let annotations = self.meta_strings("annotations");
        self.set_meta_strings("annotations", annotations)?;
        self.hide_memory();
        Ok(changed)
    }
}

/// Whether a patch takes all annotations away. Upstream keeps what it remembers about an object in annotations, so that it
/// forgets earlier names, prefixes, and that a name is to get a hash.
fn clears_annotations(patch: &Node) -> bool {
    let clears = |node: &Node| {
        let directive = node.get("$patch").map(Node::text);
        node.is_null() || matches!(directive.as_deref(), Some("delete" | "replace"))
    };
    let Some(meta) = patch.get("metadata") else {
        return false;
    };
    clears(meta) || meta.get("annotations").is_some_and(clears)
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
    pass: &Pass<'_>,
) -> Result<(), Error> {
    let mut problems = Problems::default();
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
        let change = |resource: &mut Resource| resource.apply_strategic(copy, allowed, pass.schema);
        problems.note(pass.on(resource, change))?;
        if resource.node.is_empty() || allowed.name || allowed.kind || resource.id() != before {
            resources.touch();
        }
    }
    problems.finish()?;
    resources.drop_empty();
    if allowed.name || allowed.kind {
        resources.check_unique()?;
    }
    Ok(())
}

/// Adds the place of a patch in its file to an error.
fn from_patch<T>(result: Result<T, Error>, patch: &Resource) -> Result<T, Error> {
    result.map_err(|error| error.in_origin(patch.place.as_ref()))
}

/// The objects of a patch file.
fn read_file(file: &Loaded) -> Result<Vec<Resource>, Error> {
    let objects = read(&file.content).in_file(&file.path)?;
    let placed = objects.into_iter().map(|(line, mut object)| {
        object.place = Some(Origin {
            path: file.path.clone(),
            line: Some(line),
            ..Origin::default()
        });
        object
    });
    Ok(placed.collect())
}

/// The objects of a patch written into the kustomization.
fn read_inline(text: &str) -> Result<Vec<Resource>, Error> {
    let objects = read(text.as_bytes()).map_err(Error::inline)?;
    Ok(objects.into_iter().map(|(_, object)| object).collect())
}

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
                    resource.remember_id();
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
        let change = |resource: &mut Resource| resource.apply_strategic(patch.clone(), self.allowed, pass.schema);
        let merged = pass.on(resource, change);
        if resource.node.is_empty() || self.allowed.name || self.allowed.kind || resource.id() != id {
            resources.touch();
        }
        merged
    }
}

/// Changes the chosen objects by operations, which may change their identities.
fn operate(
    resources: &mut Resources,
    chosen: &[usize],
    pass: &Pass<'_>,
    change: impl Fn(&mut Resource) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut problems = Problems::default();
    for at in chosen {
        if let Some(resource) = resources.body_mut(*at) {
            let before = resource.id();
            let result = pass.on(resource, &change);
            if resource.id() != before {
                resources.touch();
            }
            problems.note(result)?;
        }
    }
    problems.finish()
}

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
