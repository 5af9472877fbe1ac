//! The kinds that Alerts and Receivers refer to: where the API server keeps them, their labels, and the annotation
//! that asks for a reconcile. The list is closed, so that no discovery is needed.
//!
//! References and events are anybody's text: what they name is escaped or refused before it becomes part of a path.

use api::event::ObjectReference;
use api::meta::key;
use api::notification::{CrossNamespaceObjectReference, ObjectKind};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use runtime::path::{self, Unfit};
use serde_json::json;
use std::collections::BTreeMap;

const FIELD_MANAGER: &str = "notification-controller";

/// Why an object could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kind has no version that could be assumed.
    #[error("apiVersion must be specified for kind '{0}'")]
    NoVersion(ObjectKind),
    /// The kind is none of those that can be referred to.
    #[error("kind '{0}' is not supported")]
    UnknownKind(String),
    /// The API server did not do it.
    #[error("{what}: {}", said(.error))]
    Api {
        /// What was tried.
        what: String,
        /// Its answer.
        error: kube::Error,
    },
    /// A part of it cannot be part of a path.
    #[error(transparent)]
    Name(#[from] Unfit),
    /// All objects of a kind are meant, but not which.
    #[error("matchLabels field not set when using wildcard '*' as name of kind '{0}'")]
    NoLabels(ObjectKind),
    /// The object is in another namespace, and the flags forbid that.
    #[error("resource '{0}' in another namespace is not allowed: cross-namespace references have been blocked")]
    CrossNamespace(String),
}

fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// The group and version a kind has where the reference does not say.
fn default_version(kind: ObjectKind) -> Option<&'static str> {
    match kind {
        ObjectKind::Bucket
        | ObjectKind::HelmChart
        | ObjectKind::HelmRepository
        | ObjectKind::GitRepository
        | ObjectKind::OciRepository => Some("source.toolkit.fluxcd.io/v1"),
        ObjectKind::ImageRepository => Some("image.toolkit.fluxcd.io/v1"),
        ObjectKind::ArtifactGenerator => Some("source.extensions.fluxcd.io/v1beta1"),
        ObjectKind::Kustomization
        | ObjectKind::HelmRelease
        | ObjectKind::ImagePolicy
        | ObjectKind::ImageUpdateAutomation
        | ObjectKind::ExternalArtifact => None,
    }
}

fn plural(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Bucket => "buckets",
        ObjectKind::GitRepository => "gitrepositories",
        ObjectKind::Kustomization => "kustomizations",
        ObjectKind::HelmRelease => "helmreleases",
        ObjectKind::HelmChart => "helmcharts",
        ObjectKind::HelmRepository => "helmrepositories",
        ObjectKind::ImageRepository => "imagerepositories",
        ObjectKind::ImagePolicy => "imagepolicies",
        ObjectKind::ImageUpdateAutomation => "imageupdateautomations",
        ObjectKind::OciRepository => "ocirepositories",
        ObjectKind::ArtifactGenerator => "artifactgenerators",
        ObjectKind::ExternalArtifact => "externalartifacts",
    }
}

fn resource(kind: ObjectKind, api_version: &str) -> Result<ApiResource, Unfit> {
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) => (path::segment("API group", group)?, version),
        None => (String::new(), api_version),
    };
    let version = path::segment("API version", version)?;
    Ok(ApiResource {
        api_version: match group.as_str() {
            "" => version.clone(),
            group => format!("{group}/{version}"),
        },
        group,
        version,
        kind: kind.as_str().to_owned(),
        plural: plural(kind).to_owned(),
    })
}

/// The objects of a kind in a namespace.
fn objects(client: &Client, kind: ObjectKind, api_version: &str, namespace: &str) -> Result<Api<DynamicObject>, Unfit> {
    let namespace = path::segment("namespace", namespace)?;
    Ok(Api::namespaced_with(
        client.clone(),
        &namespace,
        &resource(kind, api_version)?,
    ))
}

