//! What the tests of the kustomize controller as a process share: the controller alone in a namespace, artifacts
//! published by hand instead of by a source controller, and short ways to write Kustomizations and read their answer.

use std::ops::Deref;

use anyhow::Result;
use api::kustomize::Kustomization;
use serde_json::Value;
use tests::artifact_server::ArtifactServer;
use tests::controllers::Controller;
use tests::namespace::{Namespace, condition};
use tests::published;
use tests::scenario::Scenario;

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

    /// Serves these files as the artifact of [`published::SOURCE`] at this revision. `<ns>` in them is the namespace.
    pub async fn publish(&self, revision: &str, files: &[(&str, &str)]) -> Result<()> {
        published::publish(self, &self.server, revision, files).await
    }

    /// Makes a GitRepository whose status offers what the server has at a path.
    pub async fn offer(&self, source: &str, revision: &str, path: &str, digest: &str) -> Result<()> {
        published::offer(self, &self.server, source, revision, path, digest).await
    }

    /// Makes a Kustomization of [`published::SOURCE`]; the spec is laid over the usual one (null takes a field away), and
    /// `<ns>` in it is the namespace.
    pub async fn kustomization(&self, name: &str, spec: Value) -> Result<()> {
        published::kustomization(self, name, spec).await
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
}

/// A ConfigMap with one value.
pub fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: '{name}'}}\ndata: {{k: '{value}'}}\n")
}
