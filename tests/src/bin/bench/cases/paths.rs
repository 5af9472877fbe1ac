//! A monorepo: a thousand Kustomizations with a path each, and a commit that touches one of the paths.

use std::collections::BTreeMap;

use ::tests::namespace::Object;
use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;

use super::{Run, fleet, limit};
use crate::sample::{Fleet, INDEXED, application, suffix};
use crate::stage::{Stage, is_ready_with};

/// From the commit to the last Kustomization that has its revision.
pub async fn run(mut run: Run<'_>) -> Result<()> {
    let fleet = Fleet {
        path: |index| format!("./apps/{}", suffix(index)),
        ..Fleet::new(run.wanted.sizes.of(1000))
    };
    let file = |index: usize| format!("apps/{}/app.yaml", suffix(index));
    for index in 0..fleet.count {
        run.stage.repo.write(&file(index), application(INDEXED, 1))?;
    }
    fleet::prepare(&mut run, &fleet).await?;
    let before = versions(run.stage).await?;
    run.stage.repo.write(&file(fleet.count / 2), application(INDEXED, 2))?;
    let commit = run.stage.repo.commit("One path")?;
    let applied = run
        .stage
        .board
        .expect(fleet.names(), move |object| is_ready_with(object, &commit));
    let span = run.stage.measure()?;
    run.stage.poke().await?;
    applied
        .within(limit(fleet.count), "all Kustomizations to have the new revision")
        .await?;
    let cost = run.stage.cost(span).await?;
    let after = versions(run.stage).await?;
    let changed = after
        .iter()
        .filter(|(object, version)| before.get(*object) != Some(version))
        .count();
    let applies: u64 = cost
        .requests
        .counts
        .iter()
        .filter(|(request, _)| request.verb == "apply")
        .map(|(_, count)| count)
        .sum();
    let row = run
        .row("path-of-1000", fleet.count)
        .figure("objects changed", changed as f64, "")
        .figure("applies", applies as f64, "")
        .costing(cost);
    run.keep(row);
    Ok(())
}

/// The resource version of every object of the applications.
async fn versions(stage: &Stage) -> Result<BTreeMap<(&'static str, String), String>> {
    let mut all = BTreeMap::new();
    add::<ServiceAccount>(stage, "ServiceAccount", &mut all).await?;
    add::<Service>(stage, "Service", &mut all).await?;
    add::<Deployment>(stage, "Deployment", &mut all).await?;
    add::<Ingress>(stage, "Ingress", &mut all).await?;
    Ok(all)
}

async fn add<K: Object>(
    stage: &Stage,
    kind: &'static str,
    all: &mut BTreeMap<(&'static str, String), String>,
) -> Result<()> {
    let list = stage.namespace.api::<K>().list_metadata(&ListParams::default()).await?;
    for object in list.items {
        let (name, version) = (object.metadata.name, object.metadata.resource_version);
        all.insert((kind, name.unwrap_or_default()), version.unwrap_or_default());
    }
    Ok(())
}
