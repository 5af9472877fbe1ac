//! Server-side apply of one stage: look at everything first, then change what differs.
//!
//! [`plan_stage`] lets the API server merge every manifest into the live object as a dry run, reads the live object where
//! that does not tell enough, and decides purely what is to be done. [`Plan::carry_out`] does it, rank by rank.
//!
//! What it costs, by what is remembered of an object ([`Memory`]): nothing if it is as its manifest says; a dry run if it
//! does not exist, or was applied by us and is to be verified; a dry run and a read otherwise. A write comes on top
//! where something is to be changed.
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
mod memory;
pub(crate) mod takeover;

pub use change::{Action, Answer, ChangeSet, Correction, Entry};
pub use failure::{ObjectFailure, StageFailure};
pub use memory::Memory;

use crate::cluster::{ApiError, Cluster, Resource};
use crate::drift::{corrected, culprit, drifted, resource_version};
use crate::fingerprint::Fingerprint;
use crate::holdings::{Fact, Standing, Told};
use crate::inventory::{ObjectId, Owned};
use api::kustomize::ChangeEntry;
use api::meta::key;
use failure::Step;
use futures::future::BoxFuture;
use futures::stream;
use futures::{FutureExt, StreamExt};
use mark::marked;
use memory::{answered, digest, fact};
use serde_json::Value;
use std::time::Duration;
use takeover::{owned_fields, takeover};

/// How often managers are taken over anew when the object changed meanwhile.
const TAKEOVERS: u32 = 5;
/// How often and how far apart a request is repeated that answers 404 because a definition is not served yet.
const SERVING_TRIES: u32 = 50;
const SERVING_PAUSE: Duration = Duration::from_millis(100);

/// How often a live object and the dry run are asked for until both are about the same version.
const LOOKS: u32 = 3;

/// How a stage is applied.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether objects that cannot be changed as wanted are deleted and created again (`spec.force`).
    pub force: bool,
    /// Objects worked on at a time; at least one.
    pub concurrency: usize,
    /// Beginnings of the names of managers whose fields are taken over (`--override-manager`).
    pub override_managers: Vec<String>,
    /// What is remembered of the objects.
    pub memory: Memory,
}

