//! The kinds that Flux's controllers insist on and this project has none of: they refuse to start where the API server
//! does not serve them. No object of these kinds is ever made, so their schemas say nothing.

use ::tests::cluster::Cluster;
use anyhow::Result;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::json;

const GROUP: &str = "source.toolkit.fluxcd.io";

/// Kind, plural.
const KINDS: [(&str, &str); 5] = [
    ("Bucket", "buckets"),
    ("ExternalArtifact", "externalartifacts"),
    ("HelmChart", "helmcharts"),
    ("HelmRepository", "helmrepositories"),
    ("OCIRepository", "ocirepositories"),
];

/// Has the cluster serve them.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client());
    for (kind, plural) in KINDS {
        let name = format!("{plural}.{GROUP}");
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": name },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": { "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase() },
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                }],
            },
        });
        cluster.apply_yaml(&crd.to_string(), None).await?;
        ::tests::wait::object(&api, &name, "be established", |crd| {
            let conditions = crd.and_then(|crd| crd.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
        })
        .await?;
    }
    Ok(())
}
