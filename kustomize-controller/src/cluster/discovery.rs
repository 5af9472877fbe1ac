//! What an API server serves: one cache per API server, shared by all identities.
//!
//! The cache is filled with two requests (aggregated discovery, Kubernetes 1.30) and filled anew when an unknown kind
//! is asked for, at most every [`MIN_AGE`], and after definitions changed. Kinds of a definition that was just applied
//! are known from the definition itself until discovery has them, so that no stage waits for discovery to catch up.
//!
//! A group whose server is away is told from one that is not served: nobody may conclude from an outage that an
//! object is gone.

use super::error::ApiError;
use super::wire::{Call, Wire};
use http::Method;
use kube::core::ApiResource;
use kube::core::discovery::v2::{ACCEPT_AGGREGATED_DISCOVERY_V2, APIGroupDiscovery, APIGroupDiscoveryList};
use runtime::lock;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How old the cache must be before an unknown kind fills it anew.
const MIN_AGE: Duration = Duration::from_secs(2);
/// How long the cache still answers for known kinds after definitions changed: they change in bursts.
const OUTDATED_AGE: Duration = Duration::from_secs(1);
/// How long after a change of definitions an unknown kind of their group is waited for.
const SETTLING: Duration = Duration::from_secs(10);
/// How long one lookup waits for such a kind.
const SETTLE_PATIENCE: Duration = Duration::from_secs(3);
/// The pause between two looks meanwhile.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// How long a kind is known from its definition alone.
const LEARNED_FOR: Duration = Duration::from_secs(30);

/// A kind that is served: where, and whether its objects live in namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Group, version, kind and plural.
    pub api: ApiResource,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether it is known from its definition alone: the API server may still answer 404 for a moment.
    pub(crate) learned: bool,
}

impl Resource {
    /// Plural and group as in the API server's messages, for example `deployments.apps`.
    pub fn group_resource(&self) -> String {
        match self.api.group.is_empty() {
            true => self.api.plural.clone(),
            false => format!("{}.{}", self.api.plural, self.api.group),
        }
    }
}

/// The cache.
pub(crate) struct Discovery {
    wire: Wire,
    state: Mutex<State>,
    /// Held while the cache is filled, so that many who miss a kind ask once.
    filling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    table: Arc<Table>,
    filled: Option<Instant>,
    outdated: bool,
    learned: Vec<(Resource, Instant)>,
    /// Groups whose definitions changed, and when last.
    unsettled: HashMap<String, Instant>,
}

/// How sure an answer "not served" must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// The cache may be [`MIN_AGE`] old.
    Usual,
    /// The API server was asked after that time.
    Since(Instant),
}

impl Discovery {
    pub(crate) fn new(wire: Wire) -> Self {
        Discovery {
            wire,
            state: Mutex::default(),
            filling: tokio::sync::Mutex::default(),
        }
    }

    /// The kind in that version.
    pub(crate) async fn resolve(&self, group: &str, version: &str, kind: &str) -> Result<Resource, ApiError> {
        self.look(
            group,
            Certainty::Usual,
            |table| table.resolve(group, version, kind),
            |resource| {
                (&resource.api.group, &resource.api.version, &resource.api.kind)
                    == (&group.into(), &version.into(), &kind.into())
            },
        )
        .await
    }

    /// The kind in the version that the API server prefers.
    pub(crate) async fn preferred(&self, group: &str, kind: &str, certainty: Certainty) -> Result<Resource, ApiError> {
        self.look(
            group,
            certainty,
            |table| table.preferred(group, kind),
            |resource| resource.api.group == group && resource.api.kind == kind,
        )
        .await
    }

    /// Takes note that definitions may have changed: the next lookup asks again.
    pub(crate) fn outdated(&self) {
        lock(&self.state).outdated = true;
    }

    /// Takes note that definitions of a group changed just now: the next lookup asks again, and kinds of the group that
    /// are unknown are waited for.
    pub(crate) fn definitions_changed(&self, group: &str) {
        let mut state = lock(&self.state);
        state.outdated = true;
        state.unsettled.retain(|_, since| since.elapsed() < SETTLING);
        state.unsettled.insert(group.to_owned(), Instant::now());
    }

    /// Learns the kinds of an applied CustomResourceDefinition.
    pub(crate) fn learn(&self, definition: &Value) {
        let resources = learned(definition);
        let mut state = lock(&self.state);
        state.learned.retain(|(known, since)| {
            since.elapsed() < LEARNED_FOR && !resources.iter().any(|new| new.api == known.api)
        });
        let now = Instant::now();
        state
            .learned
            .extend(resources.into_iter().map(|resource| (resource, now)));
        state.outdated = true;
    }

    /// Takes note that nothing is served where a kind should be.
    pub(crate) fn forget(&self, resource: &Resource) {
        let mut state = lock(&self.state);
        state.outdated = true;
        state.learned.retain(|(known, _)| known.api != resource.api);
    }

