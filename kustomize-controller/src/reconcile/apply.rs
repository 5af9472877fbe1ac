//! The second step of a run: stage after stage is applied; then the inventory is written and what is stale is pruned.

use super::run::{Applying, Awaited, Checking, Step, Waiting};
use super::settled::Build;
use super::{About, Kustomizer, Progress, Report};
use crate::apply::{self, Action, ChangeSet, Entry, Memory, Options, StageFailure, StageResult};
use crate::build::Built;
use crate::changes;
use crate::failure::Failure;
use crate::health::Kind;
use crate::holdings::Trust;
use crate::inventory::{self, ObjectId, Owned};
use crate::origins::Origins;
use crate::prune::{self, Owner};
use crate::stages;
use crate::wait::{self, Judgement, Look, Obstacle};
use api::kustomize::{ChangeEntry, ChangeKind};
use api::meta::condition::HEALTHY;
use jiff::Timestamp;
use runtime::conditions::Verdict;
use runtime::events::Severity;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stage of definitions may take to be there; Flux's fixed limit.
const STAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a stage is looked at when no watch tells, at first and later.
const STAGE_POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// The reason of the event about a tug of war.
const CONTESTED: &str = "DriftContested";

/// Why the stages were not applied.
struct StageError {
    text: String,
    /// The API server went away: some of what was asked for may have been done.
    outage: bool,
    /// Objects that may have been created nevertheless.
    uncertain: Vec<Owned>,
}

impl StageError {
    fn known(text: String) -> Self {
        StageError {
            text,
            outage: false,
            uncertain: Vec::new(),
        }
    }

    fn of(failure: &StageFailure, manifests: &Built) -> Self {
        StageError {
            text: failure.text(|id| manifests.origins.suffix(id)),
            outage: failure.is_outage(),
            uncertain: failure.uncertain(),
        }
    }
}

impl std::fmt::Display for StageError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Kustomizer {
    pub(super) async fn apply(
        &self,
        about: &About<'_>,
        report: &mut Report,
        applying: &mut Applying,
    ) -> Result<Progress, Failure> {
        let outcome = self.apply_stages(about, report, applying).await;
        let failure = match outcome {
            Ok(Some(delay)) => return Ok(Progress::Wait(delay)),
            Ok(None) => return self.applied(about, report, applying).await,
            Err(failure) => failure,
        };
        let lines: String = applying.applied.changed().map(|entry| format!("{entry}\n")).collect();
        if failure.outage {
            // Nobody knows what became of the plan: it stays, and the next run confirms what it finds.
            return Err(Failure::Unreachable(format!("{failure}\n{lines}")));
        }
        // The lines of what was applied are part of the failure's text, so the plan is not told again, except for what
        // an earlier run left untold.
        let status = report.status_mut();
        changes::withdraw(&mut status.changes);
        changes::plan(
            &mut status.changes,
            ChangeKind::Apply,
            &about.origin(),
            &applying.inherited,
            Timestamp::now(),
        );
        // Unlike in Flux, what was created is owned although the rest failed, so that the next revision can prune it.
        let before = inventory::from_status(applying.before.as_ref());
        let created = applying.applied.changed().map(|entry| entry.owned.clone());
        let owned = inventory::with(before, created.chain(failure.uncertain.iter().cloned()));
        status.inventory = match owned.is_empty() {
            true => applying.before.clone(),
            false => Some(inventory::to_status(&owned)),
        };
        Err(Failure::Apply(format!("{failure}\n{lines}")))
    }

