//! The manifests in `config/`: they build as the real kustomize builds them, and the API server takes all of them.
//!
//! The expectation comes from the real kustomize (with the specs of the CRDs left out, which come from the types). To
//! make it again:
//!
//! ```text
//! UPDATE_EXPECTED=/path/to/kustomize cargo test -p tests --test flow config
//! ```

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kustomize::{MemoryFiles, Options, Reorder};
use serde_json::Value;
use tests::checkout;
use tests::cluster::{Cluster, documents};

/// All files below a folder.
fn files(folder: &Path, name: &str, into: &mut MemoryFiles) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = format!("{name}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => files(&entry.path(), &format!("{name}/"), into)?,
            false => into.insert(&name, fs::read(entry.path())?)?,
        }
    }
    Ok(())
}

/// What our own library makes of a folder of `config/`, in the order of the command line.
fn built(folder: &str) -> Result<Vec<Value>> {
    let mut tree = MemoryFiles::default();
    files(&checkout::root().join("config"), "", &mut tree)?;
    let options = Options {
        reorder: Reorder::Legacy,
        ..Options::default()
    };
    let objects = kustomize::build(&tree, folder, &options).with_context(|| format!("config/{folder}"))?;
    Ok(objects.into_iter().map(|built| built.object).collect())
}

/// Leaves out the specs of definitions; returns them by their name.
fn without_specs(objects: &mut [Value]) -> Vec<(String, Value)> {
    let mut specs = Vec::new();
    for object in objects
        .iter_mut()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
    {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        specs.push((name, object["spec"].take()));
    }
    specs
}

#[test]
fn the_installation_and_the_samples_build_as_the_real_kustomize_builds_them() -> Result<()> {
    let expectations = checkout::root().join("tests/tests/flow/expected");
    for folder in ["default", "samples"] {
        let file = expectations.join(format!("{folder}.yaml"));
        if let Some(kustomize) = std::env::var_os("UPDATE_EXPECTED") {
            let directory = checkout::root().join("config").join(folder);
            let output = Command::new(kustomize).arg("build").arg(directory).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut objects = documents(&String::from_utf8(output.stdout)?)?;
            without_specs(&mut objects);
            let texts = objects
                .iter()
                .map(serde_yaml::to_string)
                .collect::<Result<Vec<_>, _>>()?;
            fs::create_dir_all(&expectations)?;
            fs::write(&file, texts.join("---\n"))?;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let expected = documents(&text)?;
        let mut objects = built(folder)?;
        for (name, spec) in without_specs(&mut objects) {
            let (plural, group) = name.split_once('.').context("a definition's name has a dot")?;
            let source = checkout::root().join(format!("config/crd/{group}_{plural}.yaml"));
            let source = documents(&fs::read_to_string(source)?)?;
            ensure!(source[0]["spec"] == spec, "the spec of {name} was changed by the build");
        }
        for (expected, object) in expected.iter().zip(&objects) {
            ensure!(expected == object, "expected\n{expected:#}\nbuilt\n{object:#}");
        }
        ensure!(
            expected.len() == objects.len(),
            "{} objects instead of {}",
            objects.len(),
            expected.len()
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_installation_and_the_samples_are_taken_by_the_api_server() -> Result<()> {
    let cluster = Cluster::own("config").await?;
    for folder in ["default", "samples"] {
        for object in built(folder)? {
            cluster.apply_yaml(&object.to_string(), None).await?;
        }
    }
    let namespace = cluster.named_namespace("flux-system").await?;
    for name in ["source-controller", "kustomize-controller", "notification-controller"] {
        // Quotas, priority classes and service accounts let the pods come up.
        let available = |deployment: &Deployment| {
            deployment.status.as_ref().and_then(|status| status.available_replicas) == Some(1)
        };
        namespace.wait::<Deployment>(name, "be available", available).await?;
    }
    let mut tree = Vec::new();
    yaml_files(&checkout::root().join("config/samples/quickstart"), &mut tree)?;
    let sandbox = cluster.namespace("quickstart").await?;
    for path in tree {
        for object in documents(&fs::read_to_string(&path)?)? {
            if object["apiVersion"] == "kustomize.config.k8s.io/v1beta1" {
                continue;
            }
            let applied = sandbox.apply_yaml(&object.to_string()).await;
            applied.with_context(|| format!("{} is not taken", path.display()))?;
        }
    }
    Ok(())
}

fn yaml_files(folder: &Path, into: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true => yaml_files(&path, into)?,
            false => into.push(path),
        }
    }
    Ok(())
}
