//! The pipeline of a Kustomization.
//!
//! [`Kustomizer::sync`] reads like the contract: source, dependencies, fetch, build, apply, inventory, prune, health. A
//! call never waits for the world: what takes time ends the call with [`Outcome::Wait`], and the next call goes on from
//! the [`Run`] that is kept in memory. Watches and other Kustomizations wake it; a timer is the fallback.
//!
//! What this module does not do: decide what a failure means ([`crate::failure`]) or how an outcome is told
//! ([`conclude`]).
//!
//! Invariants: the inventory is written before anything is pruned; nothing is pruned unless everything was built and
//! applied; an object is only deleted if its labels say that this Kustomization owns it.

mod apply;
mod asked;
mod check;
mod conclude;
mod fetch;
mod finalize;
pub mod run;

pub use asked::Asked;

use crate::args::Policy;
use crate::artifacts::Artifacts;
use crate::changes::Origin;
use crate::cluster::{Cluster, Clusters, Identity};
use crate::dependency;
use crate::failure::Failure;
use crate::source::{self, Access, SourceRef, Sources};
use crate::unsupported;
use crate::watch::{Change, Sighting, Watches};
use api::Duration;
use api::kustomize::Kustomization;
use api::meta::condition::{HEALTHY, READY, RECONCILING};
use api::meta::{key, reason};
use api::source::Artifact;
use kube::ResourceExt;
use kube::api::Api;
use run::{Inputs, Run, Step, Terminating, Watched};
use runtime::conditions::Verdict;
use runtime::controller::{Gone, Next, Reconcile, Trigger};
use runtime::finalizer;
use runtime::metrics::ObjectLabels;
use runtime::objects::Objects;
use runtime::process::Process;
use runtime::report::{Ledger, Report as RuntimeReport};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The field manager of status and finalizers: Flux's.
pub const STATUS_MANAGER: &str = "gotk-kustomize-controller";

/// The status of a Kustomization while it is reconciled.
pub type Report = RuntimeReport<Kustomization>;

/// How a call ended.
pub enum Outcome {
    /// Everything is as it should be.
    Done(Success),
    /// Something is waited for; look again after this time at the latest.
    Wait(std::time::Duration),
    /// It did not work.
    Failed(Failure),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Outcome::Failed(failure)
    }
}

/// What a successful run leaves for the status.
pub struct Success {
    /// The digest of the built text.
    pub digest: String,
}

/// What a Kustomization is to be treated as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Delete,
    Suspended,
    Sync,
}

impl Intent {
    fn of(object: &Kustomization) -> Self {
        if object.metadata.deletion_timestamp.is_some() {
            Intent::Delete
        } else if object.spec.suspend {
            Intent::Suspended
        } else {
            Intent::Sync
        }
    }
}

type Name = (String, String);

/// Reconciles Kustomizations.
pub struct Kustomizer {
    context: Context,
    ledger: Arc<Ledger<Kustomization>>,
    watches: Watches,
    /// What is waited for; shared with the watches.
    watched: Arc<Mutex<Watched>>,
    runs: Mutex<HashMap<String, Run>>,
    terminating: Mutex<HashMap<String, Terminating>>,
    blocked: Mutex<HashMap<Name, HashSet<Name>>>,
    rests: Mutex<HashMap<String, Rest>>,
    builds: Arc<tokio::sync::Semaphore>,
}

/// What all reconciles share.
pub struct Context {
    /// The process around the work.
    pub process: Process,
    /// What flags decide.
    pub policy: Policy,
    /// Clients by identity.
    pub clusters: Clusters,
    /// Where sources are looked up.
    pub sources: Sources,
    /// Unpacked artifacts.
    pub artifacts: Artifacts,
    /// The Kustomizations.
    pub objects: Objects<Kustomization>,
    /// Wakes Kustomizations.
    pub trigger: Trigger<Kustomization>,
    /// Who was asked to run before its time.
    pub asked: Arc<Asked>,
    /// Whether the store holds every Kustomization of the cluster.
    pub sees_all: bool,
}

/// A Kustomization that has nothing to do before a time, unless its inputs change.
struct Rest {
    inputs: Inputs,
    until: Option<Instant>,
}

/// How long a watch of applied objects stays open after the last one that waited.
const LINGER: std::time::Duration = std::time::Duration::from_secs(60);
/// The rest of one that only a change of its inputs can help.
const LONG: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

