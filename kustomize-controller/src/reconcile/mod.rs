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
mod dependencies;
mod fetch;
mod finalize;
mod resume;
pub mod run;
mod settled;

pub use asked::Asked;

use crate::args::Policy;
use crate::artifacts::Artifacts;
use crate::changes::Origin;
use crate::cluster::{Cluster, Clusters, Identity};
use crate::failure::Failure;
use crate::holdings::{Holdings, Meaning, Trust};
use crate::prune::Owner;
use crate::source::{self, Access, SourceRef, Sources};
use crate::unsupported;
use crate::watch::{Interest, News, Watches};
use api::Duration;
use api::kustomize::Kustomization;
use api::meta::condition::{HEALTHY, READY, RECONCILING};
use api::meta::{key, reason};
use api::source::Artifact;
use kube::ResourceExt;
use remote::Remote;
use run::{Inputs, Run, Step, Terminating, Watched};
use runtime::conditions::Verdict;
use runtime::controller::{Gone, Next, Reconcile, Trigger};
use runtime::finalizer;
use runtime::metrics::ObjectLabels;
use runtime::objects::Objects;
use runtime::process::Process;
use runtime::report::{Ledger, Report as RuntimeReport};
use settled::{Build, Rest, Settled};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The field manager of status and finalizers: Flux's.
pub const STATUS_MANAGER: &str = "gotk-kustomize-controller";

/// The status of a Kustomization while it is reconciled.
pub type Report = RuntimeReport<Kustomization>;

/// How a call ended.
enum Outcome {
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
struct Success {
    /// What was built, or would have been.
    build: Build,
    /// Whether anything was changed.
    changed: bool,
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
    /// What was applied, and whether it is as it was; shared with the watches.
    holdings: Arc<Holdings>,
    watches: Watches,
    /// What is waited for; shared with the watches.
    watched: Arc<Mutex<Watched>>,
    runs: Mutex<HashMap<String, Run>>,
    terminating: Mutex<HashMap<String, Terminating>>,
    blocked: Mutex<HashMap<Name, HashSet<Name>>>,
    rests: Mutex<HashMap<String, Rest>>,
    settled: Mutex<HashMap<String, Settled>>,
    /// How often rights have changed; followed once somebody acts as an account.
    rights: Arc<AtomicU64>,
    rights_followed: std::sync::Once,
    /// Keep the watches of applied kinds open.
    interests: Mutex<HashMap<String, Vec<Interest>>>,
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
    /// Brings remote bases; nothing where they are refused.
    pub remote: Option<Remote>,
    /// The Kustomizations.
    pub objects: Objects<Kustomization>,
    /// Wakes Kustomizations.
    pub trigger: Trigger<Kustomization>,
    /// Who was asked to run before its time.
    pub asked: Arc<Asked>,
    /// Whether the store holds every Kustomization of the cluster.
    pub sees_all: bool,
}

/// How long a watch of applied objects stays open after the last Kustomization that needs it.
const LINGER: std::time::Duration = std::time::Duration::from_secs(60);
/// What a call has to do.
enum Occasion {
    /// Nothing, for so long.
    Rest(std::time::Duration),
    /// A run that relies so far on what was applied before.
    Run(Trust),
}

impl Kustomizer {
    /// A reconciler with nothing under way.
    pub fn new(context: Context) -> Arc<Self> {
        let (watched, holdings) = (Arc::<Mutex<Watched>>::default(), Arc::<Holdings>::default());
        let tell = {
            let (watched, holdings) = (Arc::clone(&watched), Arc::clone(&holdings));
            let (trigger, objects) = (context.trigger.clone(), context.objects.clone());
            move |news: News| notice(&watched, &holdings, &trigger, &objects, &news)
        };
        let shutdown = context.process.shutdown.clone();
        let managers = context.policy.override_managers.clone();
        let watches = Watches::new(context.clusters.own(), shutdown, LINGER, managers, tell);
        let objects = context.objects.clone();
        let store = move |namespace: &str, name: &str| objects.get(namespace, name);
        let ledger = Ledger::new(context.process.client.clone(), STATUS_MANAGER, store);
        let builders = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Kustomizer {
            context,
            ledger,
            holdings,
            watches,
            watched,
            runs: Mutex::default(),
            terminating: Mutex::default(),
            blocked: Mutex::default(),
            rests: Mutex::default(),
            settled: Mutex::default(),
            rights: Arc::default(),
            rights_followed: std::sync::Once::new(),
            interests: Mutex::default(),
            builds: Arc::new(tokio::sync::Semaphore::new(builders)),
        })
    }

    /// Definitions of an API group have changed: what could not be watched may be now.
    pub fn defined(&self, group: &str) {
        self.watches.defined(group);
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
        let mut first = Step::fetch();
        if let Some(superseded) = run.take_if(|run| asked || run.inputs != inputs) {
            // Whatever the old run waited for does not matter any more.
            first = Step::instead_of(&superseded.step);
        }
        let mut trust = Trust::Nothing;
        if run.is_none() {
            match self.occasion(object, &inputs, asked) {
                Occasion::Rest(rest) => return Outcome::Wait(rest),
                Occasion::Run(known) => trust = known,
            }
            if let Err(failure) = self.dependencies(object, &artifact.revision).await {
                return failure.into();
            }
        }
        let run = run.get_or_insert_with(|| Run {
            inputs,
            artifact: artifact.clone(),
            started: Instant::now(),
            trust,
            rights: self.rights.load(Ordering::Relaxed),
            checking_since: None,
            draft: None,
            step: first,
        });
        let mut about = About {
            object,
            artifact: &artifact,
            timeout: timeout(object),
            owner: Arc::new(owner(object)),
            trust: run.trust,
        };
        loop {
            if run
                .unaware_since()
                .is_some_and(|since| self.holdings.has_drift(&about.owner, since))
            {
                // What drifts while something is waited for is corrected at once, and the wait goes on.
                about.trust = Trust::Truce;
                run.step = Step::fetch();
            }
            let next = match &mut run.step {
                Step::Fetch(fetching) => self.fetch_and_build(&about, report, fetching).await,
                Step::Apply(applying) => self.apply(&about, report, applying).await,
                Step::Check(checking) => {
                    checking.awaited.since = *run.checking_since.get_or_insert(checking.awaited.since);
                    self.check(&about, report, checking).await
                }
            };
            match next {
                Ok(Progress::Step(step)) => run.step = step,
                Ok(Progress::Wait(delay)) => return Outcome::Wait(delay),
                Ok(Progress::Done(success)) => return Outcome::Done(success),
                Err(failure) => return failure.into(),
            }
        }
    }

