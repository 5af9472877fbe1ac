//! Server-side apply of one stage: look at everything first, then change what differs.
//!
//! [`plan_stage`] reads every live object, lets the API server merge the manifest into it as a dry run, and decides
//! purely what is to be done. [`Plan::carry_out`] does it, rank by rank. An unchanged object costs a read and a dry
//! run, nothing is written for it.
//!
//! Guarantees:
//! - Nothing of a stage is written unless all its dry runs went well. All objects are tried and all errors reported
//!   (Flux stops at the first, and may have taken over managers or deleted objects by then).
//! - An object marked to be left alone is not touched, whether the mark is in the manifest or on the live object.
//! - An object is deleted only to be created again, only by its uid, only where that is asked for, and only if the API
//!   server would take the new one (Flux deletes for any invalid manifest).
//! - No value of a Secret gets into an error.
//!
//! Not here: which objects make a stage and their order, waiting for them, and the ignore rules of drift.

mod change;
mod failure;
pub mod mark;
mod mask;
mod takeover;

pub use change::{Action, ChangeSet, Entry};
pub use failure::{ObjectFailure, StageFailure};

use crate::cluster::{ApiError, Cluster, Resource};
use crate::drift::{drifted, resource_version};
use crate::inventory::{ObjectId, Owned};
use api::meta::key;
use failure::Step;
use futures::future::BoxFuture;
use futures::stream;
use futures::{FutureExt, StreamExt};
use mark::marked;
use serde_json::Value;
use std::time::Duration;
use takeover::takeover;

/// How often managers are taken over anew when the object changed meanwhile.
const TAKEOVERS: u32 = 5;
/// How often and how far apart a request is repeated that answers 404 because a definition is not served yet.
const SERVING_TRIES: u32 = 50;
const SERVING_PAUSE: Duration = Duration::from_millis(100);

/// How a stage is applied.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether objects that cannot be changed as wanted are deleted and created again (`spec.force`).
    pub force: bool,
    /// Objects worked on at a time; at least one.
    pub concurrency: usize,
    /// Beginnings of the names of managers whose fields are taken over (`--override-manager`).
    pub override_managers: Vec<String>,
}

/// No force, four at a time, as Flux.
impl Default for Options {
    fn default() -> Self {
        Options {
            force: false,
            concurrency: 4,
            override_managers: Vec::new(),
        }
    }
}

/// What came of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageResult {
    /// Every object is as the manifests say, or left alone.
    Applied(ChangeSet),
    /// These objects are being deleted to be created again; nothing else of the stage was done yet. Plan the stage anew
    /// when they are gone; doing it earlier is harmless.
    Waiting(Vec<ObjectId>),
}

/// What is to be done for a stage.
#[derive(Debug)]
pub struct Plan<'a> {
    works: Vec<Work<'a>>,
}

#[derive(Debug)]
struct Work<'a> {
    object: &'a Value,
    entry: Entry,
    todo: Todo,
}

#[derive(Debug)]
enum Todo {
    Nothing,
    /// Apply, after this JSON patch.
    Write {
        resource: Resource,
        takeover: Option<Value>,
    },
    /// Delete this uid, unless it is on its way already.
    Recreate {
        resource: Resource,
        uid: String,
        going: bool,
    },
}

/// Finds out what is to be done for a stage, given in the order in which it is to be applied. Changes nothing.
///
/// # Errors
/// All objects that the API server would refuse.
pub async fn plan_stage<'a>(
    cluster: &Cluster,
    objects: &'a [Value],
    options: &Options,
) -> Result<Plan<'a>, StageFailure> {
    let works = objects
        .iter()
        .map(|object| plan_object(cluster, object, options).boxed())
        .collect();
    let (works, errors) = all(works, options).await;
    match errors.is_empty() {
        true => Ok(Plan { works }),
        false => Err(StageFailure {
            errors,
            applied: ChangeSet::default(),
        }),
    }
}