/// The labels of the object an event is about.
///
/// # Errors
/// An object that is not there or cannot be read.
pub async fn labels(client: &Client, object: &ObjectReference) -> Result<BTreeMap<String, String>, Error> {
    let kind: ObjectKind = object
        .kind
        .parse()
        .map_err(|_| Error::UnknownKind(object.kind.clone()))?;
    let api = objects(client, kind, &object.api_version, &object.namespace)?;
    let found = api.get_metadata(&path::name(&object.name)?).await;
    let found = found.map_err(|error| Error::Api {
        what: format!("failed to get {kind} {}", object.name),
        error,
    })?;
    Ok(found.labels().clone())
}

/// Asks for a reconcile of the objects that a reference names, and returns how many there were.
///
/// # Errors
/// A reference that is incomplete or not allowed, or what the API server answers.
pub async fn request(
    client: &Client,
    reference: &CrossNamespaceObjectReference,
    home: &str,
    no_cross_namespace: bool,
) -> Result<usize, Error> {
    let kind = reference.kind;
    let namespace = reference.namespace.as_deref().unwrap_or(home);
    if no_cross_namespace && namespace != home {
        return Err(Error::CrossNamespace(format!("{kind}/{namespace}/{}", reference.name)));
    }
    let version = reference
        .api_version
        .as_deref()
        .or_else(|| default_version(kind))
        .ok_or(Error::NoVersion(kind))?;
    let api = objects(client, kind, version, namespace)?;
    if reference.name != "*" {
        annotate(&api, kind, &reference.name).await?;
        return Ok(1);
    }
    if reference.match_labels.is_empty() {
        return Err(Error::NoLabels(kind));
    }
    let selector: Vec<_> = reference
        .match_labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let listed = api
        .list_metadata(&ListParams::default().labels(&selector.join(",")))
        .await;
    let listed = listed.map_err(|error| Error::Api {
        what: format!("failed to list {}", plural(kind)),
        error,
    })?;
    let mut first_error = None;
    let names: Vec<_> = listed.items.iter().map(ResourceExt::name_any).collect();
    for name in &names {
        if let Err(error) = annotate(&api, kind, name).await {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(names.len()), Err)
}

async fn annotate(api: &Api<DynamicObject>, kind: ObjectKind, name: &str) -> Result<(), Error> {
    let metadata = ObjectMeta {
        annotations: Some(BTreeMap::from([(
            key::REQUESTED_AT.to_owned(),
            Timestamp::now().to_string(),
        )])),
        ..ObjectMeta::default()
    };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let answer = api.patch_metadata(&path::name(name)?, &parameters, &patch).await;
    answer.map(drop).map_err(|error| Error::Api {
        what: format!("unable to annotate {kind}/{name}"),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        for kind in ObjectKind::ALL {
            let plural = plural(*kind);
            let stem = kind.as_str().to_lowercase();
            let stem = stem.strip_suffix('y').unwrap_or(&stem);
            assert!(plural.starts_with(stem) && plural.ends_with('s'), "{kind}: {plural}");
        }
        assert_eq!(default_version(ObjectKind::Kustomization), None);
    }

    #[track_caller]
    fn check(api_version: &str, expected: Result<(&str, &str, &str), &str>) {
        let found = resource(ObjectKind::GitRepository, api_version).map_err(|error| error.to_string());
        let found = found.map(|found| (found.group, found.version, found.api_version));
        let found = found
            .as_ref()
            .map(|(group, version, whole)| (group.as_str(), version.as_str(), whole.as_str()))
            .map_err(String::as_str);
        assert_eq!(found, expected);
    }

    #[test]
    fn versions_of_apis_are_two_segments_and_no_more() {
        let group = "source.toolkit.fluxcd.io";
        check(
            "source.toolkit.fluxcd.io/v1",
            Ok((group, "v1", "source.toolkit.fluxcd.io/v1")),
        );
        check("v1", Ok(("", "v1", "v1")));
        check("g/v1?x#y", Ok(("g", "v1%3Fx%23y", "g/v1%3Fx%23y")));
        check(
            "g/v1/namespaces/other/things/x?",
            Err("invalid API version \"v1/namespaces/other/things/x?\": [may not contain '/']"),
        );
        check("../v1", Err("invalid API group \"..\": [may not be '..']"));
        check("/v1/secrets", Err("API group may not be empty"));
        check("", Err("API version may not be empty"));
    }
}
