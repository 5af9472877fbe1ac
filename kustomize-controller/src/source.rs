//! From a reference to an artifact: which source a Kustomization means, whether it may use it, what it offers.
//!
//! GitRepositories come from a watch. The other kinds are served by other controllers, if at all, so they are read when
//! they are needed and need no watch of a kind that may not exist.

use crate::cluster::{ApiError, Cluster};
use crate::failure::Failure;
use api::kustomize::{Kustomization, SourceKind};
use api::source::{Artifact, GitRepository};
use kube::ResourceExt;
use runtime::objects::Objects;

/// The source a Kustomization refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceRef {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace: the Kustomization's own unless another is named.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SourceRef {
    /// What a Kustomization refers to.
    pub fn of(object: &Kustomization) -> Self {
        let reference = &object.spec.source_ref;
        SourceRef {
            kind: kind(reference.kind),
            namespace: reference
                .namespace
                .clone()
                .or_else(|| object.namespace())
                .unwrap_or_default(),
            name: reference.name.clone(),
        }
    }
}

fn kind(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::GitRepository => "GitRepository",
        SourceKind::OciRepository => "OCIRepository",
        SourceKind::Bucket => "Bucket",
        SourceKind::ExternalArtifact => "ExternalArtifact",
    }
}

/// What decides whether a source may be used.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Sources in other namespaces are refused.
    pub no_cross_namespace_refs: bool,
    /// `ExternalArtifact` sources are allowed.
    pub external_artifact: bool,
}

/// Whether a Kustomization in a namespace may use a source.
///
/// # Errors
/// [`Failure::AccessDenied`] with Flux's text.
pub fn allowed(source: &SourceRef, namespace: &str, access: Access) -> Result<(), Failure> {
    let SourceRef {
        kind,
        namespace: theirs,
        name,
    } = source;
    if access.no_cross_namespace_refs && theirs != namespace {
        let text = format!("can't access '{kind}/{theirs}/{name}', cross-namespace references have been blocked");
        return Err(Failure::AccessDenied(text));
    }
    if *kind == "ExternalArtifact" && !access.external_artifact {
        let text = format!("can't access '{kind}/{theirs}/{name}', ExternalArtifact feature gate is disabled");
        return Err(Failure::AccessDenied(text));
    }
    Ok(())
}

/// Where sources are looked up.
#[derive(Clone)]
pub struct Sources {
    own: Cluster,
    repositories: Objects<GitRepository>,
}

impl Sources {
    /// Looks GitRepositories up in a followed store and other kinds in the API.
    pub fn new(own: Cluster, repositories: Objects<GitRepository>) -> Self {
        Sources { own, repositories }
    }

    /// The artifact that a source offers; none when it has none yet.
    ///
    /// # Errors
    /// A source that does not exist or cannot be read.
    pub async fn artifact(&self, source: &SourceRef) -> Result<Option<Artifact>, Failure> {
        if source.kind != "GitRepository" {
            return self.read(source).await;
        }
        match self.repositories.get(&source.namespace, &source.name) {
            Some(repository) => Ok(repository.status.as_ref().and_then(|status| status.artifact.clone())),
            None => Err(missing(source)),
        }
    }

    /// The artifact that a source offers as far as that is known without asking: of GitRepositories.
    pub fn known(&self, source: &SourceRef) -> Option<Artifact> {
        let repository = match source.kind {
            "GitRepository" => self.repositories.get(&source.namespace, &source.name)?,
            _ => return None,
        };
        repository.status.as_ref()?.artifact.clone()
    }

    async fn read(&self, source: &SourceRef) -> Result<Option<Artifact>, Failure> {
        let SourceRef { kind, namespace, name } = source;
        let unreadable = |error: &dyn std::fmt::Display, outage| Failure::SourceUnreadable {
            text: format!("unable to get source '{namespace}/{name}': {error}"),
            outage,
        };
        let unanswered = |error: ApiError| unreadable(&error, error.is_outage());
        let api_version = format!("{}/v1", api::source::GROUP);
        let resource = self.own.resolve(&api_version, kind).await.map_err(unanswered)?;
        let found = self.own.find(&resource, namespace, name).await.map_err(unanswered)?;
        let found = found.ok_or_else(|| missing(source))?;
        match found.pointer("/status/artifact") {
            None => Ok(None),
            Some(artifact) => serde_json::from_value(artifact.clone())
                .map(Some)
                .map_err(|error| unreadable(&error, false)),
        }
    }
}

fn missing(source: &SourceRef) -> Failure {
    Failure::SourceMissing(format!(
        "{}.{} {:?} not found",
        source.kind,
        api::source::GROUP,
        source.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &'static str, namespace: &str, access: Access, expected: Result<(), &str>) {
        let source = SourceRef {
            kind,
            namespace: namespace.into(),
            name: "x".into(),
        };
        let expected = expected.map_err(|text| Failure::AccessDenied(text.into()));
        assert_eq!(allowed(&source, "mine", access), expected);
    }

    #[test]
    fn access_to_other_namespaces_and_external_artifacts_can_be_closed() {
        let open = Access {
            no_cross_namespace_refs: false,
            external_artifact: true,
        };
        let closed = Access {
            no_cross_namespace_refs: true,
            external_artifact: false,
        };
        check("GitRepository", "theirs", open, Ok(()));
        check("GitRepository", "mine", closed, Ok(()));
        check(
            "GitRepository",
            "theirs",
            closed,
            Err("can't access 'GitRepository/theirs/x', cross-namespace references have been blocked"),
        );
        check("ExternalArtifact", "mine", open, Ok(()));
        check(
            "ExternalArtifact",
            "mine",
            closed,
            Err("can't access 'ExternalArtifact/mine/x', ExternalArtifact feature gate is disabled"),
        );
    }
}
