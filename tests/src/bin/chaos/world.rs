//! What Git holds, and what the cluster has to look like because of it. Pure: edits are applied to a model, which gives
//! the files of the repositories and the objects that are expected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::plan::Edit;

/// The namespace of the Kustomizations.
pub const HOME: &str = "chaos";
/// The namespace of most objects.
pub const APPS: &str = "chaos-apps";
/// The label of every object that comes from Git.
pub const MADE: &str = "chaos.example.test/made";
/// The label with the name of the Kustomization that owns an object.
pub const OWNER: &str = "kustomize.toolkit.fluxcd.io/name";
/// The label with its namespace.
pub const OWNER_NAMESPACE: &str = "kustomize.toolkit.fluxcd.io/namespace";
/// The mark that keeps an object from being pruned.
const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
/// The Kustomization with the most objects.
const MANY: usize = 9;
/// The one that is deleted and made again; nobody depends on it.
pub const MORTAL: usize = 7;
/// The one that does not prune.
const KEEPER: usize = 5;
/// The one that may delete objects to make them anew.
const FORCER: usize = 3;
/// The one whose objects have variables.
const TONED: usize = 4;
/// The one whose objects are kept by a mark.
const MARKER: usize = 8;
/// The one with objects that belong to no namespace.
const WIDE: usize = 10;
/// The one with a definition and objects of the defined kind.
const DEFINER: usize = 11;
/// The group of the defined kind.
const GROUP: &str = "chaos.example.test";

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Deployment.
    Deployment,
    /// A Service.
    Service,
    /// A ServiceAccount.
    ServiceAccount,
    /// A ClusterRole.
    ClusterRole,
    /// The CustomResourceDefinition of widgets.
    Definition,
    /// A widget.
    Widget,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 7] = [
        Kind::ConfigMap,
        Kind::Deployment,
        Kind::Service,
        Kind::ServiceAccount,
        Kind::ClusterRole,
        Kind::Definition,
        Kind::Widget,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ConfigMap => "ConfigMap",
            Kind::Deployment => "Deployment",
            Kind::Service => "Service",
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ClusterRole => "ClusterRole",
            Kind::Definition => "CustomResourceDefinition",
            Kind::Widget => "Widget",
        }
    }

    /// Its group.
    pub fn group(self) -> &'static str {
        match self {
            Kind::Deployment => "apps",
            Kind::ClusterRole => "rbac.authorization.k8s.io",
            Kind::Definition => "apiextensions.k8s.io",
            Kind::Widget => GROUP,
            Kind::ConfigMap | Kind::Service | Kind::ServiceAccount => "",
        }
    }

    /// Its `apiVersion`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    /// The namespace of its objects, or an empty text.
    pub fn namespace(self) -> &'static str {
        match self {
            Kind::ClusterRole | Kind::Definition => "",
            _ => APPS,
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The id of the object in an inventory.
    pub fn id(&self) -> String {
        format!(
            "{}_{}_{}_{}",
            self.kind.namespace(),
            self.name,
            self.kind.group(),
            self.kind.name()
        )
    }

    /// The key of an id; nothing for kinds that Git does not hold here.
    pub fn of(id: &str) -> Option<Self> {
        let parts: Vec<_> = id.split('_').collect();
        let [_, name, group, kind] = parts[..] else { return None };
        let kind = Kind::ALL
            .into_iter()
            .find(|known| known.name() == kind && known.group() == group)?;
        Some(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.kind.name(), self.name)
    }
}

/// An object as Git describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What its fields follow from.
    pub value: u32,
    /// Its data can only be changed by making it anew.
    immutable: bool,
    /// It is never removed or moved.
    fixed: bool,
    /// A mark keeps it when it goes from Git.
    kept: bool,
    /// It was once kept by a mark or by a Kustomization that does not prune: it may stay when it goes from Git.
    sticky: bool,
}

/// A Kustomization.
#[derive(Clone, Debug)]
pub struct Kustomization {
    /// Its name.
    pub name: String,
    /// The number of its repository.
    pub repo: usize,
    /// Its objects.
    pub objects: BTreeMap<Key, Object>,
    /// The file that keeps it from being built.
    pub broken: Option<String>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// The Kustomizations.
    pub kustomizations: Vec<Kustomization>,
    /// The variable.
    pub tone: u32,
    /// What went from Git and may be in the cluster all the same.
    pub may_stay: BTreeSet<Key>,
    next: u32,
}

