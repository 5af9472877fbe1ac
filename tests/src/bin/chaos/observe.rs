//! What is seen in the cluster all the time, past the proxies: statuses, inventories, and objects of others. Objects that
//! leave an inventory are looked up a moment later: they must be gone, or somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use api::kustomize::{ChangeEntry, Kustomization};
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::account::{Account, lock};
use crate::told::{Change, Deletion, Seen, State};
use crate::world::{HOME, Key, Kind, OWNER, OWNER_NAMESPACE};

/// The label of objects of others.
pub const FOREIGN: &str = "chaos.example.test/foreign";
/// How long an object that left an inventory may take to go, and how long until the second look.
const LOOKS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(5)];

/// What was seen.
pub struct Observer {
    client: Client,
    account: Arc<Account>,
    state: Mutex<Sights>,
}

#[derive(Debug, Default)]
struct Sights {
    seen: Seen,
    /// The newest Kustomizations and GitRepositories as `Kind/name`.
    newest: BTreeMap<String, Value>,
    left: Vec<Left>,
    /// Kustomizations by uid.
    lives: BTreeMap<String, Life>,
    /// The uids of Kustomizations that are deleted while nothing else goes wrong.
    calm_ends: BTreeSet<String>,
    /// Objects of others as they have to stay.
    foreign: BTreeMap<String, Value>,
    /// By the id of an object: the uid and the resource version from which on it has a neighbour's field.
    neighbours: BTreeMap<String, (String, u64)>,
}

/// What of the life of a Kustomization says who could know of its end.
#[derive(Clone, Debug)]
struct Life {
    inventory: BTreeSet<String>,
    /// Since when it is that.
    settled: Instant,
    /// Since when it is on its way out.
    going: Option<Instant>,
}

/// An object that left an inventory.
#[derive(Clone, Debug)]
struct Left {
    kustomization: String,
    id: String,
    since: Instant,
    looks: usize,
}

impl Observer {
    /// Nothing is seen before [`Observer::watch`].
    pub fn new(client: Client, account: Arc<Account>) -> Self {
        Self {
            client,
            account,
            state: Mutex::default(),
        }
    }

    /// The objects of a kind that Git holds, in their namespace or, without one, in the cluster.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        let resource = resource(kind.group(), "v1", kind.name());
        match kind.namespace() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// The Kustomizations or GitRepositories.
    pub fn flux(&self, kind: &str) -> Api<DynamicObject> {
        let group = match kind {
            "GitRepository" => "source.toolkit.fluxcd.io",
            _ => "kustomize.toolkit.fluxcd.io",
        };
        Api::namespaced_with(self.client.clone(), HOME, &resource(group, "v1", kind))
    }

    /// Takes note of an object that nobody may touch.
    pub fn protect(&self, object: &DynamicObject) {
        let value = value_of(object);
        lock(&self.state).foreign.insert(title(&value), untouched(&value));
    }

    /// Takes note of an object that now has a field of a neighbour.
    pub fn neighbour(&self, key: &Key, object: &DynamicObject) {
        let value = value_of(object);
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        lock(&self.state)
            .neighbours
            .insert(key.to_string(), (uid, version(&value)));
    }

    /// Takes note of a Kustomization that is about to be deleted while nothing else goes wrong.
    pub fn ends_in_calm(&self, uid: &str) {
        lock(&self.state).calm_ends.insert(uid.to_owned());
    }

    /// What was seen in statuses.
    pub fn seen(&self) -> Seen {
        lock(&self.state).seen.clone()
    }

    /// How many terminal transitions were seen.
    pub fn transitions(&self) -> u64 {
        let state = lock(&self.state);
        let states: usize = state.seen.states.values().map(Vec::len).sum();
        u64::try_from(state.seen.changes.len() + states).unwrap_or(u64::MAX)
    }

    /// Whether no object that left an inventory is still to be looked up.
    pub fn is_idle(&self) -> bool {
        lock(&self.state).left.is_empty()
    }