    /// Applies the stages that are left. Says how long to wait if something has to come about first.
    async fn apply_stages(
        &self,
        about: &About<'_>,
        report: &mut Report,
        applying: &mut Applying,
    ) -> Result<Option<Duration>, StageError> {
        let options = Options {
            force: about.object.spec.force,
            concurrency: self.context.policy.concurrent_ssa,
            override_managers: self.context.policy.override_managers.clone(),
            memory: Memory {
                holdings: Arc::clone(&self.holdings),
                owner: Arc::clone(&about.owner),
                trust: about.trust,
                watches: Some(self.watches.clone()),
            },
        };
        if let Some(id) = &applying.manifests.encrypted {
            let origin = applying.manifests.origins.suffix(id);
            return Err(StageError::known(format!(
                "{id} is SOPS encrypted, configuring decryption is required for this secret to be reconciled{origin}"
            )));
        }
        loop {
            if let Some(waiting) = &mut applying.waiting {
                let over = self.is_over(about, waiting).await;
                let over = over.map_err(|Obstacle { text, objects }| {
                    StageError::known(text + &applying.manifests.origins.lines(&objects))
                })?;
                if !over {
                    let poll = pause(waiting);
                    // What was applied is owned, also if this run is never finished.
                    self.own(report, applying, &[]);
                    return Ok(Some(poll));
                }
                applying.waiting = None;
            }
            let manifests = Arc::clone(&applying.manifests);
            let Some(stage) = manifests.stages.get(applying.stage) else {
                return Ok(None);
            };
            if stage.objects.is_empty() {
                applying.stage += 1;
                continue;
            }
            applying.looked = Instant::now();
            let plan = apply::plan_stage(&applying.cluster, &stage.objects, &options).await;
            let plan = match plan {
                Ok(plan) => plan,
                Err(failure) => {
                    let lacking = failure.no_matches();
                    let (asked, trigger) = (&self.context.asked, &self.context.trigger);
                    lacking.for_each(|error| {
                        asked.lacks(trigger, super::name(about.object), &error.id.group, applying.looked)
                    });
                    return Err(StageError::of(&failure, &manifests));
                }
            };
            if plan.writes() {
                self.write_plan(about, report, applying, &plan.changes()).await?;
            }
            match plan.carry_out(&applying.cluster, &stages::rank, &options).await {
                Ok(StageResult::Applied(applied)) => {
                    let awaited = stage.awaited.then(|| looks(applied.entries.iter()));
                    applying.applied.extend(applied);
                    applying.stage += 1;
                    if let Some(objects) = awaited.filter(|objects| !objects.is_empty()) {
                        applying.waiting = Some(Waiting::Presence(Awaited::new(applying.cluster.clone(), objects)));
                    }
                }
                // Deleted to be made anew, but still there: the stage is tried again when they are gone.
                Ok(StageResult::Waiting(ids)) => {
                    let version = String::new;
                    let looks = ids.into_iter().map(|id| Look::new(Owned { id, version: version() }));
                    let awaited = Awaited::new(applying.cluster.clone(), looks.collect());
                    applying.waiting = Some(Waiting::Absence(awaited));
                }
                Err(failure) => {
                    applying.applied.extend(failure.applied.clone());
                    return Err(StageError::of(&failure, &manifests));
                }
            }
        }
    }

    /// Writes down what is about to be changed, so that it is told and owned even if this process dies in between.
    async fn write_plan(
        &self,
        about: &About<'_>,
        report: &mut Report,
        applying: &Applying,
        planned: &ChangeSet,
    ) -> Result<(), StageError> {
        let entries: Vec<_> = planned
            .changed()
            .map(|entry| told(entry, &applying.manifests.origins))
            .collect();
        let ring = &mut report.status_mut().changes;
        changes::plan(ring, ChangeKind::Apply, &about.origin(), &entries, Timestamp::now());
        self.own(report, applying, &planned.owned());
        let Err(error) = report.write().await else {
            return Ok(());
        };
        tracing::info!(%error, "cannot write the plan of changes");
        // Nobody would know that a new object is to be pruned one day. Without new ones a message may be lost, which is no
        // reason to leave the cluster as it is, unless somebody else is at work on it.
        let creates = planned.entries.iter().any(|entry| entry.action == Action::Created);
        match creates || report.is_overtaken() {
            true => Err(StageError {
                text: format!("cannot write the inventory before objects are created: {error}"),
                outage: true,
                uncertain: Vec::new(),
            }),
            false => Ok(()),
        }
    }