    /// Whether there is anything to do. Watches and others wake more often than there is: a watch that told of an object
    /// may have woken a run that has finished meanwhile.
    fn occasion(&self, object: &Kustomization, inputs: &Inputs, asked: bool) -> Occasion {
        let (uid, now) = (object.uid().unwrap_or_default(), Instant::now());
        let mut rests = runtime::lock(&self.rests);
        if let Some(rest) = rests.get(&uid).filter(|_| !asked)
            && let Some(left) = rest.left(inputs, now)
            && !self.holdings.has_drift(&owner(object), Some(rest.since))
        {
            return Occasion::Rest(left);
        }
        // Whatever becomes of this run, the rest of the last one is over.
        rests.remove(&uid);
        let mut settled = runtime::lock(&self.settled);
        let settled = settled.get_mut(&uid);
        let rights = self.rights(object);
        Occasion::Run(settled.map_or(Trust::Nothing, |settled| settled.trust(inputs, now, rights)))
    }

    /// The state of the rights that an object is applied with; nothing for those of the controller.
    fn rights(&self, object: &Kustomization) -> Option<u64> {
        if self.identity(object) == Identity::Own {
            return None;
        }
        self.rights_followed.call_once(|| {
            let rights = Arc::clone(&self.rights);
            let changed = move || {
                rights.fetch_add(1, Ordering::Relaxed);
            };
            let shutdown = &self.context.process.shutdown;
            self.context.clusters.follow_rights(shutdown, changed);
        });
        Some(self.rights.load(Ordering::Relaxed))
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
}

fn labels(name: &Name) -> ObjectLabels {
    ObjectLabels {
        kind: "Kustomization".to_owned(),
        namespace: name.0.clone(),
        name: name.1.clone(),
    }
}

/// News of a watch: whoever waits for the object looks again, and whoever applied it if it is not as it was.
fn notice(
    watched: &Mutex<Watched>,
    holdings: &Holdings,
    trigger: &Trigger<Kustomization>,
    objects: &Objects<Kustomization>,
    news: &News,
) {
    match news {
        News::Sighted(sighting) => {
            let waiters = runtime::lock(watched).waiters(&sighting.id);
            for (namespace, name) in waiters {
                trigger.wake(&namespace, &name);
            }
            if let Meaning::Drift(owner) = holdings.see(&sighting.id, sighting.version, sighting.fingerprint) {
                let other = sighting.owner.as_ref().filter(|other| **other != *owner);
                match other.and_then(|other| objects.get(&other.namespace, &other.name)) {
                    // Two Kustomizations have it in their manifests: they meet at their intervals, as in Flux.
                    Some(_) => holdings.taken(&owner, &sighting.id),
                    None => trigger.wake(&owner.namespace, &owner.name),
                }
            }
        }
        News::Listed(list) => {
            for owner in holdings.listed(&list.group, &list.kind, list.began, |place| list.names(place)) {
                trigger.wake(&owner.namespace, &owner.name);
            }
        }
        News::Dark { group, kind } => holdings.dark(group, kind),
    }
}

impl Reconcile for Kustomizer {
    type Object = Kustomization;

    async fn reconcile(&self, object: Arc<Kustomization>) -> Next {
        if let Err(error) = self.ledger.ascertain(&object).await {
            tracing::info!(%error, "cannot read the status that was written last, will try again");
            return Next::retry(&error);
        }
        match Intent::of(&object) {
            Intent::Delete => self.finalize(&object).await,
            Intent::Suspended => self.suspended(&object).await,
            Intent::Sync => {
                let object = match finalizer::add(&self.context.process.client, STATUS_MANAGER, &*object).await {
                    Ok(Some(object)) => object,
                    Ok(None) => return Next::Event,
                    Err(error) => {
                        tracing::info!(%error, "cannot add the finalizer, will try again");
                        return Next::retry(&error);
                    }
                };
                let uid = object.uid().unwrap_or_default();
                let mut run = runtime::lock(&self.runs).remove(&uid);
                let mut report = self.resume(&object, &mut run);
                let outcome = self.sync(&object, &mut report, &mut run).await;
                self.conclude(&object, report, run, outcome).await
            }
        }
    }

    fn seen(&self, object: &Kustomization) {
        self.ledger.seen(object);
    }

    fn gone(&self, object: &Gone) {
        let name = (object.namespace.clone(), object.name.clone());
        self.forget_work(&object.uid, &name);
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
    owner: Arc<Owner>,
    trust: Trust,
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

    fn uid(&self) -> String {
        self.object.uid().unwrap_or_default()
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

/// What the labels of its objects say.
fn owner(object: &Kustomization) -> Owner {
    let (namespace, name) = name(object);
    Owner { namespace, name }
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