    /// Watches; never ends.
    pub async fn watch(&self) {
        let kinds = ["Kustomization", "GitRepository"]
            .map(|kind| self.follow(kind, self.flux(kind), |value| self.status(value)));
        let objects = [Kind::ConfigMap, Kind::Deployment]
            .map(|kind| self.follow(kind.name(), self.api(kind), |value| self.object(value)));
        tokio::join!(
            futures::future::join_all(kinds),
            futures::future::join_all(objects),
            self.look_up()
        );
    }

    /// Follows the objects of a kind; deletions that were missed are found by listing again.
    async fn follow(&self, kind: &str, api: Api<DynamicObject>, on: impl Fn(&Value)) {
        // Items of lists do not say of which kind they are.
        let value_of = |object: &DynamicObject| {
            let mut value = value_of(object);
            value["kind"] = json!(kind);
            value
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut listed = BTreeSet::new();
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let value = value_of(&object);
                    listed.insert(title(&value));
                    on(&value);
                }
                Ok(Event::InitDone) => {
                    let missed: Vec<_> = known.difference(&listed).cloned().collect();
                    missed.iter().for_each(|title| self.gone(title));
                    known = std::mem::take(&mut listed);
                }
                Ok(Event::Apply(object)) => {
                    let value = value_of(&object);
                    known.insert(title(&value));
                    on(&value);
                }
                Ok(Event::Delete(object)) => {
                    let last = value_of(&object);
                    let title = title(&last);
                    known.remove(&title);
                    self.deleted(&last);
                    self.gone(&title);
                }
                // The watch goes on by itself, after a pause.
                Err(_) => {}
            }
        }
    }

    /// The last state of an object came: of a Kustomization, it says what went with it.
    fn deleted(&self, last: &Value) {
        if last["kind"] != "Kustomization" {
            return;
        }
        self.status(last);
        let mut state = lock(&self.state);
        let uid = last["metadata"]["uid"].as_str().unwrap_or_default();
        let Some(life) = state.lives.remove(uid) else { return };
        let calm = state.calm_ends.remove(uid);
        let lines = match serde_json::from_value::<Kustomization>(last.clone()) {
            Ok(last) => last.deletion().map(|change| lines(&change.entries)),
            Err(error) => {
                let text = format!("{} cannot be decoded: {error}", title(last));
                self.account.violate("every Kustomization can be read", &text);
                None
            }
        };
        let gone = Instant::now();
        state.seen.deletions.extend(lines.map(|lines| Deletion {
            object: title(last),
            uid: uid.to_owned(),
            lines,
            settled: life.settled,
            begun: life.going.unwrap_or(gone),
            gone,
            calm,
        }));
    }

    fn gone(&self, title: &str) {
        let mut state = lock(&self.state);
        if state.foreign.contains_key(title) {
            self.account
                .violate("objects of others are left alone", &format!("{title} was deleted"));
        }
        if let Some(last) = state.newest.remove(title) {
            let uid = last["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let now = Instant::now();
            let last_state = state.seen.states.get_mut(&uid).and_then(|states| states.last_mut());
            if let Some(open) = last_state.filter(|state| state.until.is_none()) {
                open.until = Some(now);
            }
            state.seen.gone.insert(uid, now);
            let left = inventory(&last);
            leave(&mut state.left, name(&last), left);
        }
    }

    /// A Kustomization or GitRepository was seen.
    fn status(&self, object: &Value) {
        let mut state = lock(&self.state);
        let before = state.newest.insert(title(object), object.clone());
        if let Some(before) = before {
            let now = inventory(object);
            let left = inventory(&before).into_iter().filter(|id| !now.contains(id));
            leave(&mut state.left, name(object), left);
        }
        note(&mut state.seen, object);
        if object["kind"] == "Kustomization" {
            live(&mut state.lives, object);
        }
    }

    /// An object in the namespace of the applications was seen.
    fn object(&self, object: &Value) {
        let state = lock(&self.state);
        let title = title(object);
        if let Some(before) = state.foreign.get(&title) {
            let now = untouched(object);
            if now != *before {
                let text = format!("{title} was changed: {before} became {now}");
                self.account.violate("objects of others are left alone", &text);
            }
        }
        let Some((uid, since)) = state.neighbours.get(&title) else {
            return;
        };
        let same = object["metadata"]["uid"] == uid.as_str() && version(object) >= *since;
        let going = !object["metadata"]["deletionTimestamp"].is_null();
        if same && !going && object["data"]["neighbour"] != "stays" {
            let text = format!("{title} lost the field of its neighbour: {object}");
            self.account.violate("fields of others are left alone", &text);
        }
    }

    /// Looks up what left an inventory; never ends.
    async fn look_up(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        loop {
            ticks.tick().await;
            let due: Vec<_> = {
                let mut state = lock(&self.state);
                let is_due = |left: &mut Left| left.since.elapsed() >= LOOKS[left.looks];
                state.left.extract_if(.., is_due).collect()
            };
            for mut left in due {
                match self.is_lost(&left).await {
                    Ok(None) => {}
                    Ok(Some(live)) if left.looks + 1 == LOOKS.len() => {
                        let (id, owner) = (&left.id, &left.kustomization);
                        let text = format!("{id} left the inventory of {owner} and is still there: {live}");
                        self.account.violate("nothing is lost from the inventory", &text);
                    }
                    found => {
                        // An API server that is away says nothing about the object.
                        left.looks += usize::from(found.is_ok());
                        left.since = Instant::now();
                        lock(&self.state).left.push(left);
                    }
                }
            }
        }
    }

    /// The live object, if it still belongs to the Kustomization whose inventory it left.
    async fn is_lost(&self, left: &Left) -> Result<Option<Value>> {
        let Some(key) = Key::of(&left.id) else { return Ok(None) };
        let Some(live) = self.api(key.kind).get_opt(&key.name).await? else {
            return Ok(None);
        };
        let live = value_of(&live);
        let metadata = &live["metadata"];
        let owned =
            metadata["labels"][OWNER] == left.kustomization.as_str() && metadata["labels"][OWNER_NAMESPACE] == HOME;
        let kept = metadata["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled";
        if !owned || kept || !metadata["deletionTimestamp"].is_null() {
            return Ok(None);
        }
        let state = lock(&self.state);
        let Some(kustomization) = state.newest.get(&format!("Kustomization/{}", left.kustomization)) else {
            return Ok(Some(live));
        };
        let prunes = kustomization["spec"]["prune"] == true;
        Ok((prunes && !inventory(kustomization).contains(&left.id)).then_some(live))
    }
}

fn leave(left: &mut Vec<Left>, kustomization: &str, ids: impl IntoIterator<Item = String>) {
    left.extend(ids.into_iter().map(|id| Left {
        kustomization: kustomization.to_owned(),
        id,
        since: Instant::now(),
        looks: 0,
    }));
}

/// Takes note of how a Kustomization lives.
fn live(lives: &mut BTreeMap<String, Life>, object: &Value) {
    let (now, inventory) = (Instant::now(), inventory(object));
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let life = lives.entry(uid.to_owned()).or_insert_with(|| Life {
        inventory: inventory.clone(),
        settled: now,
        going: None,
    });
    if life.inventory != inventory {
        (life.inventory, life.settled) = (inventory, now);
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        life.going.get_or_insert(now);
    }
}

/// The lines that tell of entries.
fn lines(entries: &[ChangeEntry]) -> Vec<String> {
    let line = |entry: &ChangeEntry| format!("{} {}", entry.object, entry.action);
    entries.iter().map(line).collect()
}

/// The ids in the inventory of a Kustomization.
pub fn inventory(object: &Value) -> BTreeSet<String> {
    let entries = object["status"]["inventory"]["entries"].as_array();
    let ids = entries.into_iter().flatten().filter_map(|entry| entry["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// The condition of that type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// An object as JSON.
pub fn value_of(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// `Kind/name`.
pub fn title(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap_or_default(), name(object))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// What must stay of an object of others: everything but the status and what controllers of Kubernetes write.
fn untouched(object: &Value) -> Value {
    let managers = object["metadata"]["managedFields"].as_array();
    let managers = managers
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["manager"].as_str());
    let managers: BTreeSet<_> = managers.filter(|name| !name.starts_with("kube-")).collect();
    json!({
        "uid": object["metadata"]["uid"], "labels": object["metadata"]["labels"], "data": object["data"],
        "spec": object["spec"], "deletionTimestamp": object["metadata"]["deletionTimestamp"], "managers": managers,
    })
}

/// Takes note of what a status says: confirmed changes and terminal states.
fn note(seen: &mut Seen, object: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (title, uid) = (title(object), text(&object["metadata"]["uid"]));
    let status = &object["status"];
    for change in status["changes"].as_array().into_iter().flatten() {
        let entries = change["entries"].as_array().into_iter().flatten();
        let lines = entries.map(|entry| format!("{} {}", text(&entry["object"]), text(&entry["action"])));
        let lines: Vec<_> = lines.collect();
        if change["pending"] == true || lines.is_empty() {
            continue;
        }
        let number = change["seq"].as_i64().unwrap_or_default();
        seen.changes.entry((uid.clone(), number)).or_insert_with(|| Change {
            object: title.clone(),
            time: text(&change["time"]),
            action: text(&change["action"]),
            lines,
            since: Instant::now(),
        });
    }
    let states = seen.states.entry(uid).or_default();
    let state = terminal(object).map(|(good, ready)| State {
        object: title,
        good,
        reason: text(&ready["reason"]),
        message: text(&ready["message"]),
        revision: match status["artifact"]["revision"].as_str() {
            Some(revision) => revision.to_owned(),
            None if good => text(&status["lastAppliedRevision"]),
            None => text(&status["lastAttemptedRevision"]),
        },
        since: Instant::now(),
        until: None,
    });
    let last = states.last_mut().filter(|last| last.until.is_none());
    match (last, state) {
        (Some(last), Some(state)) => {
            let same = (last.good, &last.reason, &last.message, &last.revision)
                == (state.good, &state.reason, &state.message, &state.revision);
            if !same {
                last.until = Some(state.since);
                states.push(state);
            }
        }
        (Some(last), None) => last.until = Some(Instant::now()),
        (None, Some(state)) => states.push(state),
        (None, None) => {}
    }
}

/// Ready, if it is decided for the present generation and no work is under way; and whether it is good.
fn terminal(object: &Value) -> Option<(bool, &Value)> {
    let ready = condition(object, "Ready")?;
    let working = condition(object, "Reconciling").is_some_and(|it| it["reason"] != "ProgressingWithRetry");
    let current = ready["observedGeneration"] == object["metadata"]["generation"];
    let going = !object["metadata"]["deletionTimestamp"].is_null();
    if working || !current || going {
        return None;
    }
    match ready["status"].as_str() {
        Some("True") => Some((true, ready)),
        Some("False") => Some((false, ready)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(ready: &str, reconciling: Option<&str>, pending: bool) -> Value {
        let mut conditions =
            vec![json!({ "type": "Ready", "status": ready, "reason": "R", "message": "", "observedGeneration": 1 })];
        conditions
            .extend(reconciling.map(|reason| json!({ "type": "Reconciling", "status": "True", "reason": reason })));
        json!({
            "kind": "Kustomization", "metadata": { "name": "k", "uid": "u", "generation": 1 },
            "status": {
                "conditions": conditions,
                "changes": [{ "seq": 1, "time": "t", "action": "apply", "pending": pending,
                    "entries": [{ "object": "ConfigMap/n/a", "action": "created" }] }],
            },
        })
    }

    #[test]
    fn states_count_when_they_are_terminal_and_changes_when_they_are_confirmed() {
        let mut seen = Seen::default();
        note(&mut seen, &object("False", Some("Progressing"), true));
        assert_eq!((seen.states["u"].len(), seen.changes.len()), (0, 0));
        note(&mut seen, &object("False", Some("ProgressingWithRetry"), true));
        note(&mut seen, &object("False", Some("ProgressingWithRetry"), false));
        assert_eq!((seen.states["u"].len(), seen.changes.len()), (1, 1));
        note(&mut seen, &object("Unknown", None, false));
        assert!(seen.states["u"][0].until.is_some());
        note(&mut seen, &object("True", None, false));
        assert_eq!(seen.states["u"].len(), 2);
    }
}