    async fn look(
        &self,
        group: &str,
        certainty: Certainty,
        find: impl Fn(&Table) -> Result<Resource, ApiError>,
        is_it: impl Fn(&Resource) -> bool,
    ) -> Result<Resource, ApiError> {
        let asked = Instant::now();
        if let Some(table) = self.current()
            && let Ok(resource) = find(&table)
        {
            return Ok(resource);
        }
        let oldest = match certainty {
            Certainty::Usual => asked.checked_sub(MIN_AGE).unwrap_or(asked),
            Certainty::Since(time) => time,
        };
        let mut found = match self.fill(oldest).await {
            Ok(table) => find(&table),
            // What was served is better than nothing while the API server does not say what is.
            Err(error) => return find(&self.last()).map_err(|_| error),
        };
        loop {
            let Err(error) = found else { return found };
            if !error.is_no_match() {
                return Err(error);
            }
            if let Some(resource) = self.learned(&is_it) {
                return Ok(resource);
            }
            if !self.unsettled(group) || asked.elapsed() >= SETTLE_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
            found = find(&*self.fill(Instant::now()).await?);
        }
    }

    /// The table, unless it must be filled first.
    fn current(&self) -> Option<Arc<Table>> {
        let state = lock(&self.state);
        let young = state.filled.is_some_and(|filled| filled.elapsed() < OUTDATED_AGE);
        (young || (state.filled.is_some() && !state.outdated)).then(|| state.table.clone())
    }

    /// The table as it was last filled.
    fn last(&self) -> Arc<Table> {
        lock(&self.state).table.clone()
    }

    fn learned(&self, is_it: impl Fn(&Resource) -> bool) -> Option<Resource> {
        let state = lock(&self.state);
        let mut known = state.learned.iter().filter(|(_, since)| since.elapsed() < LEARNED_FOR);
        known
            .find(|(resource, _)| is_it(resource))
            .map(|(resource, _)| resource.clone())
    }

    fn unsettled(&self, group: &str) -> bool {
        lock(&self.state)
            .unsettled
            .get(group)
            .is_some_and(|since| since.elapsed() < SETTLING)
    }

