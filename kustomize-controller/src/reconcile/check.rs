//! The last step of a run: what was applied becomes healthy, or does not.
//!
//! What the answers to the apply told is taken from them. Everything else is looked at once at the start; afterwards only
//! what a watch saw change, and every few seconds what is not there yet and no watch tells of, because objects without
//! owner are not watched.

use super::run::{Awaited, Checking};
use super::{About, HEALTH_CHECKS, Kustomizer, Name, Progress, Report, Success};
use crate::cluster::Cluster;
use crate::drift::resource_version;
use crate::failure::Failure;
use crate::health::{self, Kind, Status};
use crate::inventory::{ObjectId, Owned, group_version};
use crate::prune::Owner;
use crate::wait::{self, Judgement, Look, Obstacle};
use crate::watch::{Interest, State, Watches};
use api::Duration;
use api::meta::condition::HEALTHY;
use api::meta::reason;
use futures::{FutureExt, StreamExt};
use runtime::conditions::Verdict;
use runtime::events::Severity;
use std::collections::HashSet;
use std::time::Instant;

/// How often everything that is not there yet is looked at although watches tell of it: nothing should go unnoticed, but
/// should it, the wait must end.
const WATCHED_POLL: std::time::Duration = std::time::Duration::from_secs(30);
/// How often everything that is not there yet and that no watch tells of is looked at.
const POLL: std::time::Duration = std::time::Duration::from_secs(5);
/// The same where the watches are not there yet, or not allowed.
const BLIND_POLL: std::time::Duration = std::time::Duration::from_secs(2);
/// The shortest pause.
const LEAST: std::time::Duration = std::time::Duration::from_millis(10);
/// How many objects are looked at at a time.
const LOOKS: usize = 8;

impl Kustomizer {
    pub(super) async fn check(
        &self,
        about: &About<'_>,
        report: &mut Report,
        checking: &mut Checking,
    ) -> Result<Progress, Failure> {
        let me = super::name(about.object);
        let success = |checking: &Checking| {
            Progress::Done(Success {
                build: checking.build.clone(),
                changed: checking.changed,
            })
        };
        if checking.awaited.known.is_empty() {
            report.remove(HEALTHY);
            return Ok(success(checking));
        }
        self.look_at(&me, &about.owner, &mut checking.awaited).await;
        let elapsed = checking.awaited.since.elapsed();
        let took = Duration::from(elapsed);
        match wait::judge(
            &checking.awaited.known,
            self.context.policy.fail_fast,
            elapsed >= about.timeout.std(),
        ) {
            Judgement::Waiting => {
                about.progress(report, HEALTH_CHECKS);
                let left = about.timeout.std().saturating_sub(elapsed);
                let pause = patience(&self.watches, &checking.awaited);
                Ok(Progress::Wait(pause.min(left).max(LEAST)))
            }
            Judgement::Ready => {
                let message = format!("Health check passed in {took}");
                let new_revision = report.status().last_applied_revision.as_deref() != Some(&about.artifact.revision);
                if !checking.was_healthy || (new_revision && checking.changed) {
                    self.tell(about.object, report, Severity::Info, &message, Some(&about.origin()));
                }
                report.set(HEALTHY, Verdict::True, reason::SUCCEEDED, &message);
                Ok(success(checking))
            }
            Judgement::Failed(Obstacle { text: cause, objects }) => {
                about.progress(report, HEALTH_CHECKS);
                report.set(HEALTHY, Verdict::False, reason::HEALTH_CHECK_FAILED, &cause);
                let origins = checking.build.origins.lines(&objects);
                Err(Failure::Health { took, cause, origins })
            }
        }
    }

    /// Looks at what is not known to be there: at what was never looked at, at what a watch has seen change since, and
    /// now and then at everything that is not there yet.
    pub(super) async fn look_at(&self, me: &Name, owner: &Owner, awaited: &mut Awaited) {
        if awaited.interests.is_empty() {
            let ids = awaited.known.iter().map(|look| look.owned.id.clone());
            runtime::lock(&self.watched).expect(me, ids);
            awaited.interests = self.interests(awaited.known.iter().map(|look| &look.owned.id));
        }
        let now = Instant::now();
        let all = awaited
            .looked
            .is_some_and(|looked| now.duration_since(looked) >= patience(&self.watches, awaited));
        if all || awaited.looked.is_none() {
            awaited.looked = Some(now);
        }
        let (cluster, vanishing) = (&awaited.cluster, &awaited.vanishing);
        let mut looks = Vec::new();
        for (index, look) in awaited.known.iter_mut().enumerate() {
            let id = &look.owned.id;
            if look.status.is_none() && self.holdings.is_healthy(owner, id) {
                let message = String::new();
                look.status = Some(Status {
                    kind: Kind::Current,
                    message,
                });
                look.version = self.watches.seen(id).map_or(0, |(version, _)| version);
                continue;
            }
            let seen = self.watches.seen(id).map_or(0, |(version, _)| version);
            if look.status.is_none() || seen > look.version || (all && !look.is(Kind::Current)) {
                // Of what is not there, no answer tells a version.
                look.version = look.version.max(seen);
                let owned = look.owned.clone();
                // Boxed and collected: a closure that lives across an await would keep callers from being spawned.
                looks.push(async move { (index, self.look(cluster, &owned, vanishing).await) }.boxed());
            }
        }
        let seen: Vec<_> = futures::stream::iter(looks).buffer_unordered(LOOKS).collect().await;
        for (index, (status, version)) in seen {
            let look = &mut awaited.known[index];
            look.version = look.version.max(version);
            look.status = status;
            self.holdings
                .judged(owner, &look.owned.id, version, look.is(Kind::Current));
        }
    }

