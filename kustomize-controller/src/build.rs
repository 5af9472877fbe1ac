//! From an unpacked artifact and a spec to the objects to apply: generate, build, substitute, prepare, sort.
//!
//! A function of its inputs and of what a [`Fetch`] answers: the tree is only read, through a handle that cannot be left, and
//! the kustomization that the spec changes is laid over it, not written into it. Errors and origins name files as they were
//! written, and fields of the spec by their names in the spec. What is not done here: fetching, loading variables, applying.

use crate::artifacts::Tree;
use crate::failure::Failure;
use crate::inventory::ObjectId;
use crate::origins::{Origin, Origins};
use crate::remote_bases::RemoteBases;
use crate::variables::Variables;
use crate::{generate, health, normalize, stages, substitute};
use api::kustomize::{KustomizationSpec, SubstituteStrategy};
use api::meta::key;
use kustomize::{Builder, DirFiles, Fetch, FileKind, Files, Footprint, LoadRestriction, Options, Recorded, Reorder};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;

/// What is to be built, and for whom.
#[derive(Clone, Debug)]
pub struct Request {
    /// The spec of the Kustomization.
    pub spec: KustomizationSpec,
    /// Its namespace and name, which become the owner labels.
    pub owner: (String, String),
    /// The directory in the artifact; see [`path`].
    pub path: String,
    /// The variables, or why there are none.
    pub variables: Variables,
    /// A variable that is not set is an error.
    pub strict: bool,
    /// Kinds of a stage of their own, as (group, kind).
    pub stage_kinds: Vec<(String, String)>,
}

/// A built object and where it comes from.
type Made = (Value, Origin);

/// What a build makes.
#[derive(Clone, Debug)]
pub struct Built {
    /// The objects, ready to be applied.
    pub stages: Vec<stages::Stage>,
    /// The digest of the built text, before labels of ours.
    pub digest: String,
    /// Jobs that may vanish once they are done.
    pub vanishing: HashSet<ObjectId>,
    /// An object that must not be applied because it is still encrypted.
    pub encrypted: Option<ObjectId>,
    /// What the build asked of the tree: another tree that answers the same builds the same. None for a build that asked for
    /// remote bases too, which may have others at any time.
    pub footprint: Option<Footprint>,
    /// Where each object was written, and what changed it on the way.
    pub origins: Origins,
}

/// The directory that `spec.path` names, relative to the root of the artifact; `..` stops at the root.
///
/// # Errors
/// A path that is not there.
pub fn path(tree: &Tree, path: &str) -> Result<String, Failure> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let dir = tree.open().map_err(|error| Failure::Workspace(error.to_string()))?;
    match DirFiles::new(dir).kind(&path) {
        Some(FileKind::Directory | FileKind::File) => Ok(path),
        None => Err(Failure::Artifact(format!(
            "kustomization path not found: stat {path}: no such file or directory"
        ))),
    }
}

/// Whether a tree would be built to the same objects as the one that left the footprint, all else being equal.
pub fn is_same(tree: &Tree, footprint: &Footprint) -> bool {
    tree.open().is_ok_and(|dir| footprint.is_of(&DirFiles::new(dir)))
}

/// Builds the objects. Without `remote_bases` a kustomization that refers to some is an error. The build fails soon after
/// `stop` says true.
///
/// # Errors
/// [`Failure::Build`] with the file, line and object at fault where they are known.
pub fn manifests(
    tree: &Tree,
    request: &Request,
    remote_bases: Option<&RemoteBases>,
    stop: &dyn Fn() -> bool,
) -> Result<Built, Failure> {
    let dir = tree.open().map_err(|error| Failure::Workspace(error.to_string()))?;
    let files = DirFiles::new(dir);
    let recorded = Recorded::new(&files);
    let fetch = remote_bases.map(|bases| bases as &dyn Fetch);
    let (built, alone) = built(&recorded, request, fetch, stop).map_err(Failure::Build)?;
    let footprint = alone.then(|| recorded.footprint());
    let text = yaml::to_string_all(built.iter().map(|(object, _)| object));
    let digest = format!("sha256:{:x}", Sha256::digest(text.as_bytes()));
    let mut built = flat(built);
    // Before the normal form, which drops the field that tells.
    let encrypted = built.iter().find(|(object, _)| is_encrypted(object));
    let encrypted = encrypted.map(|(object, _)| ObjectId::of(object));
    let common: Arc<str> = "spec.commonMetadata".into();
    for (object, origin) in &mut built {
        if prepare(object, request) {
            origin.changed_by(Arc::clone(&common));
        }
    }
    let (objects, origins): (Vec<_>, Vec<_>) = built.into_iter().unzip();
    let origins = objects.iter().map(ObjectId::of).zip(origins).collect();
    let vanishing = objects
        .iter()
        .filter(|object| health::vanishes(object))
        .map(ObjectId::of)
        .collect();
    Ok(Built {
        stages: stages::stages(objects, &request.stage_kinds),
        digest,
        vanishing,
        encrypted,
        footprint,
        origins,
    })
}