/// No force, four at a time, as Flux; nothing is remembered.
impl Default for Options {
    fn default() -> Self {
        Options {
            force: false,
            concurrency: 4,
            override_managers: Vec::new(),
            memory: Memory::default(),
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
    /// The digest of the object.
    manifest: u64,
    entry: Entry,
    todo: Todo,
}

#[derive(Debug)]
enum Todo {
    Nothing,
    /// Apply.
    Write {
        resource: Resource,
        /// What is taken over before.
        takeover: Option<Takeover>,
        /// The resource version of the dry run's result, where only the write tells whether anything changes.
        unless: Option<String>,
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
            self.works
                .iter()
                .map(|work| delete(cluster, work, options).boxed())
                .collect(),
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
async fn delete(cluster: &Cluster, work: &Work<'_>, options: &Options) -> Result<Option<ObjectId>, ObjectFailure> {
    let Todo::Recreate { resource, uid, going } = &work.todo else {
        return Ok(None);
    };
    let id = &work.entry.owned.id;
    if !going {
        match cluster.delete(resource, &id.namespace, &id.name, Some(uid), None).await {
            // With a conflict another object took its place: the next plan looks at that one.
            Err(error) if !error.is_conflict() => return Err(ObjectFailure::new(Step::Delete, work.object, error)),
            Ok(_) | Err(_) => {}
        }
    }
    options.memory.release(id);
    Ok(Some(id.clone()))
}

async fn plan_object<'a>(cluster: &Cluster, object: &'a Value, options: &Options) -> Result<Work<'a>, ObjectFailure> {
    let failure = |step, error| ObjectFailure::new(step, object, error);
    let manifest = digest(object);
    let work = |entry: Entry, todo: Todo| Work {
        object,
        manifest,
        entry,
        todo,
    };
    if mark::is_left_alone(object) {
        options
            .memory
            .record(&ObjectId::of(object), left_alone(object, manifest));
        return Ok(work(entry(object, Action::Skipped), Todo::Nothing));
    }
    let resource = resource_of(cluster, object).await;
    let resource = resource.map_err(|error| failure(Step::DryRun, error))?;
    let id = served_id(object, &resource);
    let standing = options.memory.standing(&id, manifest);
    if let Standing::Current { skipped } = standing {
        let action = if skipped { Action::Skipped } else { Action::Unchanged };
        let owned = Owned {
            id,
            ..Owned::of(object)
        };
        return Ok(work(Entry::new(owned, action), Todo::Nothing));
    }
    let mut tries = 0;
    let (dry_run, read) = loop {
        tries += 1;
        let dry_run = once_served(&resource, || cluster.apply(&resource, object, true)).await;
        if dry_run.as_ref().is_err_and(ApiError::is_not_served) {
            // It was served a moment ago.
            cluster.forget(&resource);
        }
        if let Ok(result) = &dry_run {
            if resource_version(result).is_empty() {
                let mut entry = entry(result, Action::Created);
                entry.correction = vanished(&standing);
                return Ok(work(entry, Todo::write(resource, None)));
            }
            match decide_by_dry_run(&standing, object, result, options) {
                Some(Action::Unchanged) => return Ok(work(entry(result, Action::Unchanged), Todo::Nothing)),
                Some(_) => {
                    let version = resource_version(result).to_owned();
                    let entry = entry(result, Action::Configured);
                    return Ok(work(entry, Todo::write(resource, Some(version))));
                }
                None => {}
            }
        }
        // Who may not read may still apply: a failed read matters only once the dry run went well.
        let read = once_served(&resource, || cluster.find(&resource, &id.namespace, &id.name)).await;
        // Two versions of a busy object differ in more than what the manifest says.
        let busy = match (&dry_run, &read) {
            (Ok(result), Ok(Some(live))) => resource_version(result) != resource_version(live),
            _ => false,
        };
        if !busy || tries == LOOKS {
            break (dry_run, read);
        }
    };
    let live = read.as_ref().ok().and_then(Option::as_ref);
    let remember = |entry: Entry, answer: &Value| {
        let fact = fact(answer, manifest, entry.action, options);
        options.memory.record(&entry.owned.id, fact);
        work(answered(entry, answer), Todo::Nothing)
    };
    if let Some(live) = live.filter(|live| is_skipped(object, live)) {
        return Ok(remember(entry(live, Action::Skipped), live));
    }
    let result = match dry_run {
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
            return Ok(work(entry, Todo::Recreate { resource, uid, going }));
        }
    };
    if let Err(error) = &read {
        if !error.is_forbidden() {
            return Err(failure(Step::Query, error.clone()));
        }
        // The result has the marks of the live object in it.
        if mark::is_left_alone(&result) || marked(object, key::SSA, key::SSA_IF_NOT_PRESENT) {
            return Ok(remember(entry(&result, Action::Skipped), &result));
        }
    }

    let Some(live) = live else {
        // Gone since the dry run, or unreadable.
        return Ok(work(entry(&result, Action::Configured), Todo::write(resource, None)));
    };
    let takeover = takeover(object, live, &options.override_managers);
    let drifted = drifted(live, &result);
    if takeover.is_none() && !drifted {
        let entry = entry(&result, Action::Unchanged);
        // Fields that somebody else has set to our values are not ours: a later change of them would go unnoticed.
        return match owned_fields(live) == owned_fields(&result) {
            true => Ok(remember(entry, live)),
            false => Ok(work(entry, Todo::write(resource, None))),
        };
    }
    let mut entry = entry(&result, Action::Configured);
    let before = was_applied(&standing);
    if before && drifted {
        entry.correction = correction(live, &result, options);
    }
    let takeover = takeover.map(|patch| Takeover {
        patch,
        before: before.then(|| Box::new(live.clone())),
    });
    let todo = Todo::Write {
        resource,
        takeover,
        unless: None,
    };
    Ok(work(entry, todo))
}

/// Fields of others that become ours.
#[derive(Debug)]
struct Takeover {
    /// The JSON patch.
    patch: Value,
    /// The object before, if its owner had applied it: whatever is different afterwards is a correction.
    before: Option<Box<Value>>,
}

impl Todo {
    fn write(resource: Resource, unless: Option<String>) -> Self {
        Todo::Write {
            resource,
            takeover: None,
            unless,
        }
    }
}

/// What the dry run alone tells of an object that exists; nothing where the live object is needed to tell.
///
/// An object that we applied and that is as its manifest says comes out of the dry run with the fingerprint it had. One
/// with another manifest, of which a watch would have told if anybody had touched it, has no fields to be taken over
/// and no marks.
fn decide_by_dry_run(standing: &Standing, object: &Value, result: &Value, options: &Options) -> Option<Action> {
    let Standing::Held {
        fingerprint,
        same_manifest,
        skipped: false,
        intact: true,
        told,
    } = standing
    else {
        return None;
    };
    if !same_manifest {
        // The result has the marks and the managers of the live object.
        let theirs = takeover(object, result, &options.override_managers).is_some();
        return (*told && !theirs && !is_skipped(object, result)).then_some(Action::Configured);
    }
    let same = Fingerprint::of(&result["metadata"], &options.override_managers) == *fingerprint;
    same.then_some(Action::Unchanged)
}

/// Whether the owner had applied the object just so before: what differs is somebody else's doing.
fn was_applied(standing: &Standing) -> bool {
    let applied = |same_manifest: bool, skipped: bool| same_manifest && !skipped;
    matches!(standing, Standing::Held { same_manifest, skipped, .. } if applied(*same_manifest, *skipped))
}

/// What makes a live object into what it is to be; nothing when it is that already.
fn correction(live: &Value, result: &Value, options: &Options) -> Option<Correction> {
    let corrected = corrected(live, result, &options.override_managers);
    (!corrected.is_empty()).then(|| Correction {
        fields: corrected.to_strings(),
        manager: culprit(live, &corrected.paths),
    })
}

/// What is corrected by creating an object.
fn vanished(standing: &Standing) -> Option<Correction> {
    was_applied(standing).then(|| Correction {
        fields: vec![ChangeEntry::DELETED.to_owned()],
        manager: None,
    })
}

/// What is known of an object that its manifest says to leave alone.
fn left_alone(object: &Value, manifest: u64) -> Fact {
    Fact {
        manifest,
        version: 0,
        fingerprint: Fingerprint::of(&object["metadata"], &[]),
        skipped: true,
        told: Told::NotNeeded,
        healthy: false,
        vanishes: false,
        kept: true,
    }
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

/// The identity that the API server gives an object: without a namespace if its kind has none.
fn served_id(object: &Value, resource: &Resource) -> ObjectId {
    let mut id = ObjectId::of(object);
    if !resource.namespaced {
        id.namespace.clear();
    }
    id
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

fn is_skipped(object: &Value, live: &Value) -> bool {
    mark::is_left_alone(live) || marked(object, key::SSA, key::SSA_IF_NOT_PRESENT)
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
    Entry::new(Owned::of(object), action)
}

async fn carry_out(cluster: &Cluster, work: &Work<'_>, options: &Options) -> Result<Entry, ObjectFailure> {
    let Todo::Write {
        resource,
        takeover,
        unless,
    } = &work.todo
    else {
        return Ok(work.entry.clone());
    };
    let failure = |step, error| ObjectFailure::new(step, work.object, error);
    if let Some(takeover) = takeover {
        let result = take_over(cluster, resource, work.object, takeover.patch.clone(), options).await;
        result.map_err(|error| failure(Step::Cleanup, error))?;
    }
    let apply = async || {
        let applied = cluster.apply(resource, work.object, false).await;
        applied.map_err(|error| failure(Step::Apply, error))
    };
    let mut applied = apply().await?;
    // Somebody was faster: what is left to take over would go unnoticed from now on.
    if let Some(patch) = takeover::takeover(work.object, &applied, &options.override_managers) {
        let result = take_over(cluster, resource, work.object, patch, options).await;
        result.map_err(|error| failure(Step::Cleanup, error))?;
        applied = apply().await?;
    }
    let mut entry = work.entry.clone();
    if unless
        .as_ref()
        .is_some_and(|version| resource_version(&applied) == version)
    {
        entry.action = Action::Unchanged;
    }
    if let Some(before) = takeover.as_ref().and_then(|takeover| takeover.before.as_deref()) {
        let taken = takeover::managers(before, &options.override_managers);
        entry.correction = correction(before, &applied, options).map(|correction| Correction {
            manager: correction.manager.or_else(|| taken.first().cloned()),
            ..correction
        });
    }
    if entry.owned.id.kind == "CustomResourceDefinition" {
        cluster.learn(&applied);
    }
    let fact = Fact {
        // A mark that was set a moment ago counts from the next time on.
        skipped: mark::is_left_alone(&applied),
        ..fact(&applied, work.manifest, entry.action, options)
    };
    options.memory.record(&entry.owned.id, fact);
    Ok(answered(entry, &applied))
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