impl Kustomizer {
    /// A reconciler with nothing under way.
    pub fn new(context: Context) -> Arc<Self> {
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let seen = {
            let (watched, trigger) = (Arc::clone(&watched), context.trigger.clone());
            move |sighting: Sighting| notice(&watched, &trigger, &sighting)
        };
        let watches = Watches::new(context.clusters.own(), context.process.shutdown.clone(), LINGER, seen);
        let ledger = Ledger::new(context.process.client.clone(), STATUS_MANAGER);
        let builders = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Kustomizer {
            context,
            ledger,
            watches,
            watched,
            runs: Mutex::default(),
            terminating: Mutex::default(),
            blocked: Mutex::default(),
            rests: Mutex::default(),
            builds: Arc::new(tokio::sync::Semaphore::new(builders)),
        })
    }

    /// The pipeline: goes on with a run, or starts one, until it has an outcome or has to wait.
    async fn sync(&self, object: &Kustomization, report: &mut Report, run: &mut Option<Run>) -> Outcome {
        let asked = self.context.asked.take(&name(object));
        let artifact = match (self.artifact(object).await, run.as_ref()) {
            (Ok(artifact), _) => artifact,
            // A source that goes away for a moment does not undo what is under way.
            (Err(failure), Some(run)) if failure.is_about_source() && run.is_built_for(object) => run.artifact.clone(),
            (Err(failure), _) => {
                *run = None;
                return failure.into();
            }
        };
        let inputs = Inputs::of(object, &artifact);
        if run.as_ref().is_some_and(|run| asked || run.inputs != inputs) {
            // Superseded: whatever the old run waited for does not matter any more.
            *run = None;
        }
        if run.is_none() {
            if !asked && let Some(rest) = self.rest(object, &inputs) {
                return Outcome::Wait(rest);
            }
            if let Err(failure) = self.dependencies(object, &artifact.revision).await {
                return failure.into();
            }
        }
        let run = run.get_or_insert_with(|| Run {
            inputs,
            artifact: artifact.clone(),
            started: Instant::now(),
            step: Step::Fetch { attempts: 0 },
        });
        let about = About {
            object,
            artifact: &artifact,
            timeout: timeout(object),
        };
        loop {
            let next = match &mut run.step {
                Step::Fetch { attempts } => self.fetch_and_build(&about, report, attempts).await,
                Step::Apply(applying) => self.apply(&about, report, applying).await,
                Step::Check(checking) => self.check(&about, report, checking).await,
            };
            match next {
                Ok(Progress::Step(step)) => run.step = step,
                Ok(Progress::Wait(delay)) => return Outcome::Wait(delay),
                Ok(Progress::Done(success)) => return Outcome::Done(success),
                Err(failure) => return failure.into(),
            }
        }
    }

    /// How long there is still nothing to do: a watch that told of an object may have woken a run that has finished
    /// meanwhile.
    fn rest(&self, object: &Kustomization, inputs: &Inputs) -> Option<std::time::Duration> {
        let rests = runtime::lock(&self.rests);
        let rest = rests
            .get(&object.uid().unwrap_or_default())
            .filter(|rest| rest.inputs == *inputs)?;
        match rest.until {
            None => Some(LONG),
            Some(until) => Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()),
        }
    }

    /// The artifact to work from.
    async fn artifact(&self, object: &Kustomization) -> Result<Artifact, Failure> {
        if let Some(message) = unsupported::message(&object.spec) {
            return Err(Failure::Unsupported(message));
        }
        let source = SourceRef::of(object);
        let access = Access {
            no_cross_namespace_refs: self.context.policy.no_cross_namespace_refs,
            external_artifact: self.context.policy.external_artifact,
        };
        let allowed = source::allowed(&source, &object.namespace().unwrap_or_default(), access);
        let found = match &allowed {
            // Flux says that a source is missing before it says that it is forbidden, but looks only where it may.
            Err(_) => None,
            Ok(()) => self.context.sources.artifact(&source).await?,
        };
        allowed?;
        found.ok_or(Failure::NoArtifact {
            retry: self.context.policy.interval.requeue_dependency,
        })
    }

    /// Checks the dependencies in their order; the first that is not ready ends it.
    async fn dependencies(&self, object: &Kustomization, revision: &str) -> Result<(), Failure> {
        let me = name(object);
        for dependency in dependency::names(object) {
            // Before the check, so that a dependency that turns ready meanwhile still wakes this one.
            runtime::lock(&self.blocked)
                .entry(dependency.clone())
                .or_default()
                .insert(me.clone());
            let Some(mut text) = self.obstacle(object, revision, &dependency).await? else {
                self.unblock(&dependency, &me);
                continue;
            };
            let known = |name: &Name| {
                let found = self.context.objects.get(&name.0, &name.1);
                found
                    .map(|found| dependency::names(&found).collect())
                    .unwrap_or_default()
            };
            if let Some(cycle) = dependency::cycle(&me, known) {
                let names: Vec<_> = cycle
                    .iter()
                    .map(|(namespace, name)| format!("{namespace}/{name}"))
                    .collect();
                text = format!("{text}: dependency loop {}", names.join(" -> "));
            }
            return Err(Failure::Dependency(text));
        }
        Ok(())
    }

    fn unblock(&self, dependency: &Name, waiting: &Name) {
        let mut blocked = runtime::lock(&self.blocked);
        if let Some(waiters) = blocked.get_mut(dependency) {
            waiters.remove(waiting);
            if waiters.is_empty() {
                blocked.remove(dependency);
            }
        }
    }

    /// What keeps a dependency from being ready; looked up in the API where the watch is limited to some.
    async fn obstacle(
        &self,
        object: &Kustomization,
        revision: &str,
        dependency: &Name,
    ) -> Result<Option<String>, Failure> {
        if let Some(found) = self.context.objects.get(&dependency.0, &dependency.1) {
            let found = (&*found, &self.ledger.status(&found));
            return Ok(dependency::obstacle(object, revision, dependency, Some(found)));
        }
        if self.context.sees_all {
            return Ok(dependency::obstacle(object, revision, dependency, None));
        }
        let api: Api<Kustomization> = Api::namespaced(self.context.process.client.clone(), &dependency.0);
        let found = api.get_opt(&dependency.1).await?;
        let found = found.as_ref().map(|found| (found, self.ledger.status(found)));
        Ok(dependency::obstacle(
            object,
            revision,
            dependency,
            found.as_ref().map(|(found, status)| (*found, status)),
        ))
    }

    /// The cluster to apply to, as the identity that the object names.
    fn cluster(&self, object: &Kustomization) -> Result<Cluster, Failure> {
        self.context
            .clusters
            .of(&self.identity(object))
            .map_err(|error| Failure::Client(error.to_string()))
    }

    fn service_account<'a>(&'a self, object: &'a Kustomization) -> &'a str {
        object
            .spec
            .service_account_name
            .as_deref()
            .unwrap_or(&self.context.policy.default_service_account)
    }

    fn identity(&self, object: &Kustomization) -> Identity {
        match self.service_account(object) {
            "" => Identity::Own,
            account => Identity::Account {
                namespace: object.namespace().unwrap_or_default(),
                name: account.to_owned(),
            },
        }
    }

    /// Wakes whoever waits for a Kustomization.
    fn wake_dependents(&self, name: &Name) {
        for (namespace, name) in runtime::lock(&self.blocked).remove(name).unwrap_or_default() {
            self.context.asked.ask(&self.context.trigger, &namespace, &name);
        }
    }
}

