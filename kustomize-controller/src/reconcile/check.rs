//! The last step of a run: what was applied becomes healthy, or does not.
//!
//! Objects are looked at once at the start; afterwards only those that a watch saw change, and all that are not there
//! yet every few seconds, because objects that somebody else owns are not watched.

use super::run::{Awaited, Checking};
use super::{About, HEALTH_CHECKS, Kustomizer, Name, Progress, Report, Success};
use crate::apply::ChangeSet;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::health::{self, Kind, Status};
use crate::inventory::{ObjectId, Owned, group_version};
use crate::wait::{self, Judgement};
use crate::watch::State;
use api::Duration;
use api::meta::condition::HEALTHY;
use api::meta::reason;
use futures::{FutureExt, StreamExt};
use runtime::conditions::Verdict;
use runtime::events::Severity;
use std::collections::HashSet;

/// How often everything that is not there yet is looked at.
const POLL: std::time::Duration = std::time::Duration::from_secs(5);
/// The same where no watch tells of changes.
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
                digest: checking.digest.clone(),
            })
        };
        if checking.awaited.known.is_empty() {
            report.remove(HEALTHY);
            return Ok(success(checking));
        }
        self.look_at(&me, &mut checking.awaited).await;
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
                Ok(Progress::Wait(pause(&checking.awaited).min(left).max(LEAST)))
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
            Judgement::Failed(cause) => {
                about.progress(report, HEALTH_CHECKS);
                report.set(HEALTHY, Verdict::False, reason::HEALTH_CHECK_FAILED, &cause);
                Err(Failure::Health { took, cause })
            }
        }
    }

    /// Looks at what is not there yet or was seen to change; at everything, and with watches open, the first time.
    pub(super) async fn look_at(&self, me: &Name, awaited: &mut Awaited) {
        if awaited.interests.is_empty() {
            let ids = awaited.known.iter().map(|(owned, _)| owned.id.clone());
            runtime::lock(&self.watched).expect(me.clone(), ids);
            let kinds: HashSet<_> = awaited
                .known
                .iter()
                .map(|(owned, _)| (&owned.id.group, &owned.id.kind))
                .collect();
            awaited.interests = kinds
                .into_iter()
                .map(|(group, kind)| self.watches.interest(group, kind))
                .collect();
        }
        let dirty = runtime::lock(&self.watched).take(me);
        let (cluster, vanishing) = (&awaited.cluster, &awaited.vanishing);
        let due = awaited.known.iter().enumerate().filter(|(_, (owned, status))| {
            dirty.contains(&owned.id) || !status.as_ref().is_some_and(|status| status.kind == Kind::Current)
        });
        // Boxed and collected: a closure that lives across an await would keep callers from being spawned.
        let looks: Vec<_> = due
            .map(|(index, (owned, _))| {
                let owned = owned.clone();
                async move { (index, self.look(cluster, &owned, vanishing).await) }.boxed()
            })
            .collect();
        let seen: Vec<_> = futures::stream::iter(looks).buffer_unordered(LOOKS).collect().await;
        for (index, status) in seen {
            awaited.known[index].1 = status;
        }
    }

    /// The health of one object as it is now; nothing when it cannot be determined.
    async fn look(&self, cluster: &Cluster, owned: &Owned, vanishing: &HashSet<ObjectId>) -> Option<Status> {
        let ObjectId {
            group,
            kind,
            namespace,
            name,
        } = &owned.id;
        let unknown = |error: &dyn std::fmt::Display| {
            Some(Status {
                kind: Kind::Unknown,
                message: error.to_string(),
            })
        };
        let resource = match cluster.preferred(group, kind).await {
            Ok(resource) => resource,
            Err(error) => return unknown(&error),
        };
        if resource.namespaced && namespace.is_empty() {
            return None;
        }
        let object = match cluster.find(&resource, namespace, name).await {
            Ok(Some(object)) => object,
            // A job that may vanish once it is done has done its work.
            Ok(None) if vanishing.contains(&owned.id) => {
                return Some(Status {
                    kind: Kind::Current,
                    message: String::new(),
                });
            }
            Ok(None) => {
                return Some(Status {
                    kind: Kind::NotFound,
                    message: String::new(),
                });
            }
            Err(error) => return unknown(&error),
        };
        let status = health::status(&object);
        if status.kind != Kind::InProgress || !health::looks_at_pods(group, kind) {
            return Some(status);
        }
        // A workload whose pods have failed does not get there by waiting.
        let pods = cluster.pods_of(&object).await.unwrap_or_default();
        Some(health::status_with_pods(&object, &pods))
    }

    /// The objects whose health matters: all that were applied, or the ones the spec names; never this one itself.
    pub(super) fn health_set(&self, about: &About<'_>, applied: &ChangeSet) -> Vec<Owned> {
        let object = about.object;
        let (namespace, name) = super::name(object);
        let set: Vec<_> = match object.spec.wait {
            true => applied.present().cloned().collect(),
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
                    Owned {
                        id,
                        version: version.to_owned(),
                    }
                })
                .collect(),
        };
        let myself = |id: &ObjectId| id.kind == "Kustomization" && id.namespace == namespace && id.name == name;
        set.into_iter().filter(|owned| !myself(&owned.id)).collect()
    }
}

/// When to look again, whatever watches tell: soon where they tell nothing.
fn pause(awaited: &Awaited) -> std::time::Duration {
    match awaited.interests.iter().all(|interest| interest.state() == State::Live) {
        true => POLL,
        false => BLIND_POLL,
    }
}
