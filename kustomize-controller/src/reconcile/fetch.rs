//! The first step of a run: from the artifact to built objects, sorted into stages; or to nothing at all, where what was
//! built before is what would be built now and nobody has changed what was applied.

use super::run::{Applying, Awaited, Checking, Fetching, Inputs, Step, Superseded};
use super::settled::Build;
use super::{About, Intent, Kustomizer, Progress, Report};
use crate::apply::ChangeSet;
use crate::artifacts::{Error, Tree};
use crate::build::{self, Built, Request};
use crate::changes;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::holdings::Trust;
use crate::inventory;
use crate::remote_bases::{RemoteBases, Turn};
use crate::source::SourceRef;
use crate::variables::{self, Variables};
use crate::wait::Look;
use api::kustomize::ChangeKind;
use api::meta::condition::HEALTHY;
use kustomize::Footprint;
use runtime::conditions::Verdict;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The pause after the first failed download; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a build that takes its time is looked at: whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

impl Kustomizer {
    pub(super) async fn fetch_and_build(
        &self,
        about: &About<'_>,
        report: &mut Report,
        fetching: &mut Fetching,
    ) -> Result<Progress, Failure> {
        about.progress(report, "Fetching manifests");
        let now = Instant::now();
        if let Some(left) = fetching.not_before.map(|time| time.saturating_duration_since(now))
            && !left.is_zero()
        {
            return Ok(Progress::Wait(left));
        }
        let cluster = self.cluster(about.object)?;
        let variables = variables::load(&self.context.clusters.own(), about.object).await?;
        let known = self.known_build(about, report, &variables);
        if let Some((known, _)) = known
            .as_ref()
            .filter(|(known, _)| known.artifact == about.artifact.digest)
        {
            return Ok(self.unchanged(about, report, cluster, known));
        }
        let tree = match self.context.artifacts.tree(about.artifact).await {
            Ok(tree) => tree,
            Err(Error::Failed(failure)) => return Err(failure),
            Err(Error::Retryable(text)) if fetching.attempts >= self.context.policy.http_retry => {
                return Err(Failure::Artifact(text));
            }
            Err(Error::Retryable(text)) => {
                tracing::info!(
                    error = text,
                    attempts = fetching.attempts,
                    "artifact not downloaded, will try again"
                );
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << fetching.attempts.min(8))
                    .min(LONGEST_PAUSE);
                fetching.attempts += 1;
                fetching.not_before = Some(now + pause);
                return Ok(Progress::Wait(pause));
            }
        };
        if let Some((known, footprint)) = known {
            let tree = Arc::clone(&tree);
            let same = tokio::task::spawn_blocking(move || build::is_same(&tree, &footprint)).await;
            if same.unwrap_or_default() {
                return Ok(self.unchanged(about, report, cluster, &known));
            }
        }
        let path = build::path(&tree, about.object.spec.path.as_deref().unwrap_or_default())?;
        report.status_mut().last_attempted_revision = Some(about.artifact.revision.clone());
        about.progress(report, "Building manifests");
        let digest = variables::digest(&variables);
        let request = Request {
            spec: about.object.spec.clone(),
            owner: super::name(about.object),
            path,
            variables,
            strict: self.context.policy.strict_substitution,
            stage_kinds: self.context.policy.stage_kinds.clone(),
        };
        let Some(built) = self.build(about, fetching, tree, request).await? else {
            // The next call sees what is wanted instead.
            return Ok(Progress::Wait(Duration::ZERO));
        };
        about.progress(report, "Detecting drift");
        let build = Build {
            artifact: about.artifact.digest.clone(),
            variables: digest,
            footprint: built.footprint.clone(),
            digest: built.digest.clone(),
            origins: Arc::default(),
        };
        self.built(about, &build);
        Ok(Progress::Step(Step::Apply(Box::new(Applying {
            manifests: Arc::new(built),
            build,
            cluster,
            stage: 0,
            looked: now,
            applied: ChangeSet::default(),
            waiting: None,
            before: report.status().inventory.clone(),
            inherited: changes::planned(&report.status().changes, ChangeKind::Apply),
        }))))
    }

    /// Builds, unless something else is wanted meanwhile: nothing then.
    async fn build(
        &self,
        about: &About<'_>,
        fetching: &mut Fetching,
        tree: Arc<Tree>,
        request: Request,
    ) -> Result<Option<Built>, Failure> {
        let mut is_pointless = || self.superseded(about).is_some_and(|by| fetching.gives_way(by));
        // Builds compute: as many at a time as there are cores, and none on a thread that others wait on. How long
        // others take does not count.
        let Some(turn) = unless(Turn::wait(&self.builds), &mut is_pointless).await else {
            return Ok(None);
        };
        let remote = self.context.remote.clone();
        let stop = CancellationToken::new();
        // Whoever gives up this call gives up the build.
        let _given_up = stop.clone().drop_guard();
        let building = tokio::task::spawn_blocking(move || {
            let bases = remote.map(|remote| RemoteBases::new(&remote, &turn, stop.clone()));
            build::manifests(&tree, &request, bases.as_ref(), &|| stop.is_cancelled())
        });
        let failed = |what: &dyn std::fmt::Display| Failure::Build(format!("kustomize build failed: {what}"));
        let building = tokio::time::timeout(about.timeout.std(), building);
        match unless(building, &mut is_pointless).await {
            None => Ok(None),
            Some(Ok(Ok(built))) => built.map(Some),
            Some(Ok(Err(error))) => Err(failed(&error)),
            Some(Err(_)) => Err(failed(&format_args!(
                "it was not done after {}: make it smaller, or spec.timeout longer",
                about.timeout
            ))),
        }
    }

    /// Why a run of this has nothing to do any more, as far as is known without asking.
    fn superseded(&self, about: &About<'_>) -> Option<Superseded> {
        let me = super::name(about.object);
        let Some(now) = self.context.objects.get(&me.0, &me.1) else {
            return Some(Superseded::ByWish);
        };
        let offered = self.context.sources.known(&SourceRef::of(&now));
        let wanted = Inputs::of(&now, offered.as_ref().unwrap_or(about.artifact));
        let built = Inputs::of(about.object, about.artifact);
        if now.metadata.uid != about.object.metadata.uid
            || Intent::of(&now) != Intent::Sync
            || !wanted.is_same_wish(&built)
            || self.context.asked.is_asked(&me)
        {
            return Some(Superseded::ByWish);
        }
        (wanted != built).then_some(Superseded::ByRevision)
    }

    /// The last build and what it asked of its artifact, if what it made is in the cluster as it was and its inputs are the same,
    /// the artifact aside. What remote bases hold nobody knows, so no build that asked for some counts.
    fn known_build(&self, about: &About<'_>, report: &Report, variables: &Variables) -> Option<(Build, Footprint)> {
        let build = match (about.trust, runtime::lock(&self.settled).get(&about.uid())) {
            (Trust::Nothing, _) | (_, None) => return None,
            (Trust::Watches | Trust::Truce, Some(settled)) => settled.build.clone()?,
        };
        if report.status().changes.last().is_some_and(|change| change.pending) {
            // Nobody was told yet what came of it.
            return None;
        }
        let footprint = build.footprint.clone()?;
        let inventory = inventory::from_status(report.status().inventory.as_ref());
        let same = variables.is_ok() && build.variables == variables::digest(variables);
        let ids = inventory.iter().map(|owned| &owned.id);
        (same && self.holdings.all_current(&about.owner, ids, about.trust)).then_some((build, footprint))
    }

    /// Something was built. If it is not what was built before, it may be applied in part when the run ends, so that
    /// nobody may conclude from the old build what is in the cluster.
    fn built(&self, about: &About<'_>, build: &Build) {
        if let Some(settled) = runtime::lock(&self.settled).get_mut(&about.uid())
            && settled
                .build
                .as_ref()
                .is_some_and(|before| before.digest != build.digest)
        {
            settled.build = None;
        }
    }

    /// Nothing to build and nothing to apply: what is left is to see that everything is healthy.
    fn unchanged(&self, about: &About<'_>, report: &mut Report, cluster: Cluster, build: &Build) -> Progress {
        report.status_mut().last_attempted_revision = Some(about.artifact.revision.clone());
        let inventory = inventory::from_status(report.status().inventory.as_ref());
        if about.trust == Trust::Watches {
            self.holdings.all_settled(inventory.iter().map(|owned| &owned.id));
        }
        let vanishing = inventory.iter().map(|owned| &owned.id);
        let vanishing = vanishing
            .filter(|id| self.holdings.vanishes(&about.owner, id))
            .cloned()
            .collect();
        let present = inventory
            .into_iter()
            .filter(|owned| !self.holdings.is_skipped(&about.owner, &owned.id));
        let looks = self.health_set(about, present.map(Look::new).collect());
        let build = Build {
            artifact: about.artifact.digest.clone(),
            ..build.clone()
        };
        Progress::Step(Step::Check(Box::new(Checking {
            awaited: Awaited {
                vanishing,
                ..Awaited::new(cluster, looks)
            },
            build,
            changed: false,
            was_healthy: report.is(HEALTHY, Verdict::True),
        })))
    }
}

/// Waits for something, unless it is found to be pointless, which is asked every now and then: nothing then.
async fn unless<T>(wanted: impl Future<Output = T>, is_pointless: &mut impl FnMut() -> bool) -> Option<T> {
    let mut wanted = pin!(wanted);
    loop {
        match tokio::time::timeout(LOOK, &mut wanted).await {
            Ok(done) => return Some(done),
            Err(_) if is_pointless() => return None,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn who_waits_for_a_place_leaves_when_its_build_is_pointless() {
        let places = Arc::new(Semaphore::new(0));
        let mut looks = 0;
        let mut second = || {
            looks += 1;
            looks == 2
        };
        assert!(unless(Turn::wait(&places), &mut second).await.is_none());
        assert_eq!(looks, 2);
        places.add_permits(1);
        assert!(unless(Turn::wait(&places), &mut || false).await.is_some());
    }
}