impl World {
    /// The beginning: twelve Kustomizations with some objects each.
    pub fn new() -> Self {
        let kustomizations = (0..=DEFINER).map(|number| Kustomization {
            name: format!("k{number}"),
            repo: usize::from(number == MORTAL),
            objects: BTreeMap::new(),
            broken: None,
        });
        let mut world = Self {
            kustomizations: kustomizations.collect(),
            tone: 0,
            may_stay: BTreeSet::new(),
            next: 0,
        };
        for number in 0..=DEFINER {
            let count = if number == MANY { 40 } else { 4 };
            for what in 0..count {
                world.add(number, what);
            }
        }
        let key = Key {
            kind: Kind::Definition,
            name: format!("widgets.{GROUP}"),
        };
        let definition = Object {
            value: 0,
            immutable: false,
            fixed: true,
            kept: false,
            sticky: false,
        };
        world.kustomizations[DEFINER].objects.insert(key, definition);
        world
    }

    /// The object of the Kustomization as it is made in the API server.
    pub fn manifest(&self, number: usize, interval: u64) -> Value {
        let it = &self.kustomizations[number];
        let mut spec = json!({
            "interval": format!("{interval}s"), "retryInterval": "2s", "timeout": "30s", "path": format!("./{}", it.name),
            "prune": number != KEEPER, "force": number == FORCER, "wait": matches!(number, 0 | 1 | 6),
            "sourceRef": { "kind": "GitRepository", "name": format!("repo{}", it.repo) },
        });
        match number {
            _ if dependency(number).is_some() => spec["dependsOn"] = json!([{ "name": dependency(number) }]),
            TONED => spec["postBuild"] = json!({ "substituteFrom": [{ "kind": "ConfigMap", "name": "vars" }] }),
            _ => {}
        }
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": { "name": it.name, "namespace": HOME }, "spec": spec,
        })
    }

    /// The Kustomizations that cannot become ready: broken ones and those that depend on them.
    pub fn stuck(&self) -> BTreeSet<String> {
        let mut stuck = BTreeSet::new();
        for (number, it) in self.kustomizations.iter().enumerate() {
            if it.broken.is_some() || dependency(number).is_some_and(|name| stuck.contains(&name)) {
                stuck.insert(it.name.clone());
            }
        }
        stuck
    }

    /// What the failure of a Kustomization has to name: the file that breaks it, unless it waits for another one and is
    /// not even built.
    pub fn blamed(&self, number: usize) -> Option<&str> {
        let waits = dependency(number).is_some_and(|name| self.stuck().contains(&name));
        self.kustomizations[number].broken.as_deref().filter(|_| !waits)
    }

    /// Makes an edit. Says in words what it came to; nothing if there was nothing to do.
    pub fn edit(&mut self, edit: Edit) -> Option<String> {
        match edit {
            Edit::Add(to, what) => {
                let to = to as usize % self.kustomizations.len();
                let key = self.add(to, what);
                Some(format!("add {key} to k{to}"))
            }
            Edit::Change(pick) => {
                let (owner, key) = self.pick(pick)?;
                let object = self.kustomizations[owner].objects.get_mut(&key)?;
                object.value += 1;
                Some(format!("change {key} of k{owner}"))
            }
            Edit::ChangeMany => {
                let objects = self.kustomizations[MANY].objects.values_mut();
                objects.for_each(|object| object.value += 1);
                Some(format!("change all of k{MANY}"))
            }
            Edit::Remove(pick) => {
                let (owner, key) = self.pick(pick)?;
                let objects = &mut self.kustomizations[owner].objects;
                // A path with nothing in it is no Kustomization's wish.
                if objects.len() < 2 || objects.get(&key)?.fixed {
                    return None;
                }
                let object = objects.remove(&key)?;
                if object.sticky {
                    self.may_stay.insert(key.clone());
                }
                Some(format!("remove {key} from k{owner}"))
            }
            Edit::Move(pick, to) => {
                let (owner, key) = self.pick(pick)?;
                let to = to as usize % self.kustomizations.len();
                // What one Kustomization may force, and what has variables, another one could not apply.
                let bound = |number| matches!(number, FORCER | TONED);
                if to == owner || bound(owner) || bound(to) || self.kustomizations[owner].objects.len() < 2 {
                    return None;
                }
                let objects = &mut self.kustomizations[owner].objects;
                if objects.get(&key)?.fixed {
                    return None;
                }
                let mut object = objects.remove(&key)?;
                object.sticky |= to == KEEPER;
                self.kustomizations[to].objects.insert(key.clone(), object);
                Some(format!("move {key} from k{owner} to k{to}"))
            }
            Edit::Break(pick) => {
                let number = pick as usize % self.kustomizations.len();
                let word = word(self.next);
                self.next += 1;
                let it = &mut self.kustomizations[number];
                if it.broken.is_some() {
                    return None;
                }
                it.broken = Some(format!("broken-{word}.yaml"));
                Some(format!(
                    "break k{number} with {}",
                    it.broken.as_deref().unwrap_or_default()
                ))
            }
            Edit::Mend => self.mend(),
        }
    }

    /// Lets everything be built again.
    pub fn mend(&mut self) -> Option<String> {
        let mended: Vec<_> = self
            .kustomizations
            .iter_mut()
            .filter_map(|it| it.broken.take().map(|_| it.name.clone()))
            .collect();
        (!mended.is_empty()).then(|| format!("mend {}", mended.join(", ")))
    }

    /// The files of a repository.
    pub fn files(&self, repo: usize) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for (number, it) in self.kustomizations.iter().enumerate().filter(|(_, it)| it.repo == repo) {
            for (key, object) in &it.objects {
                let path = format!("{}/{}-{}.yaml", it.name, key.kind.name().to_lowercase(), key.name);
                // JSON is YAML.
                files.insert(path, format!("{:#}\n", described(number, key, object, "${tone}")));
            }
            if let Some(broken) = &it.broken {
                files.insert(format!("{}/{broken}", it.name), "kind: [never closed\n".to_owned());
            }
        }
        files
    }

    /// The objects that are expected in the cluster, with the Kustomization that owns each.
    pub fn expected(&self) -> BTreeMap<Key, (String, Value)> {
        let mut expected = BTreeMap::new();
        let tone = self.tone.to_string();
        for (number, it) in self.kustomizations.iter().enumerate() {
            for (key, object) in &it.objects {
                let mut value = described(number, key, object, &tone);
                value["metadata"]["labels"][OWNER] = json!(it.name);
                value["metadata"]["labels"][OWNER_NAMESPACE] = json!(HOME);
                expected.insert(key.clone(), (it.name.clone(), value));
            }
        }
        expected
    }

    /// One of the objects.
    pub fn pick(&self, number: u32) -> Option<(usize, Key)> {
        let number = number as usize;
        let owner = number % self.kustomizations.len();
        let objects = &self.kustomizations[owner].objects;
        let key = objects
            .keys()
            .nth(number / self.kustomizations.len() % objects.len().max(1))?;
        Some((owner, key.clone()))
    }

    /// An object that can be changed, of a Kustomization that is not broken, by a number.
    pub fn healthy(&self, number: usize) -> Option<(Key, Value)> {
        let stuck = self.stuck();
        let expected = self.expected().into_iter();
        let candidates = expected.filter(|(key, (owner, object))| {
            key.kind == Kind::ConfigMap && !stuck.contains(owner) && object["immutable"].is_null()
        });
        let mut candidates: Vec<_> = candidates.collect();
        let number = number % candidates.len().max(1);
        (number < candidates.len())
            .then(|| candidates.swap_remove(number))
            .map(|(key, (_, object))| (key, object))
    }

    /// Whether the object's data can only be changed by making it anew.
    pub fn is_immutable(&self, owner: usize, key: &Key) -> bool {
        self.kustomizations[owner]
            .objects
            .get(key)
            .is_some_and(|object| object.immutable)
    }

    fn add(&mut self, to: usize, what: u32) -> Key {
        let kind = match (to, what % 8) {
            (WIDE, 0 | 1) => Kind::ClusterRole,
            (DEFINER, 0 | 1 | 5) => Kind::Widget,
            (0 | 6, 1) => Kind::Deployment,
            (MANY | FORCER | TONED, _) => Kind::ConfigMap,
            (_, 2) => Kind::Service,
            (_, 3) => Kind::ServiceAccount,
            _ => Kind::ConfigMap,
        };
        self.next += 1;
        let key = Key {
            kind,
            name: format!("o{}", self.next),
        };
        let kept = to == MARKER && self.next.is_multiple_of(2);
        let object = Object {
            value: what % 100,
            immutable: to == FORCER && self.next.is_multiple_of(2),
            fixed: false,
            kept,
            sticky: kept || to == KEEPER,
        };
        self.kustomizations[to].objects.insert(key.clone(), object);
        key
    }
}