    /// Puts what is applied and what is about to be into the inventory, beside what was in it.
    fn own(&self, report: &mut Report, applying: &Applying, planned: &[Owned]) {
        let before = inventory::from_status(applying.before.as_ref());
        let now = applying.applied.owned().into_iter().chain(planned.iter().cloned());
        report.status_mut().inventory = Some(inventory::to_status(&inventory::with(before, now)));
    }

    /// Whether the stage at hand has nothing to wait for any more.
    async fn is_over(&self, about: &About<'_>, waiting: &mut Waiting) -> Result<bool, Obstacle> {
        let me = super::name(about.object);
        let over = match waiting {
            Waiting::Presence(awaited) => {
                self.look_at(&me, &about.owner, awaited).await;
                match wait::judge(&awaited.known, false, awaited.since.elapsed() >= STAGE_TIMEOUT) {
                    Judgement::Ready => true,
                    Judgement::Waiting => false,
                    Judgement::Failed(obstacle) => return Err(obstacle),
                }
            }
            Waiting::Absence(awaited) => {
                self.look_at(&me, &about.owner, awaited).await;
                // Another object may have taken the place: the plan of the stage sees it.
                !awaited.known.iter().any(|look| look.is(Kind::Terminating))
            }
        };
        if over {
            runtime::lock(&self.watched).forget(&me);
        }
        Ok(over)
    }

    /// Everything is applied: says so, writes the inventory, prunes what is stale.
    async fn applied(
        &self,
        about: &About<'_>,
        report: &mut Report,
        applying: &mut Applying,
    ) -> Result<Progress, Failure> {
        let applied = std::mem::take(&mut applying.applied);
        let changed = applied.has_changes();
        if changed {
            self.tell(
                about.object,
                report,
                Severity::Info,
                &applied.changed_lines(),
                Some(&about.origin()),
            );
        }
        let origins = &applying.manifests.origins;
        confirm(about, report, ChangeKind::Apply, &applied, origins);
        self.judge_contests(about, report, &applied, origins);
        let before = inventory::from_status(applying.before.as_ref());
        let now = applied.owned();
        let stale = inventory::stale(&before, &now);
        self.holdings
            .applied_all(&about.owner, &now.iter().map(|owned| &owned.id).collect());
        report.status_mut().inventory = Some(inventory::to_status(&now));
        let interests = self.interests(now.iter().map(|owned| &owned.id));
        runtime::lock(&self.interests).insert(about.uid(), interests);
        self.prune(about, report, applying, &stale).await?;
        let present = applied.entries.iter().filter(|entry| entry.is_present());
        let set = self.health_set(about, looks(present));
        let origins = applying.manifests.origins.only(set.iter().map(|look| &look.owned.id));
        let mut awaited = Awaited::new(applying.cluster.clone(), set);
        awaited.vanishing.clone_from(&applying.manifests.vanishing);
        let was_healthy = report.is(HEALTHY, Verdict::True);
        let build = Build {
            origins: Arc::new(origins),
            ..applying.build.clone()
        };
        Ok(Progress::Step(Step::Check(Box::new(Checking {
            awaited,
            build,
            changed,
            was_healthy,
        }))))
    }

    /// Tells when another controller keeps changing what is corrected, and notes when it has stopped.
    fn judge_contests(&self, about: &About<'_>, report: &Report, applied: &ChangeSet, origins: &Origins) {
        for entry in &applied.entries {
            let id = &entry.owned.id;
            match (&entry.correction, entry.action, about.trust) {
                (Some(correction), ..) => {
                    let manager = correction.manager.as_deref();
                    if let Some(contest) = self.holdings.corrected(id, &correction.fields, manager) {
                        tracing::warn!(object = %id, field = contest.field, manager, "drift is contested");
                        let text = format!("{contest}{}", origins.suffix(id));
                        self.warn(about.object, report, CONTESTED, &text, &about.origin());
                    }
                }
                (None, Action::Unchanged, Trust::Nothing | Trust::Watches) => self.holdings.settled(id),
                (None, ..) => {}
            }
        }
    }

