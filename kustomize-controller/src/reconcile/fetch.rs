//! The first step of a run: from the artifact to built objects, sorted into stages; or to nothing at all, where what was
//! built before is what would be built now and nobody has changed what was applied.

use super::run::{Applying, Awaited, Checking, Fetching, Step};
use super::settled::Build;
use super::{About, Kustomizer, Progress, Report};
use crate::apply::ChangeSet;
use crate::artifacts::Error;
use crate::build::{self, Request};
use crate::changes;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::holdings::Trust;
use crate::inventory;
use crate::remote_bases::{RemoteBases, Turn};
use crate::variables;
use crate::wait::Look;
use api::kustomize::ChangeKind;
use api::meta::condition::HEALTHY;
use kustomize::Footprint;
use runtime::conditions::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pause after the first failed download; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
        let variables = variables::load(&self.context.clusters.own(), about.object).await;
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
        // Builds compute: as many at a time as there are cores, and none on a thread that others wait on.
        let turn = Turn::wait(&self.builds).await;
        let remote = self.context.remote.clone();
        let build = move || {
            let bases = remote.map(|remote| RemoteBases::new(&remote, &turn));
            build::manifests(&tree, &request, bases.as_ref())
        };
        let built = tokio::task::spawn_blocking(build).await;
        let built = built.unwrap_or_else(|error| Err(Failure::Build(format!("kustomize build failed: {error}"))))?;
        about.progress(report, "Detecting drift");
        let build = Build {
            artifact: about.artifact.digest.clone(),
            variables: digest,
            footprint: built.footprint.clone(),
            digest: built.digest.clone(),
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

    /// The last build and what it asked of its artifact, if what it made is in the cluster as it was and its inputs are the same,
    /// the artifact aside. What remote bases hold nobody knows, so no build that asked for some counts.
    fn known_build(
        &self,
        about: &About<'_>,
        report: &Report,
        variables: &Result<BTreeMap<String, String>, String>,
    ) -> Option<(Build, Footprint)> {
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
