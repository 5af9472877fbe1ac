//! What the tests of the kustomize controller as a process share: the controller alone in a namespace, artifacts
//! published by hand instead of by a source controller, and short ways to write Kustomizations and read their answer.

use std::ops::Deref;

use anyhow::Result;
use api::kustomize::Kustomization;
use api::source::GitRepository;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tests::artifact_server::{ArtifactServer, Content, digest, tar_gz};
use tests::controllers::Controller;
use tests::namespace::{Namespace, condition};
use tests::scenario::Scenario;

/// The name of the source that Kustomizations refer to unless they say otherwise.
pub const SOURCE: &str = "repo";

/// The controller with its namespace, and a server of artifacts.
pub struct Scene {
    pub scenario: Scenario,
    pub server: ArtifactServer,
}

impl Deref for Scene {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.scenario.namespace
    }
}

impl Scene {
    /// Starts the controller with more flags than the usual ones.
    pub async fn start(name: &str, flags: &[&str]) -> Result<Self> {
        let builder = Scenario::builder(name).only(&[Controller::Kustomize]);
        let builder = flags
            .iter()
            .fold(builder, |builder, flag| builder.flag(Controller::Kustomize, flag));
        Ok(Scene {
            scenario: builder.start().await?,
            server: ArtifactServer::start()?,
        })
    }

    /// Serves these files as the artifact of [`SOURCE`] at this revision. `<ns>` in them is the namespace.
    pub async fn publish(&self, revision: &str, files: &[(&str, &str)]) -> Result<()> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, self.text(text))).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        let bytes = tar_gz(&files)?;
        let digest = digest(&bytes);
        let path = format!("/{}.tar.gz", digest.replace(':', "-"));
        self.server.serve(&path, Content::Bytes(bytes));
        self.offer(SOURCE, revision, &path, &digest).await
    }

    /// Makes a GitRepository whose status offers what the server has at a path.
    pub async fn offer(&self, source: &str, revision: &str, path: &str, digest: &str) -> Result<()> {
        let repository = format!(
            "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: {source}}}
spec: {{url: 'https://example.test/{source}.git', interval: 1h}}
"
        );
        self.apply_yaml(&repository).await?;
        let artifact = json!({
            "url": self.server.url(path),
            "path": path,
            "revision": revision,
            "digest": digest,
            "lastUpdateTime": "2026-01-01T00:00:00Z",
            "metadata": { "org.opencontainers.image.revision": format!("origin-of-{revision}") },
        });
        let patch = Patch::Merge(json!({ "status": { "artifact": artifact } }));
        self.api::<GitRepository>()
            .patch_status(source, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Makes a Kustomization of [`SOURCE`]; the spec is laid over the usual one (null takes a field away), and `<ns>` in it is the namespace.
    pub async fn kustomization(&self, name: &str, spec: Value) -> Result<()> {
        let mut whole = json!({
            "interval": "1h",
            "prune": true,
            "targetNamespace": self.name(),
            "sourceRef": { "kind": "GitRepository", "name": SOURCE },
        });
        if let (Some(whole), Value::Object(spec)) = (whole.as_object_mut(), spec) {
            whole.extend(spec);
            whole.retain(|_, value| !value.is_null());
        }
        let object = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": { "name": name },
            "spec": whole,
        });
        self.apply_yaml(&self.text(&object.to_string())).await?;
        Ok(())
    }

    /// Waits until Ready has this reason and its message holds this text (`<ns>` is the namespace); returns the object.
    pub async fn says(&self, name: &str, reason: &str, text: &str) -> Result<Kustomization> {
        let text = self.text(text);
        let what = format!("say {reason}: {text}");
        self.wait::<Kustomization>(name, &what, |object| {
            condition(object, "Ready").is_some_and(|ready| ready.reason == reason && ready.message.contains(&text))
        })
        .await
    }

    /// A text with the namespace's name for `<ns>`.
    pub fn text(&self, text: &str) -> String {
        text.replace("<ns>", self.name())
    }
}

/// A ConfigMap with one value.
pub fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: '{name}'}}\ndata: {{k: '{value}'}}\n")
}