    /// Forgets objects that are not held any more. Returns the versions of those that may be deleted without a look.
    pub(super) fn let_go(&self, owner: &Owner, objects: &[Owned]) -> HashMap<ObjectId, u64> {
        let ids = || objects.iter().map(|owned| &owned.id);
        let version = |id: &ObjectId| Some((id.clone(), self.holdings.deletable(owner, id)?));
        let known = ids().filter_map(version).collect();
        self.holdings.release(owner, ids());
        known
    }

    async fn prune(
        &self,
        about: &About<'_>,
        report: &mut Report,
        applying: &Applying,
        stale: &[Owned],
    ) -> Result<(), Failure> {
        if !about.object.spec.prune || stale.is_empty() {
            self.let_go(&about.owner, stale);
            return Ok(());
        }
        let planned: Vec<_> = stale.iter().map(|owned| deletion(&owned.id)).collect();
        changes::plan(
            &mut report.status_mut().changes,
            ChangeKind::Prune,
            &about.origin(),
            &planned,
            Timestamp::now(),
        );
        // Until it is deleted an object stays in the inventory, so that a crash on the way forgets nothing.
        let now = inventory::from_status(report.status().inventory.as_ref());
        report.status_mut().inventory = Some(inventory::to_status(&inventory::with(now.clone(), stale.to_vec())));
        report.write().await?;
        let known = self.let_go(&about.owner, stale);
        let pruned = prune::delete(
            &applying.cluster,
            stale,
            &about.owner,
            &|id| known.get(id).copied(),
            &stages::rank,
            self.context.policy.concurrent_ssa,
        )
        .await;
        if !pruned.changes.entries.is_empty() {
            self.tell(
                about.object,
                report,
                Severity::Info,
                &pruned.changes.lines(),
                Some(&about.origin()),
            );
        }
        // What is stale is from nowhere any more.
        confirm(about, report, ChangeKind::Prune, &pruned.changes, &Origins::default());
        let survivors = pruned.failures.iter().map(|failed| failed.owned.clone());
        report.status_mut().inventory = Some(inventory::to_status(&inventory::with(now, survivors)));
        match pruned.error() {
            Some(error) if pruned.is_outage() => Err(Failure::Unreachable(error)),
            Some(error) => Err(Failure::Prune(error)),
            None => Ok(()),
        }
    }
}

/// When to look at a stage again: definitions are served soon or late.
fn pause(waiting: &Waiting) -> Duration {
    let (Waiting::Presence(awaited) | Waiting::Absence(awaited)) = waiting;
    match awaited.since.elapsed() < STAGE_POLL.1 {
        true => STAGE_POLL.0,
        false => STAGE_POLL.1,
    }
}

/// Confirms in the ring of changes what came of a plan.
fn confirm(about: &About<'_>, report: &mut Report, kind: ChangeKind, changes: &ChangeSet, origins: &Origins) {
    let told = |entry| told(entry, origins);
    let done: Vec<_> = match kind {
        ChangeKind::Apply => changes.changed().map(told).collect(),
        // As in Flux, what was looked at and left is told too.
        ChangeKind::Prune | ChangeKind::Delete => changes.entries.iter().map(told).collect(),
    };
    let present: HashSet<_> = changes.entries.iter().map(|entry| entry.owned.id.to_string()).collect();
    let found = |object: &str| present.contains(object);
    changes::confirm(
        &mut report.status_mut().changes,
        kind,
        &about.origin(),
        &done,
        found,
        Timestamp::now(),
    );
}

/// What the status tells of an object, with where it comes from.
fn told(entry: &Entry, origins: &Origins) -> ChangeEntry {
    ChangeEntry {
        origin: origins.text(&entry.owned.id),
        ..entry.told()
    }
}

fn deletion(id: &ObjectId) -> ChangeEntry {
    ChangeEntry {
        object: id.to_string(),
        action: "deleted".to_owned(),
        ..ChangeEntry::default()
    }
}

/// Objects to wait for, with what the API server's answers say of them.
fn looks<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Look> {
    let look = |entry: &Entry| Look {
        owned: entry.owned.clone(),
        status: entry.answer.as_ref().map(|answer| answer.status.clone()),
        version: entry.answer.as_ref().map_or(0, |answer| answer.version),
    };
    entries.map(look).collect()
}