/// The Kustomization that one waits for.
fn dependency(number: usize) -> Option<String> {
    matches!(number, 1 | 2).then(|| format!("k{}", number - 1))
}

/// The manifest of an object.
fn described(owner: usize, key: &Key, object: &Object, tone: &str) -> Value {
    let value = object.value.to_string();
    let mut metadata = json!({ "name": key.name, "labels": { MADE: "git" } });
    if !key.kind.namespace().is_empty() {
        metadata["namespace"] = json!(key.kind.namespace());
    }
    if object.kept {
        metadata["annotations"] = json!({ PRUNE: "disabled" });
    }
    let mut manifest = json!({ "apiVersion": key.kind.api_version(), "kind": key.kind.name(), "metadata": metadata });
    match key.kind {
        Kind::ConfigMap => {
            let mut data = json!({ "value": value });
            if object.value.is_multiple_of(2) {
                data["even"] = json!("yes");
            }
            if owner == TONED {
                data["tone"] = json!(format!("tone {tone}"));
            }
            manifest["data"] = data;
            if object.immutable {
                manifest["immutable"] = json!(true);
            }
        }
        Kind::Deployment => {
            let labels = json!({ "app": key.name });
            let container = json!({ "name": "app", "image": format!("example.test/app:{value}") });
            manifest["spec"] = json!({
                "replicas": object.value % 3, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
            });
        }
        Kind::Service => {
            manifest["spec"] = json!({
                "selector": { "app": key.name },
                // The port is the key of the list: with another one somebody else's would stay beside it.
                "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8000 + object.value }],
            });
        }
        Kind::ServiceAccount => manifest["metadata"]["labels"]["value"] = json!(value),
        Kind::ClusterRole => {
            let rule = json!({ "apiGroups": [""], "resources": [format!("things-{value}")], "verbs": ["get"] });
            manifest["rules"] = json!([rule]);
        }
        Kind::Definition => {
            let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
            manifest["metadata"]["labels"]["value"] = json!(value);
            manifest["spec"] = json!({
                "group": GROUP, "scope": "Namespaced",
                "names": { "kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": anything } } },
                }],
            });
        }
        Kind::Widget => manifest["spec"] = json!({ "value": value }),
    }
    manifest
}

