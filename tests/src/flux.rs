//! Flux's controllers, for those who give their binaries: where the harness finds them, what they insist on, and what
//! the source controller leaves in its storage. Nothing here builds or downloads them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::json;

use crate::cluster::Cluster;
use crate::controllers::Controller;
use crate::wait;

/// The mode of the directories of its storage.
pub const DIRECTORY_MODE: u32 = 0o700;
/// The mode of its artifacts.
pub const ARTIFACT_MODE: u32 = 0o600;
/// The mode of its lock files, under the usual umask.
pub const LOCK_MODE: u32 = 0o644;

const GROUP: &str = "source.toolkit.fluxcd.io";

/// Kind, plural of what its controllers refuse to start without and this project has none of.
const KINDS: [(&str, &str); 5] = [
    ("Bucket", "buckets"),
    ("ExternalArtifact", "externalartifacts"),
    ("HelmChart", "helmcharts"),
    ("HelmRepository", "helmrepositories"),
    ("OCIRepository", "ocirepositories"),
];

/// The name under which its source controller writes the artifact of a commit before it has its own: with a random
/// number.
pub fn temporary(commit: &str, number: u32) -> String {
    format!("{commit}.tar.gz{number}")
}

/// A new folder below `dir` with its controllers, under the names that the harness knows them by.
///
/// # Errors
/// One of the files is missing, or the folder is there already.
pub fn bin_dir(dir: &Path, controllers: &[(Controller, &Path)]) -> Result<PathBuf> {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin)?;
    for (controller, file) in controllers {
        let file = std::path::absolute(file)?;
        ensure!(file.is_file(), "there is no {}", file.display());
        symlink(&file, bin.join(controller.to_string())).with_context(|| format!("cannot link {}", file.display()))?;
    }
    Ok(bin)
}

/// Has the cluster serve the kinds that its controllers insist on. No object of these kinds is ever made, so their
/// schemas say nothing.
pub async fn install_kinds(cluster: &Cluster) -> Result<()> {
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
        wait::object(&api, &name, "be established", |crd| {
            let conditions = crd.and_then(|crd| crd.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
        })
        .await?;
    }
    Ok(())
}
