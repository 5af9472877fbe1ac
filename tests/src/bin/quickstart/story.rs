//! The story that `--check` plays: what the lines to paste do, step by step, with a look at each result. It waits for
//! conditions, never for time.

use std::cell::Cell;
use std::io::Read;
use std::time::Duration;

use ::tests::namespace::{self, Object};
use ::tests::wait;
use anyhow::{Context, Result, bail, ensure};
use api::event::{Event, Severity};
use api::kustomize::Kustomization;
use api::meta::{condition, reason};
use api::source::{Artifact, GitRepository};
use flate2::read::GzDecoder;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::account::Account;
use crate::clone::Clone;
use crate::sample::{APPS, INFRA, ROOT, WEB};
use crate::stage::{LAST_CURSOR, Stage};

/// Plays the story: all of it for the sample; without changes to the repository for one of the user's.
pub async fn play(stage: &Stage, account: &Account) -> Result<()> {
    let story = Story {
        stage,
        account,
        since: Cell::new(0),
    };
    story.step("the repository becomes an artifact", story.artifact().await)?;
    if !stage.is_sample() {
        story.step("its directory is applied, and told", story.own_applied().await)?;
        return story.step("suspend and resume", story.own_suspended().await);
    }
    let clone = Clone::new(&stage.origin.url, &stage.clone_dir()).await?;
    let revision = clone.revision().await?;
    story.step(
        "everything is created, healthy, and told",
        story.bootstrapped(&revision).await,
    )?;
    story.step("a push is applied", story.pushed(&clone).await)?;
    story.step("an edited live object comes back", story.edited().await)?;
    story.step("a deleted file takes its object along", story.pruned(&clone).await)?;
    story.step(
        "suspended, nothing is applied; resumed, all of it",
        story.suspended(&clone).await,
    )?;
    story.step(
        "a broken manifest is told with file and line, and mended",
        story.broken(&clone).await,
    )?;
    story.step("without its root, everything is gone", story.removed().await)
}

struct Story<'a> {
    stage: &'a Stage,
    account: &'a Account,
    /// Messages that came before this one belong to earlier steps.
    since: Cell<usize>,
}