impl Plan<'_> {
    /// What will have happened when the plan is carried out. Objects to be created again count as created.
    pub fn changes(&self) -> ChangeSet {
        ChangeSet {
            entries: self.works.iter().map(|work| work.entry.clone()).collect(),
        }
    }

    /// Whether carrying it out writes anything.
    pub fn writes(&self) -> bool {
        self.works.iter().any(|work| match work.todo {
            Todo::Nothing => false,
            Todo::Write { .. } => true,
            Todo::Recreate { going, .. } => !going,
        })
    }

    /// Does it: ranks one after the other, in a rank several objects at a time.
    ///
    /// # Errors
    /// All objects of the first rank with failures; the ranks after it are left for the next time.
    pub async fn carry_out(
        self,
        cluster: &Cluster,
        rank: &(dyn Fn(&str) -> i32 + Sync),
        options: &Options,
    ) -> Result<StageResult, StageFailure> {
        if self.works.iter().any(|work| matches!(work.todo, Todo::Recreate { .. })) {
            return self.make_room(cluster, options).await;
        }
        let mut applied = ChangeSet::default();
        for works in self
            .works
            .chunk_by(|one, other| rank(&one.entry.owned.id.kind) == rank(&other.entry.owned.id.kind))
        {
            let works = works
                .iter()
                .map(|work| carry_out(cluster, work, options).boxed())
                .collect();
            let (entries, errors) = all(works, options).await;
            applied.entries.extend(entries);
            if !errors.is_empty() {
                applied.entries.retain(|entry| entry.action.is_change());
                return Err(StageFailure { errors, applied });
            }
        }
        Ok(StageResult::Applied(applied))
    }

    /// Deletes what is to be created again.
    async fn make_room(self, cluster: &Cluster, options: &Options) -> Result<StageResult, StageFailure> {
        let (gone, errors) = all(
            self.works.iter().map(|work| delete(cluster, work).boxed()).collect(),
            options,
        )
        .await;
        match errors.is_empty() {
            true => Ok(StageResult::Waiting(gone.into_iter().flatten().collect())),
            false => Err(StageFailure {
                errors,
                applied: ChangeSet::default(),
            }),
        }
    }
}

/// Runs jobs, several at a time; results and failures in the order of the jobs.
///
/// They come boxed: an iterator with a closure that lives across an await would keep callers from being spawned.
async fn all<T>(jobs: Vec<BoxFuture<'_, Result<T, ObjectFailure>>>, options: &Options) -> (Vec<T>, Vec<ObjectFailure>) {
    let mut results = stream::iter(jobs).buffered(options.concurrency.max(1));
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    while let Some(result) = results.next().await {
        match result {
            Ok(value) => done.push(value),
            Err(failure) => failed.push(failure),
        }
    }
    (done, failed)
}