/// A number in letters, which tell messages apart where digits do not.
fn word(mut number: u32) -> String {
    let mut word = String::from("x");
    loop {
        word.push(char::from(b'g' + u8::try_from(number % 16).unwrap_or_default()));
        number /= 16;
        if number == 0 {
            return word;
        }
    }
}

/// Where a live object differs from what is expected of it. Fields that are not expected to be there are no
/// difference, except for keys of `data` that nobody but Git sets.
pub fn difference(expected: &Value, live: &Value) -> Option<String> {
    if let (Some(expected), Some(live)) = (expected["data"].as_object(), live["data"].as_object()) {
        let extra = live
            .keys()
            .find(|key| !expected.contains_key(*key) && !key.starts_with("neighbour"));
        if let Some(extra) = extra {
            return Some(format!("data.{extra} is there"));
        }
    }
    let expected = expected.as_object().into_iter().flatten();
    // Items of lists do not say of which kind they are.
    let mut fields = expected.filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind"));
    fields.find_map(|(field, value)| subset(&format!(".{field}"), value, &live[field]))
}

fn subset(path: &str, expected: &Value, live: &Value) -> Option<String> {
    match (expected, live) {
        (Value::Object(expected), Value::Object(live)) => expected.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match live.get(key) {
                Some(live) => subset(&path, value, live),
                None => Some(format!("{path} is missing")),
            }
        }),
        (Value::Array(expected), Value::Array(live)) if expected.len() == live.len() => {
            let mut pairs = expected.iter().zip(live).enumerate();
            pairs.find_map(|(index, (expected, live))| subset(&format!("{path}[{index}]"), expected, live))
        }
        _ if expected == live => None,
        _ => Some(format!("{path} is {live} instead of {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_object() {
        for (key, _) in World::new().expected() {
            assert_eq!(Key::of(&key.id()), Some(key));
        }
    }

    #[test]
    fn every_object_is_in_one_file_and_belongs_to_one_owner() {
        let mut world = World::new();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            world.edit(Edit::Move(rng.u32(..), rng.u32(..)));
            world.edit(Edit::Add(rng.u32(..), rng.u32(..)));
            world.edit(Edit::Remove(rng.u32(..)));
        }
        let files = world.files(0).len() + world.files(1).len();
        assert_eq!(files, world.expected().len());
    }

    #[test]
    fn what_others_add_is_no_difference_and_what_they_change_is() {
        let expected = json!({ "data": { "a": "1" }, "metadata": { "labels": { "x": "y" } } });
        let mut live =
            json!({ "data": { "a": "1", "neighbour": "n" }, "metadata": { "labels": { "x": "y", "z": "" } } });
        assert_eq!(difference(&expected, &live), None);
        live["data"]["a"] = json!("2");
        assert_eq!(
            difference(&expected, &live).as_deref(),
            Some(".data.a is \"2\" instead of \"1\"")
        );
        live["data"] = json!({ "a": "1", "even": "yes" });
        assert_eq!(difference(&expected, &live).as_deref(), Some("data.even is there"));
    }
}
