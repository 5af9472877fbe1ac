//! Installing the project's own manifests: all of `config/default` but the Deployments, because the controllers run here
//! as processes. It is built by our own kustomize library.

use std::fs;
use std::path::Path;

use ::tests::checkout;
use ::tests::cluster::Cluster;
use anyhow::{Context, Result};
use kustomize::{MemoryFiles, Options};

/// The folders that `config/default` is made of.
const FOLDERS: [&str; 4] = ["crd", "default", "manager", "rbac"];

/// Applies everything; returns how many objects that were.
pub async fn everything(cluster: &Cluster) -> Result<usize> {
    let mut files = MemoryFiles::default();
    let root = checkout::root().join("config");
    for folder in FOLDERS {
        read(&root.join(folder), folder, &mut files)?;
    }
    let built = kustomize::build(&files, "default", &Options::default()).context("config/default cannot be built")?;
    let objects: Vec<_> = built
        .into_iter()
        .map(|built| built.object)
        .filter(|object| object["kind"] != "Deployment")
        .collect();
    for object in &objects {
        // JSON is YAML, too.
        cluster.apply_yaml(&object.to_string(), None).await?;
    }
    Ok(objects.len())
}

fn read(folder: &Path, name: &str, files: &mut MemoryFiles) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if let Some(file) = path.file_name().and_then(|file| file.to_str()) {
            files.insert(&format!("{name}/{file}"), fs::read_to_string(&path)?)?;
        }
    }
    Ok(())
}
