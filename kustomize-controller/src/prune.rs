//! Deleting what is no longer wanted, and nothing else.
//!
//! An object is deleted only if its live labels name this very owner, no mark keeps it, and it is still the object that
//! was looked at (by uid). Everything is tried, last applied first; what fails stays the caller's to remember.
//!
//! Kinds that are served no more count as deleted (Flux fails on them for ever after a restart); a group whose server is
//! away does not.

use crate::apply::mark::is_kept;
use crate::apply::{Action, ChangeSet, Entry};
use crate::cluster::{ApiError, Cluster};
use crate::inventory::{ObjectId, Owned};
use api::meta::key;
use futures::stream;
use futures::{FutureExt, StreamExt};
use serde_json::Value;
use std::cmp::Reverse;
use std::time::Instant;

/// How often an object is looked at anew when it changed meanwhile, or another one took its place.
const LOOKS: u32 = 10;
/// Objects looked at at a time while their end is awaited.
const REMAINING_CONCURRENCY: usize = 8;

/// The Kustomization that objects belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// Whether an object's labels name this owner.
    pub fn owns(&self, live: &Value) -> bool {
        let label = |key: &str| live["metadata"]["labels"][key].as_str();
        label(key::OWNER_NAME) == Some(&self.name) && label(key::OWNER_NAMESPACE) == Some(&self.namespace)
    }
}

/// An object on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Which one.
    pub owned: Owned,
    /// The uid that was deleted.
    pub uid: String,
}

/// An object that could not be pruned.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which one: it stays owned.
    pub owned: Owned,
    /// Why, in Flux's words; it names the object.
    pub message: String,
    /// Whether the API server itself is away.
    pub outage: bool,
}

/// What came of pruning.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// What was deleted and what was left, in the order in which it was.
    pub changes: ChangeSet,
    /// What could not be pruned.
    pub failures: Vec<Failed>,
    /// The live objects that were deleted, whose end can be awaited with [`remaining`].
    pub doomed: Vec<Doomed>,
}

impl Pruned {
    /// Flux's text about what failed; nothing when nothing did.
    pub fn error(&self) -> Option<String> {
        let errors: String = self
            .failures
            .iter()
            .map(|failed| format!("{};", failed.message))
            .collect();
        (!errors.is_empty()).then(|| format!("delete failed, errors: {errors}"))
    }

    /// Whether the API server went away meanwhile.
    pub fn is_outage(&self) -> bool {
        self.failures.iter().any(|failed| failed.outage)
    }
}

/// Deletes stale objects of an owner in reverse order: ranks one after the other, in a rank several at a time.
///
/// `known` tells the newest resource version of an object whose labels and marks are known to be as they must be: it is
/// deleted in that version, without a look at it.
pub async fn delete(
    cluster: &Cluster,
    stale: &[Owned],
    owner: &Owner,
    known: &(dyn Fn(&ObjectId) -> Option<u64> + Sync),
    rank: &(dyn Fn(&str) -> i32 + Sync),
    concurrency: usize,
) -> Pruned {
    let since = Instant::now();
    let mut order: Vec<&Owned> = stale.iter().collect();
    order.sort_by_key(|owned| {
        let id = &owned.id;
        Reverse((rank(&id.kind), &id.group, &id.kind, &id.namespace, &id.name))
    });
    let mut pruned = Pruned::default();
    for same_rank in order.chunk_by(|one, other| rank(&one.id.kind) == rank(&other.id.kind)) {
        // Boxed one by one: a closure that lives across an await would keep callers from being spawned.
        let deletions: Vec<_> = same_rank
            .iter()
            .map(|owned| {
                async move { (*owned, delete_one(cluster, owned, owner, known(&owned.id), since).await) }.boxed()
            })
            .collect();
        let mut results = stream::iter(deletions).buffered(concurrency.max(1));
        while let Some((owned, result)) = results.next().await {
            let action = match result {
                Ok(Fate::Kept) => Action::Skipped,
                Ok(Fate::Gone) => Action::Deleted,
                Ok(Fate::Doomed(uid)) => {
                    pruned.doomed.push(Doomed {
                        owned: owned.clone(),
                        uid,
                    });
                    Action::Deleted
                }
                Err(failed) => {
                    pruned.failures.push(failed);
                    continue;
                }
            };
            pruned.changes.entries.push(Entry::new(owned.clone(), action));
        }
    }
    pruned
}