    /// A table that was asked for after `oldest` and after the last change of definitions.
    async fn fill(&self, oldest: Instant) -> Result<Arc<Table>, ApiError> {
        let _filling = self.filling.lock().await;
        {
            let mut state = lock(&self.state);
            if state.filled.is_some_and(|filled| filled >= oldest) && !state.outdated {
                return Ok(state.table.clone());
            }
            // Before the requests: a change that comes meanwhile counts again.
            state.outdated = false;
        }
        let asked = Instant::now();
        let table = self.ask().await.map(Arc::new);
        let mut state = lock(&self.state);
        match table {
            Ok(table) => {
                state.table = table.clone();
                state.filled = Some(asked);
                Ok(table)
            }
            Err(error) => {
                state.outdated = true;
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<Table, ApiError> {
        let mut table = Table::default();
        for path in ["/api", "/apis"] {
            let call = Call {
                method: Method::GET,
                path: path.to_owned(),
                accept: ACCEPT_AGGREGATED_DISCOVERY_V2,
                body: None,
                subject: format!("get {path}"),
            };
            let list: APIGroupDiscoveryList = serde_json::from_value(self.wire.send(call).await?)
                .map_err(|error| ApiError::Odd(format!("cannot read the API server's {path}: {error}")))?;
            if list.items.is_empty() {
                let text =
                    format!("the API server has no aggregated discovery at {path}: Kubernetes 1.30 or later is needed");
                return Err(ApiError::Odd(text));
            }
            table.groups.extend(list.items.into_iter().map(Group::read));
        }
        Ok(table)
    }
}

/// What is served, by group.
#[derive(Default)]
struct Table {
    groups: HashMap<String, Group>,
}

/// Versions in the order of the API server's preference.
struct Group {
    versions: Vec<Version>,
}

struct Version {
    name: String,
    /// The server behind it did not answer the API server: what it serves is unknown.
    stale: bool,
    kinds: HashMap<String, Resource>,
}

impl Table {
    fn resolve(&self, group: &str, version: &str, kind: &str) -> Result<Resource, ApiError> {
        let api_version = match group.is_empty() {
            true => version.to_owned(),
            false => format!("{group}/{version}"),
        };
        let known = self
            .groups
            .get(group)
            .and_then(|group| group.versions.iter().find(|known| known.name == version));
        match known {
            Some(known) if known.kinds.contains_key(kind) => Ok(known.kinds[kind].clone()),
            Some(known) if known.stale => Err(ApiError::Stale(api_version)),
            Some(_) | None => Err(ApiError::NoMatch {
                kind: kind.to_owned(),
                api_version,
            }),
        }
    }

    fn preferred(&self, group: &str, kind: &str) -> Result<Resource, ApiError> {
        let versions = self
            .groups
            .get(group)
            .map(|group| group.versions.as_slice())
            .unwrap_or_default();
        if let Some(resource) = versions.iter().find_map(|version| version.kinds.get(kind)) {
            return Ok(resource.clone());
        }
        match versions.iter().find(|version| version.stale) {
            Some(version) => Err(ApiError::Stale(format!("{group}/{}", version.name))),
            None => Err(ApiError::NoMatchInGroup {
                kind: kind.to_owned(),
                group: group.to_owned(),
            }),
        }
    }
}

impl Group {
    fn read(group: APIGroupDiscovery) -> (String, Group) {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        let versions = group.versions.into_iter().map(|version| {
            let version_name = version.version.unwrap_or_default();
            let mut kinds = HashMap::new();
            for served in version.resources {
                let Some(plural) = served.resource else { continue };
                let Some(kind) = served.response_kind.and_then(|kind| kind.kind) else {
                    continue;
                };
                let namespaced = served.scope.as_deref() == Some("Namespaced");
                let resource = resource(&name, &version_name, &kind, &plural, namespaced, false);
                // The first of a kind is the one that client-go takes as well.
                kinds.entry(kind).or_insert(resource);
            }
            Version {
                name: version_name,
                stale: version.freshness.as_deref() == Some("Stale"),
                kinds,
            }
        });
        let versions = versions.collect();
        (name, Group { versions })
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool, learned: bool) -> Resource {
    let api_version = match group.is_empty() {
        true => version.to_owned(),
        false => format!("{group}/{version}"),
    };
    let api = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Resource {
        api,
        namespaced,
        learned,
    }
}

/// The kinds a CustomResourceDefinition makes the API server serve.
fn learned(definition: &Value) -> Vec<Resource> {
    let spec = &definition["spec"];
    let (Some(group), Some(kind), Some(plural)) = (
        spec["group"].as_str(),
        spec["names"]["kind"].as_str(),
        spec["names"]["plural"].as_str(),
    ) else {
        return Vec::new();
    };
    let namespaced = spec["scope"] == "Namespaced";
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let served = versions.iter().filter(|version| version["served"] == true);
    served
        .filter_map(|version| version["name"].as_str())
        .map(|version| resource(group, version, kind, plural, namespaced, true))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let kind = |kind: &str, plural: &str| json!({ "resource": plural, "responseKind": { "kind": kind }, "scope": "Namespaced" });
        let groups = json!([
            { "metadata": { "name": "" }, "versions": [{ "version": "v1", "resources": [kind("ConfigMap", "configmaps")] }] },
            { "metadata": { "name": "g" }, "versions": [
                { "version": "v2", "resources": [kind("New", "news")], "freshness": "Current" },
                { "version": "v1", "resources": [kind("New", "news"), kind("Old", "olds")], "freshness": "Current" },
            ] },
            { "metadata": { "name": "away" }, "versions": [{ "version": "v1", "resources": [], "freshness": "Stale" }] },
        ]);
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(groups).expect("groups");
        Table {
            groups: groups.into_iter().map(Group::read).collect(),
        }
    }

    #[track_caller]
    fn check(api_version: &str, kind: &str, expected: Result<&str, &str>) {
        let (group, version) = crate::inventory::group_version(api_version);
        let found = table()
            .resolve(group, version, kind)
            .map(|resource| resource.group_resource());
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn kinds_are_found_by_version() {
        check("v1", "ConfigMap", Ok("configmaps"));
        check("g/v1", "Old", Ok("olds.g"));
        check("g/v2", "Old", Err("no matches for kind \"Old\" in version \"g/v2\""));
        check("nope/v1", "X", Err("no matches for kind \"X\" in version \"nope/v1\""));
    }

    #[test]
    fn a_group_whose_server_is_away_is_not_taken_for_gone() {
        let text =
            "unable to retrieve the complete list of server APIs: away/v1: stale GroupVersion discovery: away/v1";
        check("away/v1", "X", Err(text));
        assert!(table().preferred("away", "X").is_err_and(|error| !error.is_no_match()));
    }

    #[test]
    fn the_preferred_version_is_the_first_that_has_the_kind() {
        let version = |kind| {
            table()
                .preferred("g", kind)
                .map(|resource| resource.api.version)
                .map_err(|error| error.to_string())
        };
        assert_eq!(version("New"), Ok("v2".to_owned()));
        assert_eq!(version("Old"), Ok("v1".to_owned()));
        assert_eq!(version("X"), Err("no matches for kind \"X\" in group \"g\"".to_owned()));
    }

    #[test]
    fn a_definition_teaches_its_served_versions() {
        let definition = json!({ "spec": {
            "group": "g", "scope": "Namespaced", "names": { "kind": "W", "plural": "ws" },
            "versions": [{ "name": "v1", "served": true }, { "name": "v0", "served": false }],
        } });
        assert_eq!(learned(&definition), [resource("g", "v1", "W", "ws", true, true)]);
        assert_eq!(learned(&json!({})), []);
    }
}