fn labels(name: &Name) -> ObjectLabels {
    ObjectLabels {
        kind: "Kustomization".to_owned(),
        namespace: name.0.clone(),
        name: name.1.clone(),
    }
}

/// A watch saw a managed object change: its owner, or the one it was taken from, may be waiting for it.
fn notice(watched: &Mutex<Watched>, trigger: &Trigger<Kustomization>, sighting: &Sighting) {
    debug_assert!(matches!(sighting.change, Change::Changed | Change::Gone));
    for owner in std::iter::once(&sighting.owner).chain(&sighting.previous) {
        let name = (owner.namespace.clone(), owner.name.clone());
        if runtime::lock(watched).notice(&name, &sighting.id) {
            trigger.wake(&owner.namespace, &owner.name);
        }
    }
}

impl Reconcile for Kustomizer {
    type Object = Kustomization;

    async fn reconcile(&self, object: Arc<Kustomization>) -> Next {
        match Intent::of(&object) {
            Intent::Delete => self.finalize(&object).await,
            Intent::Suspended => self.suspended(&object).await,
            Intent::Sync => {
                match finalizer::add(&self.context.process.client, STATUS_MANAGER, &*object).await {
                    Ok(true) => {}
                    Ok(false) => return Next::Event,
                    Err(error) => {
                        tracing::info!(%error, "cannot add the finalizer, will try again");
                        return Next::Backoff;
                    }
                }
                let uid = object.uid().unwrap_or_default();
                let mut report = self.ledger.begin(&object);
                let mut run = runtime::lock(&self.runs).remove(&uid);
                let outcome = self.sync(&object, &mut report, &mut run).await;
                self.conclude(&object, report, run, outcome).await
            }
        }
    }

