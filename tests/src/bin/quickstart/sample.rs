//! What the cluster is bootstrapped with: the objects of `config/samples/quickstart/cluster`, with the addresses of this
//! run, and the files of the sample repository.

use std::fs;
use std::path::{Path, PathBuf};

use ::tests::checkout;
use ::tests::cluster::documents;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The namespace of the controllers and of the objects that connect the cluster with the repository.
pub const NAMESPACE: &str = "flux-system";
/// The GitRepository and the root Kustomization.
pub const ROOT: &str = "flux-system";
/// The first Kustomization of the sample repository.
pub const INFRA: &str = "infra";
/// The second Kustomization of the sample repository, which depends on the first.
pub const APPS: &str = "apps";
/// The namespace that the sample repository makes, and the name of most that is in it.
pub const WEB: &str = "web";

/// The label of the objects that the quickstart makes itself, by which it knows them again.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "hack-quickstart");

/// Where the manifests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The repository.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The directory to apply.
    pub path: String,
}

/// The objects to apply, for the repository and the address that messages are posted to: who is told comes first.
pub fn objects(origin: &Origin, inbox: &str) -> Result<Vec<Value>> {
    let folder = checkout::root().join("config/samples/quickstart/cluster");
    let mut objects = Vec::new();
    for file in ["notification.yaml", "source.yaml"] {
        let file = folder.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        objects.extend(documents(&text)?);
    }
    for object in &mut objects {
        adapt(object, origin, inbox)?;
    }
    Ok(objects)
}

fn adapt(object: &mut Value, origin: &Origin, inbox: &str) -> Result<()> {
    object["metadata"]["namespace"] = NAMESPACE.into();
    object["metadata"]["labels"][LABEL.0] = LABEL.1.into();
    match object["kind"].as_str() {
        Some("GitRepository") => {
            object["spec"]["url"] = origin.url.clone().into();
            object["spec"]["ref"] = json!({ "branch": origin.branch });
        }
        Some("Kustomization") => object["spec"]["path"] = origin.path.clone().into(),
        Some("Provider") => object["spec"]["address"] = inbox.into(),
        Some("Alert") => {}
        kind => bail!("the sample has an object of an unexpected kind: {kind:?}"),
    }
    Ok(())
}

/// The files of the sample repository: paths in it, and contents.
pub fn repository() -> Result<Vec<(String, String)>> {
    let root = checkout::root().join("config/samples/quickstart/repository");
    let mut files = Vec::new();
    collect(&root, &root, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.push((
                path.strip_prefix(root)?.display().to_string(),
                fs::read_to_string(&path)?,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objects_carry_the_addresses_of_the_run() {
        let origin = Origin {
            url: "http://127.0.0.1:1/a.git".into(),
            branch: "b".into(),
            path: "./c".into(),
        };
        let objects = objects(&origin, "http://127.0.0.1:2/").unwrap();
        let of = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        assert_eq!(of("GitRepository")["spec"]["url"], "http://127.0.0.1:1/a.git");
        assert_eq!(of("GitRepository")["spec"]["ref"], json!({ "branch": "b" }));
        assert_eq!(of("Kustomization")["spec"]["path"], "./c");
        assert_eq!(of("Provider")["spec"]["address"], "http://127.0.0.1:2/");
        assert_eq!(of("Alert")["metadata"]["namespace"], NAMESPACE);
        assert_eq!(of("Alert")["metadata"]["labels"][LABEL.0], LABEL.1);
    }

    #[test]
    fn the_repository_holds_what_the_story_is_about() {
        let files = repository().unwrap();
        let holds = |path: &str, text: &str| {
            files
                .iter()
                .any(|(name, content)| name == path && content.contains(text))
        };
        assert!(holds("cluster/apps.yaml", "dependsOn"));
        assert!(holds("apps/deployment.yaml", "replicas: 2"));
        assert!(holds("apps/kustomization.yaml", "- greeting.yaml\n"));
        assert!(holds("apps/service.yaml", "- name: http\n"));
    }
}