/// The objects with variables in place, where they come from, and whether that is the files alone.
fn built(
    files: &dyn Files,
    request: &Request,
    fetch: Option<&dyn Fetch>,
    stop: &dyn Fn() -> bool,
) -> Result<(Vec<Made>, bool), String> {
    let root = generate::kustomization(files, &request.path, &request.spec).map_err(|error| error.to_string())?;
    let overlay = root.over(files).map_err(|error| error.to_string())?;
    // What Flux asks of kustomize: any file of the artifact, in the order of the inputs, and a root file that was
    // re-encoded and so has lost what it does not know.
    let options = Options {
        load_restriction: LoadRestriction::None,
        reorder: Reorder::None,
        lenient_root: true,
        ..Options::default()
    };
    let builder = Builder::new(&overlay, &options).stop(stop);
    let builder = match fetch {
        Some(fetch) => builder.fetch(fetch),
        None => builder,
    };
    // The slash says that it is a directory, also where its name could be a URL.
    let built = builder.build(&format!("/{}", request.path));
    let built = built.map_err(|error| format!("kustomize build failed: {}", root.explain(error)))?;
    let alone = built.fetched.is_empty();
    let post_build: Arc<str> = "spec.postBuild".into();
    let mut objects = Vec::with_capacity(built.objects.len());
    for built in built.objects {
        let mut origin = Origin::of(&built, &root);
        let substituted = substituted(&built.object, request).map_err(|error| format!("{error}{}", origin.suffix()))?;
        let changed = substituted.filter(|substituted| *substituted != built.object);
        if changed.is_some() {
            origin.changed_by(Arc::clone(&post_build));
        }
        objects.push((changed.unwrap_or(built.object), origin));
    }
    Ok((objects, alone))
}

/// The object with variables in place, where the spec has any for it.
fn substituted(object: &Value, request: &Request) -> Result<Option<Value>, String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    if api_version.is_empty() || kind.is_empty() || name.is_empty() {
        return Err(format!(
            "failed to decode Kubernetes apiVersion, kind and name from: {kind} {name:?}"
        ));
    }
    let Some(post_build) = &request.spec.post_build else {
        return Ok(None);
    };
    if substitute::is_disabled(object) {
        return Ok(None);
    }
    let failed = |error: &dyn std::fmt::Display| {
        let (group, version) = crate::inventory::group_version(api_version);
        let group = if group.is_empty() { "[noGrp]" } else { group };
        format!("post build failed for '{kind}.{version}.{group}/{name}': {error}")
    };
    let variables = request.variables.as_ref().map_err(|error| failed(error))?;
    if variables.is_empty() && post_build.substitute_strategy != Some(SubstituteStrategy::Always) {
        return Ok(None);
    }
    let substituted = substitute::substitute_object(object, variables, request.strict);
    substituted.map(Some).map_err(|error| failed(&error))
}

/// Lists become their items, and what has no identity or is no object of a cluster is dropped.
fn flat(objects: Vec<Made>) -> Vec<Made> {
    let mut flat = Vec::with_capacity(objects.len());
    for (mut object, origin) in objects {
        let list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match object.get_mut("items") {
            Some(Value::Array(items)) if list => {
                let items = std::mem::take(items);
                flat.extend(items.into_iter().map(|item| (item, origin.clone())));
            }
            _ => flat.push((object, origin)),
        }
    }
    flat.retain(|(object, _)| {
        let has = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty())
        };
        let kustomization = object["apiVersion"]
            .as_str()
            .is_some_and(|version| version.starts_with("kustomize.config.k8s.io/"));
        has("/apiVersion") && has("/kind") && has("/metadata/name") && !kustomization
    });
    flat
}

/// Owner labels, normal form, common metadata: in Flux's order, in which common metadata wins. Says whether common metadata
/// changed anything.
fn prepare(object: &mut Value, request: &Request) -> bool {
    let (namespace, name) = &request.owner;
    set(
        object,
        "labels",
        [
            (key::OWNER_NAME.to_owned(), name.clone()),
            (key::OWNER_NAMESPACE.to_owned(), namespace.clone()),
        ],
    );
    normalize::normalize(object);
    let Some(common) = &request.spec.common_metadata else {
        return false;
    };
    let labels = set(object, "labels", common.labels.clone());
    set(object, "annotations", common.annotations.clone()) || labels
}

/// Sets entries of `metadata.labels` or `metadata.annotations`. Says whether any was not so before.
fn set(object: &mut Value, field: &str, entries: impl IntoIterator<Item = (String, String)>) -> bool {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        return false;
    }
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return false;
    };
    let map = metadata.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if map.is_null() {
        *map = Value::Object(Map::new());
    }
    let Some(map) = map.as_object_mut() else { return false };
    let mut changed = false;
    for (key, value) in entries {
        let value = Value::String(value);
        changed |= map.get(&key) != Some(&value);
        map.insert(key, value);
    }
    changed
}