    /// Keeps the watches of kinds open.
    pub(super) fn interests<'a>(&self, ids: impl Iterator<Item = &'a ObjectId>) -> Vec<Interest> {
        let kinds: HashSet<_> = ids.map(|id| (&id.group, &id.kind)).collect();
        let interest = |(group, kind): (&String, &String)| self.watches.interest(group, kind);
        kinds.into_iter().map(interest).collect()
    }

    /// The health of one object as it is now, nothing when it cannot be determined, and the version that was looked at.
    async fn look(&self, cluster: &Cluster, owned: &Owned, vanishing: &HashSet<ObjectId>) -> (Option<Status>, u64) {
        let ObjectId {
            group,
            kind,
            namespace,
            name,
        } = &owned.id;
        let is = |kind: Kind, message: String| (Some(Status { kind, message }), 0);
        let resource = match cluster.preferred(group, kind).await {
            Ok(resource) => resource,
            Err(error) => return is(Kind::Unknown, error.to_string()),
        };
        if resource.namespaced && namespace.is_empty() {
            return (None, 0);
        }
        let object = match cluster.find(&resource, namespace, name).await {
            Ok(Some(object)) => object,
            // A job that may vanish once it is done has done its work.
            Ok(None) if vanishing.contains(&owned.id) => return is(Kind::Current, String::new()),
            Ok(None) => return is(Kind::NotFound, String::new()),
            Err(error) => return is(Kind::Unknown, error.to_string()),
        };
        let version = resource_version(&object).parse().unwrap_or_default();
        let status = health::status(&object);
        if status.kind != Kind::InProgress || !health::looks_at_pods(group, kind) {
            return (Some(status), version);
        }
        // A workload whose pods have failed does not get there by waiting.
        let pods = cluster.pods_of(&object).await.unwrap_or_default();
        (Some(health::status_with_pods(&object, &pods)), version)
    }

    /// The objects whose health matters: all that are applied, or the ones the spec names; never this one itself.
    pub(super) fn health_set(&self, about: &About<'_>, applied: Vec<Look>) -> Vec<Look> {
        let object = about.object;
        let (namespace, name) = super::name(object);
        let set: Vec<_> = match object.spec.wait {
            true => applied,
            false => object
                .spec
                .health_checks
                .iter()
                .map(|check| {
                    let (group, version) = group_version(check.api_version.as_deref().unwrap_or("apps/v1"));
                    let id = ObjectId {
                        group: group.to_owned(),
                        kind: check.kind.clone(),
                        namespace: check.namespace.clone().unwrap_or_default(),
                        name: check.name.clone(),
                    };
                    let known = applied.iter().find(|look| look.owned.id == id).cloned();
                    let version = version.to_owned();
                    known.unwrap_or_else(|| Look::new(Owned { id, version }))
                })
                .collect(),
        };
        let myself = |id: &ObjectId| id.kind == "Kustomization" && id.namespace == namespace && id.name == name;
        set.into_iter().filter(|look| !myself(&look.owned.id)).collect()
    }
}

/// How long what is not there yet may go without a look.
fn patience(watches: &Watches, awaited: &Awaited) -> std::time::Duration {
    let live = awaited.interests.iter().all(|interest| interest.state() == State::Live);
    let told = |look: &Look| {
        let id = &look.owned.id;
        // What becomes of pods is not told by the workload.
        watches.tells_of(id) && !health::looks_at_pods(&id.group, &id.kind)
    };
    let waiting = |look: &&Look| !look.is(Kind::Current);
    match live {
        true if awaited.known.iter().filter(waiting).all(told) => WATCHED_POLL,
        true => POLL,
        false => BLIND_POLL,
    }
}