    fn gone(&self, object: &Gone) {
        let name = (object.namespace.clone(), object.name.clone());
        runtime::lock(&self.runs).remove(&object.uid);
        runtime::lock(&self.terminating).remove(&object.uid);
        runtime::lock(&self.rests).remove(&object.uid);
        runtime::lock(&self.watched).forget(&name);
        self.context.asked.forget(&name);
        runtime::lock(&self.blocked).retain(|_, waiting| {
            waiting.remove(&name);
            !waiting.is_empty()
        });
        self.ledger.forget(&object.uid);
        self.context.process.metrics.forget(&labels(&name));
    }
}

/// What every step of a run is about.
struct About<'a> {
    object: &'a Kustomization,
    artifact: &'a Artifact,
    timeout: Duration,
}

impl About<'_> {
    /// Says in the report what the run does; written only if the run has to wait.
    fn progress(&self, report: &mut Report, what: &str) {
        let message = format!(
            "{what} for revision {} with a timeout of {}",
            self.artifact.revision, self.timeout
        );
        report.set(
            READY,
            Verdict::Unknown,
            reason::PROGRESSING,
            "Reconciliation in progress",
        );
        report.set(RECONCILING, Verdict::True, reason::PROGRESSING, &message);
        if what == HEALTH_CHECKS {
            report.set(HEALTHY, Verdict::Unknown, reason::PROGRESSING, &message);
        }
    }

    /// What is applied, for those who tell of it.
    fn origin(&self) -> Origin {
        Origin::of(self.artifact)
    }
}

const HEALTH_CHECKS: &str = "Running health checks";

/// What a step leads to.
enum Progress {
    Step(Step),
    Wait(std::time::Duration),
    Done(Success),
}

fn name(object: &Kustomization) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The value of the annotation that asks for a reconcile.
fn requested(object: &Kustomization) -> Option<String> {
    object
        .annotations()
        .get(key::REQUESTED_AT)
        .filter(|value| !value.is_empty())
        .cloned()
}

/// The timeout: the spec's, or the interval less 30 seconds; never below 30 seconds.
fn timeout(object: &Kustomization) -> Duration {
    let least = Duration::from_secs(30);
    let timeout = object
        .spec
        .timeout
        .unwrap_or_else(|| Duration::from_nanos(object.spec.interval.as_nanos().saturating_sub(least.as_nanos())));
    timeout.max(least)
}

/// The pause after a failure.
fn retry_interval(object: &Kustomization) -> Duration {
    object.spec.retry_interval.unwrap_or(object.spec.interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn kustomization(spec: Value) -> Kustomization {
        let mut whole = json!({"interval": "10m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "a"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": "app", "namespace": "apps"});
        let kind = "Kustomization";
        serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": whole})).unwrap()
    }

    #[test]
    fn the_timeout_is_never_below_thirty_seconds() {
        let check = |spec: Value, expected: &str| assert_eq!(timeout(&kustomization(spec)).to_string(), expected);
        check(json!({}), "9m30s");
        check(json!({"interval": "40s"}), "30s");
        check(json!({"timeout": "5s"}), "30s");
        check(json!({"timeout": "2m"}), "2m0s");
    }

    #[test]
    fn deletion_wins_over_suspension() {
        let mut object = kustomization(json!({"suspend": true}));
        assert_eq!(Intent::of(&object), Intent::Suspended);
        object.metadata.deletion_timestamp = Some(api::meta::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(Intent::of(&object), Intent::Delete);
    }
}