/// What became of an object.
enum Fate {
    Gone,
    Kept,
    Doomed(String),
}

async fn delete_one(
    cluster: &Cluster,
    owned: &Owned,
    owner: &Owner,
    known: Option<u64>,
    since: Instant,
) -> Result<Fate, Failed> {
    let id = &owned.id;
    let failed = |what: &str, error: &ApiError| Failed {
        owned: owned.clone(),
        message: format!("{id} {what} failed: {error}"),
        outage: error.is_outage(),
    };
    if let Some(version) = known
        && let Ok(resource) = cluster.resolve(&owned.api_version(), &id.kind).await
        && let version = version.to_string()
        && let Ok(deleted) = cluster
            .delete(&resource, &id.namespace, &id.name, None, Some(&version))
            .await
    {
        return Ok(deleted.map_or(Fate::Gone, Fate::Doomed));
    }
    let mut looks = 1;
    loop {
        let (resource, live) = match cluster.find_owned(owned, since).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Fate::Gone),
            Err(error) if error.is_no_match() => return Ok(Fate::Gone),
            Err(error) => return Err(failed("query", &error)),
        };
        if !owner.owns(&live) || is_kept(&live) {
            return Ok(Fate::Kept);
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        // Another Kustomization may take it over at this very moment.
        let version = live["metadata"]["resourceVersion"].as_str();
        let deleted = cluster
            .delete(&resource, &id.namespace, &id.name, Some(uid), version)
            .await;
        match deleted {
            Ok(_) => return Ok(Fate::Doomed(uid.to_owned())),
            // Where the kind is served no more, the next look tells.
            Err(error) if (error.is_conflict() || error.is_not_served()) && looks < LOOKS => looks += 1,
            Err(error) => return Err(failed("delete", &error)),
        }
    }
}

/// Which of the deleted objects are still there. One whose name another object has by now is not; one that cannot be
/// looked at is.
pub async fn remaining(cluster: &Cluster, doomed: &[Doomed]) -> Vec<Doomed> {
    let since = Instant::now();
    let looks: Vec<_> = doomed
        .iter()
        .map(|doomed| async move { (doomed, is_there(cluster, doomed, since).await) }.boxed())
        .collect();
    let looks: Vec<_> = stream::iter(looks).buffered(REMAINING_CONCURRENCY).collect().await;
    looks
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(doomed, _)| doomed.clone())
        .collect()
}

async fn is_there(cluster: &Cluster, doomed: &Doomed, since: Instant) -> bool {
    match cluster.find_owned(&doomed.owned, since).await {
        Ok(live) => live.is_some_and(|(_, live)| live["metadata"]["uid"] == doomed.uid.as_str()),
        Err(error) => !error.is_no_match(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(labels: Value, expected: bool) {
        let owner = Owner {
            namespace: "apps".into(),
            name: "web".into(),
        };
        assert_eq!(owner.owns(&json!({ "metadata": { "labels": labels } })), expected);
    }

    #[test]
    fn both_labels_must_name_the_owner() {
        check(json!({ key::OWNER_NAME: "web", key::OWNER_NAMESPACE: "apps" }), true);
        check(json!({ key::OWNER_NAME: "web", key::OWNER_NAMESPACE: "other" }), false);
        check(json!({ key::OWNER_NAME: "other", key::OWNER_NAMESPACE: "apps" }), false);
        check(json!({ key::OWNER_NAME: "web" }), false);
        check(json!({}), false);
    }
}