/// Deletes an object that is to be created again; says which one it was.
async fn delete(cluster: &Cluster, work: &Work<'_>) -> Result<Option<ObjectId>, ObjectFailure> {
    let Todo::Recreate { resource, uid, going } = &work.todo else {
        return Ok(None);
    };
    let id = &work.entry.owned.id;
    if !going {
        match cluster.delete(resource, &id.namespace, &id.name, uid).await {
            // With a conflict another object took its place: the next plan looks at that one.
            Err(error) if !error.is_conflict() => return Err(ObjectFailure::new(Step::Delete, work.object, error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Some(id.clone()))
}

async fn plan_object<'a>(cluster: &Cluster, object: &'a Value, options: &Options) -> Result<Work<'a>, ObjectFailure> {
    let failure = |step, error| ObjectFailure::new(step, object, error);
    let done = |entry: Entry| Work {
        object,
        entry,
        todo: Todo::Nothing,
    };
    let resource = resource_of(cluster, object).await;
    let resource = match resource {
        Ok(resource) => resource,
        Err(_) if mark::is_left_alone(object) => return Ok(done(entry(object, Action::Skipped))),
        Err(error) => return Err(failure(Step::DryRun, error)),
    };
    let id = ObjectId::of(object);

    // Who may not read may still apply: a failed read matters only once the dry run went well.
    let read = once_served(&resource, || cluster.find(&resource, &id.namespace, &id.name)).await;
    let live = read.as_ref().ok().and_then(Option::as_ref);
    if is_skipped(object, live) {
        return Ok(done(entry(live.unwrap_or(object), Action::Skipped)));
    }

    let result = match once_served(&resource, || cluster.apply(&resource, object, true)).await {
        Ok(result) => result,
        Err(error) => {
            let Some(live) = live.filter(|live| is_to_be_recreated(object, live, &error, options)) else {
                return Err(failure(Step::DryRun, error));
            };
            // Not every conflict or invalid object gets better by deleting what runs.
            if !error.says_immutable() && cluster.could_create(&resource, object).await.is_err() {
                return Err(failure(Step::DryRun, error));
            }
            let uid = live["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let going = !live["metadata"]["deletionTimestamp"].is_null();
            let entry = entry(live, Action::Created);
            return Ok(Work {
                object,
                entry,
                todo: Todo::Recreate { resource, uid, going },
            });
        }
    };
    if let Err(error) = &read {
        if !error.is_forbidden() {
            return Err(failure(Step::Query, error.clone()));
        }
        // The result has the marks of the live object in it, and a version if there is one.
        let exists = !resource_version(&result).is_empty();
        if mark::is_left_alone(&result) || (exists && marked(object, key::SSA, key::SSA_IF_NOT_PRESENT)) {
            return Ok(done(entry(&result, Action::Skipped)));
        }
    }

    let nothing = Value::Null;
    let takeover = live.and_then(|live| takeover(object, live, &options.override_managers));
    let action = match resource_version(&result) {
        "" => Action::Created,
        _ if takeover.is_some() || drifted(live.unwrap_or(&nothing), &result) => Action::Configured,
        _ => Action::Unchanged,
    };
    let todo = match action.is_change() {
        true => Todo::Write { resource, takeover },
        false => Todo::Nothing,
    };
    Ok(Work {
        object,
        entry: entry(&result, action),
        todo,
    })
}

/// Where the object goes; an error where it lacks a namespace, worded as the API server's answer to a wrong path.
async fn resource_of(cluster: &Cluster, object: &Value) -> Result<Resource, ApiError> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let resource = cluster.resolve(text("apiVersion"), text("kind")).await?;
    let id = ObjectId::of(object);
    match resource.namespaced && id.namespace.is_empty() {
        true => Err(ApiError::not_found(&format!(
            "patch {} {}",
            resource.group_resource(),
            id.name
        ))),
        false => Ok(resource),
    }
}

/// Asks again as long as a kind that is known from its definition alone is not served yet.
async fn once_served<T, F>(resource: &Resource, ask: impl Fn() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut tries = 0;
    loop {
        match ask().await {
            Err(error) if resource.learned && error.is_not_served() && tries < SERVING_TRIES => {
                tries += 1;
                tokio::time::sleep(SERVING_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn is_skipped(object: &Value, live: Option<&Value>) -> bool {
    mark::is_left_alone(object)
        || live.is_some_and(|live| mark::is_left_alone(live) || marked(object, key::SSA, key::SSA_IF_NOT_PRESENT))
}

fn is_to_be_recreated(object: &Value, live: &Value, error: &ApiError, options: &Options) -> bool {
    let forced = options.force
        || [object, live]
            .into_iter()
            .any(|object| marked(object, key::FORCE, key::ENABLED));
    // A plain conflict is about another version or uid of the object: nothing that deleting it makes better.
    forced && error.is_immutable() && (!error.is_conflict() || error.says_immutable())
}

fn entry(object: &Value, action: Action) -> Entry {
    Entry {
        owned: Owned::of(object),
        action,
    }
}

async fn carry_out(cluster: &Cluster, work: &Work<'_>, options: &Options) -> Result<Entry, ObjectFailure> {
    let Todo::Write { resource, takeover } = &work.todo else {
        return Ok(work.entry.clone());
    };
    let failure = |step, error| ObjectFailure::new(step, work.object, error);
    if let Some(patch) = takeover {
        let result = take_over(cluster, resource, work.object, patch.clone(), options).await;
        result.map_err(|error| failure(Step::Cleanup, error))?;
    }
    let applied = cluster
        .apply(resource, work.object, false)
        .await
        .map_err(|error| failure(Step::Apply, error))?;
    if work.entry.owned.id.kind == "CustomResourceDefinition" {
        cluster.learn(&applied);
    }
    Ok(work.entry.clone())
}

/// Sends the patch, made anew as long as the object changes in between.
async fn take_over(
    cluster: &Cluster,
    resource: &Resource,
    object: &Value,
    mut patch: Value,
    options: &Options,
) -> Result<(), ApiError> {
    let id = ObjectId::of(object);
    let mut tries = 1;
    loop {
        match cluster.json_patch(resource, &id.namespace, &id.name, &patch).await {
            Err(error) if error.is_conflict() && tries < TAKEOVERS => tries += 1,
            // Gone: the apply creates it.
            Err(error) if error.is_not_found() => return Ok(()),
            answer => return answer,
        }
        let live = cluster.find(resource, &id.namespace, &id.name).await?;
        match live.and_then(|live| takeover(object, &live, &options.override_managers)) {
            Some(next) => patch = next,
            None => return Ok(()),
        }
    }
}
