//! The first step of a run: from the artifact to built objects, sorted into stages.

use super::run::{Applying, Step};
use super::{About, Kustomizer, Progress, Report};
use crate::apply::ChangeSet;
use crate::artifacts::Error;
use crate::build::{self, Request};
use crate::changes;
use crate::failure::Failure;
use crate::variables;
use api::kustomize::ChangeKind;
use std::sync::Arc;
use std::time::Duration;

/// The pause after the first failed download; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Kustomizer {
    pub(super) async fn fetch_and_build(
        &self,
        about: &About<'_>,
        report: &mut Report,
        attempts: &mut u32,
    ) -> Result<Progress, Failure> {
        about.progress(report, "Fetching manifests");
        let tree = match self.context.artifacts.tree(about.artifact).await {
            Ok(tree) => tree,
            Err(Error::Failed(failure)) => return Err(failure),
            Err(Error::Retryable(text)) if *attempts >= self.context.policy.http_retry => {
                return Err(Failure::Artifact(text));
            }
            Err(Error::Retryable(text)) => {
                tracing::info!(
                    error = text,
                    attempts = *attempts,
                    "artifact not downloaded, will try again"
                );
                let pause = FIRST_PAUSE.saturating_mul(1 << (*attempts).min(8)).min(LONGEST_PAUSE);
                *attempts += 1;
                return Ok(Progress::Wait(pause));
            }
        };
        let path = build::path(&tree, about.object.spec.path.as_deref().unwrap_or_default())?;
        report.status_mut().last_attempted_revision = Some(about.artifact.revision.clone());
        about.progress(report, "Building manifests");
        let cluster = self.cluster(about.object)?;
        let variables = variables::load(&self.context.clusters.own(), about.object).await;
        let request = Request {
            spec: about.object.spec.clone(),
            owner: super::name(about.object),
            path,
            variables,
            strict: self.context.policy.strict_substitution,
            stage_kinds: self.context.policy.stage_kinds.clone(),
        };
        // Builds compute: as many at a time as there are cores, and none on a thread that others wait on.
        let _permit = self.builds.acquire().await;
        let built = tokio::task::spawn_blocking(move || build::manifests(&tree, &request)).await;
        let built = built.unwrap_or_else(|error| Err(Failure::Build(format!("kustomize build failed: {error}"))))?;
        about.progress(report, "Detecting drift");
        let applied = ChangeSet::default();
        Ok(Progress::Step(Step::Apply(Box::new(Applying {
            manifests: Arc::new(built),
            cluster,
            stage: 0,
            applied,
            waiting: None,
            before: report.status().inventory.clone(),
            inherited: changes::planned(&report.status().changes, ChangeKind::Apply),
        }))))
    }
}