/// A Secret that SOPS encrypted and nobody decrypted.
fn is_encrypted(object: &Value) -> bool {
    let secret = object["apiVersion"] == "v1" && object["kind"] == "Secret";
    let opted_out = object["metadata"]["annotations"][key::DECRYPT]
        .as_str()
        .is_some_and(|value| value.eq_ignore_ascii_case(key::DISABLED));
    secret && !opted_out && object.get("sops").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kustomize::MemoryFiles;
    use serde_json::json;

    fn files(list: &[(&str, &str)]) -> MemoryFiles {
        let mut files = MemoryFiles::default();
        for (path, content) in list {
            files.insert(path, *content).unwrap();
        }
        files
    }

    fn request(spec: Value) -> Request {
        let mut whole = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "a"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: KustomizationSpec = serde_json::from_value(whole).unwrap();
        let variables = spec
            .post_build
            .as_ref()
            .map(|build| build.substitute.clone())
            .unwrap_or_default();
        let owner = ("apps".to_owned(), "web".to_owned());
        Request {
            spec,
            owner,
            path: String::new(),
            variables: Ok(variables),
            strict: true,
            stage_kinds: Vec::new(),
        }
    }

    /// The objects of a build with their origins, or why there are none.
    fn built(files: &MemoryFiles, request: &Request) -> Result<Vec<Made>, String> {
        super::built(files, request, None, &|| false).map(|(objects, _)| objects)
    }

    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: n}\ndata: {k: '${v}'}\n";

    #[test]
    fn variables_are_put_in_and_a_missing_one_names_the_object() {
        let files = files(&[("a.yaml", CONFIG)]);
        let objects = built(&files, &request(json!({"postBuild": {"substitute": {"v": "x"}}}))).unwrap();
        let (object, origin) = &objects[0];
        assert_eq!(object["data"]["k"], "x");
        assert_eq!(origin.to_string(), "from a.yaml:1, changed by spec.postBuild");
        let objects = built(&files, &request(json!({}))).unwrap();
        let (object, origin) = &objects[0];
        assert_eq!(object["data"]["k"], "${v}");
        assert_eq!(origin.to_string(), "from a.yaml:1");
        let error = built(&files, &request(json!({"postBuild": {"substitute": {"w": "x"}}}))).unwrap_err();
        assert_eq!(
            error,
            "post build failed for 'ConfigMap.v1.[noGrp]/a': envsubst error: variable substitution failed: \
             variable not set (strict mode): \"v\" (from a.yaml:1)"
        );
    }

    #[test]
    fn a_variable_source_that_is_missing_names_the_first_object() {
        let mut request = request(json!({"postBuild": {"substituteFrom": [{"kind": "ConfigMap", "name": "vars"}]}}));
        request.variables = Err("substitute from 'ConfigMap/vars' error: configmaps \"vars\" not found".into());
        let error = built(&files(&[("a.yaml", CONFIG)]), &request).unwrap_err();
        assert!(
            error.starts_with("post build failed for 'ConfigMap.v1.[noGrp]/a': substitute from"),
            "{error}"
        );
    }

    #[test]
    fn owner_labels_are_set_and_common_metadata_wins() {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let common = json!({"commonMetadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}}});
        assert!(prepare(&mut object, &request(common.clone())));
        assert_eq!(object["metadata"]["labels"][key::OWNER_NAME], "web");
        assert_eq!(object["metadata"]["labels"][key::OWNER_NAMESPACE], "apps");
        assert_eq!(object["metadata"]["labels"]["team"], "x");
        assert_eq!(object["metadata"]["annotations"]["note"], "y");
        // The second time everything is as it should be.
        assert!(!prepare(&mut object, &request(common)));
    }

    #[test]
    fn a_build_that_is_not_wanted_any_more_ends() {
        let files = files(&[("a.yaml", CONFIG)]);
        let error = super::built(&files, &request(json!({})), None, &|| true).unwrap_err();
        assert!(
            error.starts_with("kustomize build failed: the build was stopped"),
            "{error}"
        );
    }

    #[test]
    fn lists_become_their_items_and_nameless_ones_go() {
        let item = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let list =
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"name": "l"}, "items": [item("a"), item("")]});
        let made = |object: Value| (object, Origin::default());
        assert_eq!(
            flat(vec![made(list), made(item("b"))]),
            [made(item("a")), made(item("b"))]
        );
    }

    #[test]
    fn a_secret_that_is_still_encrypted_is_noticed_unless_it_opts_out() {
        let secret = |annotations: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "annotations": annotations}, "sops": {}});
        assert!(is_encrypted(&secret(json!({}))));
        assert!(!is_encrypted(&secret(json!({key::DECRYPT: "Disabled"}))));
        assert!(!is_encrypted(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "sops": {}})
        ));
    }
}