impl Story<'_> {
    fn step(&self, name: &str, result: Result<()>) -> Result<()> {
        result.with_context(|| format!("step failed: {name}"))?;
        self.account.line("ok", name);
        Ok(())
    }

    /// The artifact is stored, served, and what its digest says.
    async fn artifact(&self) -> Result<()> {
        let source: GitRepository = self.stage.namespace.wait_ready(ROOT).await?;
        let artifact = source
            .status
            .and_then(|status| status.artifact)
            .context("there is no artifact")?;
        let prefix = format!("{}@sha1:", self.stage.origin.branch);
        ensure!(
            artifact.revision.starts_with(&prefix),
            "the revision is {}, not {prefix}…",
            artifact.revision
        );
        let bytes = download(&artifact).await?;
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ensure!(
            artifact.digest == format!("sha256:{digest}"),
            "the digest is {}, the file's is sha256:{digest}",
            artifact.digest
        );
        let names = names(&bytes)?;
        let wanted = if self.stage.is_sample() {
            "apps/deployment.yaml"
        } else {
            ""
        };
        ensure!(
            names.iter().any(|name| name.ends_with(wanted)),
            "the archive lacks {wanted}: {names:?}"
        );
        Ok(())
    }

    /// Both Kustomizations are there, one after the other; what they hold is healthy; messages tell so.
    async fn bootstrapped(&self, revision: &str) -> Result<()> {
        for name in [ROOT, INFRA, APPS] {
            self.applied(name, revision).await?;
        }
        self.replicas(2).await?;
        let greeting: ConfigMap = Api::namespaced(self.client(), WEB).get("greeting").await?;
        let text = greeting.data.unwrap_or_default().remove("greeting").unwrap_or_default();
        ensure!(
            text == "hello from quickstart",
            "the variable was not replaced: {text:?}"
        );
        Api::<Service>::namespaced(self.client(), WEB).get(WEB).await?;
        let at = |kustomization: Kustomization| {
            namespace::condition(&kustomization, condition::READY).map(|ready| ready.last_transition_time.0)
        };
        let infra = at(self.stage.namespace.get(INFRA).await?);
        ensure!(
            infra <= at(self.stage.namespace.get(APPS).await?),
            "apps was ready before infra, on which it depends"
        );
        self.told("stored", "GitRepository", ROOT, Severity::Info, revision, &[])
            .await?;
        self.told(
            "created",
            "Kustomization",
            INFRA,
            Severity::Info,
            revision,
            &["Namespace/web created"],
        )
        .await?;
        self.told(
            "created",
            "Kustomization",
            APPS,
            Severity::Info,
            revision,
            &["Deployment/web/web created"],
        )
        .await
    }

    async fn pushed(&self, clone: &Clone) -> Result<()> {
        clone.edit("apps/deployment.yaml", "replicas: 2", "replicas: 3")?;
        let revision = self.push(clone, "Three replicas").await?;
        self.applied(APPS, &revision).await?;
        self.replicas(3).await?;
        self.told(
            "changed",
            "Kustomization",
            APPS,
            Severity::Info,
            &revision,
            &["Deployment/web/web configured"],
        )
        .await
    }

    async fn edited(&self) -> Result<()> {
        self.forget_messages();
        let scale = json!({ "spec": { "replicas": 5 } });
        let params = PatchParams {
            field_manager: Some("kubectl-edit".to_owned()),
            ..PatchParams::default()
        };
        self.deployments().patch(WEB, &params, &Patch::Merge(scale)).await?;
        // Nobody asks for a reconcile: it is put back at once.
        wait::until("the Deployment to be put back", async || {
            let replicas = self.deployments().get(WEB).await?.spec.and_then(|spec| spec.replicas);
            Ok((replicas == Some(3)).then_some(()))
        })
        .await?;
        self.replicas(3).await?;
        // Objects that are gone come back, too.
        let services: Api<Service> = Api::namespaced(self.client(), WEB);
        let uid = services.get(WEB).await?.metadata.uid;
        services.delete(WEB, &DeleteParams::default()).await?;
        wait::until("the Service to be made again", async || {
            let service = services.get_opt(WEB).await?;
            Ok(service.filter(|service| service.metadata.uid != uid).map(drop))
        })
        .await?;
        self.told(
            "put back",
            "Kustomization",
            APPS,
            Severity::Info,
            "",
            &["Deployment/web/web configured"],
        )
        .await?;
        self.told(
            "created again",
            "Kustomization",
            APPS,
            Severity::Info,
            "",
            &["Service/web/web created"],
        )
        .await
    }

    async fn pruned(&self, clone: &Clone) -> Result<()> {
        clone.remove("apps/greeting.yaml")?;
        clone.edit("apps/kustomization.yaml", "- greeting.yaml\n", "")?;
        let revision = self.push(clone, "No greeting").await?;
        self.applied(APPS, &revision).await?;
        wait::gone::<ConfigMap>(&Api::namespaced(self.client(), WEB), "greeting").await?;
        self.replicas(3).await?;
        self.told(
            "deleted",
            "Kustomization",
            APPS,
            Severity::Info,
            &revision,
            &["ConfigMap/web/greeting deleted"],
        )
        .await
    }

    async fn suspended(&self, clone: &Clone) -> Result<()> {
        self.stage.namespace.suspend::<Kustomization>(APPS, true).await?;
        clone.edit("apps/deployment.yaml", "replicas: 3", "replicas: 4")?;
        let revision = self.push(clone, "Four replicas").await?;
        // Those beside it are at the new revision: it had its chance.
        self.applied(ROOT, &revision).await?;
        self.applied(INFRA, &revision).await?;
        let apps: Kustomization = self.stage.namespace.get(APPS).await?;
        let applied = apps.status.and_then(|status| status.last_applied_revision);
        ensure!(
            applied.as_ref() != Some(&revision),
            "the suspended Kustomization has applied {revision}"
        );
        self.replicas(3).await?;
        self.stage.namespace.suspend::<Kustomization>(APPS, false).await?;
        self.applied(APPS, &revision).await?;
        self.replicas(4).await
    }

    async fn broken(&self, clone: &Clone) -> Result<()> {
        clone.edit("apps/service.yaml", "- name: http\n", "- name: [http\n")?;
        let revision = self.push(clone, "Broken").await?;
        let failed = self
            .stage
            .namespace
            .wait::<Kustomization>(APPS, "tell that the build failed", |apps| {
                namespace::condition(apps, condition::READY)
                    .is_some_and(|ready| ready.status == condition::FALSE && ready.reason == reason::BUILD_FAILED)
            })
            .await?;
        let message = namespace::condition(&failed, condition::READY)
            .map(|ready| ready.message)
            .unwrap_or_default();
        ensure!(
            message.contains("service.yaml") && names_line(&message),
            "the error lacks file or line: {message}"
        );
        self.told(
            "the error",
            "Kustomization",
            APPS,
            Severity::Error,
            &revision,
            &["service.yaml", "line "],
        )
        .await?;
        // Nothing was touched.
        self.replicas(4).await?;
        clone.edit("apps/service.yaml", "- name: [http\n", "- name: http\n")?;
        let revision = self.push(clone, "Mended").await?;
        self.applied(APPS, &revision).await?;
        self.told("well again", "Kustomization", APPS, Severity::Info, &revision, &[])
            .await
    }

    async fn removed(&self) -> Result<()> {
        self.stage.namespace.delete::<Kustomization>(ROOT).await?;
        for name in [ROOT, APPS, INFRA] {
            self.stage.namespace.wait_gone::<Kustomization>(name).await?;
        }
        wait::gone(&self.deployments(), WEB).await?;
        wait::gone::<Namespace>(&Api::all(self.client()), WEB).await?;
        let source: GitRepository = self.stage.namespace.get(ROOT).await?;
        self.stage.namespace.delete::<GitRepository>(ROOT).await?;
        self.stage.namespace.wait_gone::<GitRepository>(ROOT).await?;
        let artifact = source
            .status
            .and_then(|status| status.artifact)
            .context("there was no artifact")?;
        ensure!(
            download(&artifact).await.is_err(),
            "the artifact of a deleted GitRepository is still served"
        );
        self.stage
            .namespace
            .delete::<api::notification::Alert>("everything")
            .await?;
        self.stage
            .namespace
            .delete::<api::notification::Provider>("inbox")
            .await?;
        self.stage.namespace.wait_gone::<ConfigMap>(LAST_CURSOR).await
    }

    async fn own_applied(&self) -> Result<()> {
        let source: GitRepository = self.stage.namespace.get(ROOT).await?;
        let revision = source
            .status
            .and_then(|status| status.artifact)
            .context("there is no artifact")?
            .revision;
        self.applied(ROOT, &revision).await?;
        self.told("stored", "GitRepository", ROOT, Severity::Info, &revision, &[])
            .await?;
        self.told("applied", "Kustomization", ROOT, Severity::Info, &revision, &[])
            .await
    }

    async fn own_suspended(&self) -> Result<()> {
        self.stage.namespace.suspend::<Kustomization>(ROOT, true).await?;
        self.stage.namespace.suspend::<Kustomization>(ROOT, false).await?;
        self.stage.namespace.reconcile::<Kustomization>(ROOT).await?;
        self.stage.namespace.wait_ready::<Kustomization>(ROOT).await.map(|_| ())
    }

    /// Pushes, has the repository fetched, and waits for its new artifact.
    async fn push(&self, clone: &Clone, message: &str) -> Result<String> {
        self.forget_messages();
        let revision = clone.push(message).await?;
        self.stage.namespace.request_reconcile::<GitRepository>(ROOT).await?;
        self.reached::<GitRepository>(ROOT, "have stored", &revision).await?;
        Ok(revision)
    }

    /// Waits until the Kustomization has applied the revision, with success.
    async fn applied(&self, name: &str, revision: &str) -> Result<()> {
        self.reached::<Kustomization>(name, "have applied", revision).await
    }

    async fn reached<K: Object>(&self, name: &str, what: &str, revision: &str) -> Result<()> {
        let what = format!("{what} {revision} and be Ready");
        self.stage
            .namespace
            .wait::<K>(name, &what, |object| {
                let status = serde_json::to_value(object)
                    .map(|mut object| object["status"].take())
                    .unwrap_or_default();
                let ready = namespace::condition(object, condition::READY);
                (status["lastAppliedRevision"] == revision || status["artifact"]["revision"] == revision)
                    && ready.is_some_and(|ready| ready.status == condition::TRUE)
            })
            .await
            .map(|_| ())
    }

    async fn replicas(&self, count: i32) -> Result<()> {
        let what = format!("have {count} replicas that are available");
        let holds = |deployment: Option<&Deployment>| {
            deployment.is_some_and(|deployment| {
                let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
                wanted == Some(count) && available == Some(count)
            })
        };
        wait::object(&self.deployments(), WEB, &what, holds).await.map(|_| ())
    }

    /// Waits for a message about the object that holds all the texts and, unless empty, the revision.
    async fn told(
        &self,
        what: &str,
        kind: &str,
        name: &str,
        severity: Severity,
        revision: &str,
        texts: &[&str],
    ) -> Result<()> {
        let fits = |event: &Event| {
            let object = &event.involved_object;
            let of_revision = || event.metadata.values().any(|value| value == revision);
            object.kind == kind
                && object.name == name
                && event.severity == severity
                && (revision.is_empty() || of_revision())
                && texts.iter().all(|text| event.message.contains(text))
        };
        let what = format!("a message about {kind} {name} ({what})");
        self.stage
            .receiver
            .wait_for(&what, |received| {
                received[self.since.get()..]
                    .iter()
                    .filter_map(|request| serde_json::from_slice(&request.body).ok())
                    .find(|event| fits(event))
            })
            .await
            .map(|_| ())
    }

    /// Looks only at messages that come from now on.
    fn forget_messages(&self) {
        self.since.set(self.stage.receiver.received().len());
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client(), WEB)
    }

    fn client(&self) -> kube::Client {
        self.stage.cluster.client()
    }
}

/// An archive of the sample or of a small repository has at most so many bytes.
const LIMIT: u64 = 256 << 20;

async fn download(artifact: &Artifact) -> Result<Vec<u8>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()?;
    let response = client.get(&artifact.url).send().await?.error_for_status()?;
    if response.content_length().is_some_and(|length| length > LIMIT) {
        bail!("{} has more than {LIMIT} bytes", artifact.url);
    }
    Ok(response.bytes().await?.to_vec())
}

/// The names of the files in a tar.gz.
fn names(archive: &[u8]) -> Result<Vec<String>> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive).take(LIMIT));
    let entries = archive.entries()?.map(|entry| Ok(entry?.path()?.display().to_string()));
    entries.collect()
}

/// Whether an error says a line.
fn names_line(message: &str) -> bool {
    message
        .split("line ")
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
