//! Artifacts published by hand instead of by a source controller, for tests of the kustomize controller alone: a
//! GitRepository whose status offers what an [`ArtifactServer`] serves, and Kustomizations of it. Nothing here waits
//! for anything. In all texts `<ns>` stands for the name of the namespace.

use anyhow::Result;
use api::source::GitRepository;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::artifact_server::{ArtifactServer, Content, digest, tar_gz};
use crate::namespace::Namespace;

/// The name of the source that Kustomizations refer to unless they say otherwise.
pub const SOURCE: &str = "repo";

/// Serves these files (path and text) as the artifact of [`SOURCE`] at this revision.
pub async fn publish(
    namespace: &Namespace,
    server: &ArtifactServer,
    revision: &str,
    files: &[(&str, &str)],
) -> Result<()> {
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, namespace.text(text))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    let bytes = tar_gz(&files)?;
    let digest = digest(&bytes);
    let path = format!("/{}.tar.gz", digest.replace(':', "-"));
    server.serve(&path, Content::Bytes(bytes));
    offer(namespace, server, SOURCE, revision, &path, &digest).await
}

/// Makes a GitRepository whose status offers what the server has at a path, whatever that is. The artifact's origin
/// revision is `origin-of-` and the revision.
pub async fn offer(
    namespace: &Namespace,
    server: &ArtifactServer,
    source: &str,
    revision: &str,
    path: &str,
    digest: &str,
) -> Result<()> {
    let repository = format!(
        "apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: {source}}}
spec: {{url: 'https://example.test/{source}.git', interval: 1h}}
"
    );
    namespace.apply_yaml(&repository).await?;
    let artifact = json!({
        "url": server.url(path),
        "path": path,
        "revision": revision,
        "digest": digest,
        "lastUpdateTime": "2026-01-01T00:00:00Z",
        "metadata": { "org.opencontainers.image.revision": format!("origin-of-{revision}") },
    });
    let patch = Patch::Merge(json!({ "status": { "artifact": artifact } }));
    namespace
        .api::<GitRepository>()
        .patch_status(source, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// Makes a Kustomization of [`SOURCE`] with an interval of an hour that prunes and applies to its own namespace; the
/// spec is laid over that one, and null takes a field away.
pub async fn kustomization(namespace: &Namespace, name: &str, spec: Value) -> Result<()> {
    let mut whole = json!({
        "interval": "1h",
        "prune": true,
        "targetNamespace": namespace.name(),
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
    namespace.apply_yaml(&namespace.text(&object.to_string())).await?;
    Ok(())
}
