//! Many Kustomizations that share a path: created, asked to reconcile, changed all at once, deleted.

use ::tests::namespace::Object;
use anyhow::{Result, bail};
use api::kustomize::Kustomization;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;

use super::{Run, drift, limit, push};
use crate::sample::{Fleet, INDEXED, application};
use crate::stage::{Stage, has_handled, is_ready_with};

/// The cases of a hundred.
pub async fn hundred(mut run: Run<'_>) -> Result<()> {
    let fleet = Fleet::new(run.wanted.sizes.of(100));
    create(&mut run, "create-100", &fleet).await?;
    if run.wanted.has("noop-100") {
        ask(&mut run, "noop-100", &fleet).await?;
    }
    if run.wanted.has("push-100") {
        push::to_all(&mut run, "push-100", &fleet).await?;
    }
    if run.wanted.has("drift") {
        drift::run(&mut run, &fleet).await?;
    }
    Ok(())
}

/// The cases of a thousand.
pub async fn thousand(mut run: Run<'_>) -> Result<()> {
    let fleet = Fleet::new(run.wanted.sizes.of(1000));
    create(&mut run, "create-1000", &fleet).await?;
    if run.wanted.has("noop-1000") {
        ask(&mut run, "noop-1000", &fleet).await?;
    }
    if run.wanted.has("change-1000") {
        change(&mut run, "change-1000", &fleet).await?;
    }
    if run.wanted.has("delete-1000") {
        delete(&mut run, "delete-1000", &fleet).await?;
    }
    Ok(())
}

/// From the first create to the last that is ready.
async fn create(run: &mut Run<'_>, case: &'static str, fleet: &Fleet) -> Result<()> {
    run.stage.repo.write("app/app.yaml", application(INDEXED, 1))?;
    run.stage.publish().await?;
    run.stage.settle().await;
    let span = run.stage.measure()?;
    run.stage.bring_up(fleet, limit(fleet.count)).await?;
    let cost = run.stage.cost(span).await?;
    let (found, expected) = (objects(run.stage).await?, 4 * fleet.count);
    if found != expected {
        bail!("{found} objects exist, not {expected}, though all Kustomizations are ready");
    }
    run.keep(run.row(case, fleet.count).costing(cost));
    Ok(())
}

/// From the first annotation to the last that has handled it.
async fn ask(run: &mut Run<'_>, case: &'static str, fleet: &Fleet) -> Result<()> {
    run.stage.settle().await;
    let names = fleet.names();
    let span = run.stage.measure()?;
    let token = jiff::Timestamp::now().to_string();
    let handled = {
        let token = token.clone();
        run.stage
            .board
            .expect(names.clone(), move |object| has_handled(object, &token))
    };
    run.stage.request::<Kustomization>(&names, &token).await?;
    handled.within(limit(fleet.count), "all requests to be handled").await?;
    let cost = run.stage.cost(span).await?;
    run.keep(run.row(case, fleet.count).costing(cost));
    Ok(())
}

/// From the push to the last that is ready with it.
async fn change(run: &mut Run<'_>, case: &'static str, fleet: &Fleet) -> Result<()> {
    run.stage.settle().await;
    run.stage.repo.write("app/app.yaml", application(INDEXED, 2))?;
    let commit = run.stage.repo.commit("Another release")?;
    let span = run.stage.measure()?;
    let applied = run
        .stage
        .board
        .expect(fleet.names(), move |object| is_ready_with(object, &commit));
    run.stage.poke().await?;
    applied
        .within(limit(fleet.count), "all Kustomizations to have applied the commit")
        .await?;
    let cost = run.stage.cost(span).await?;
    run.keep(run.row(case, fleet.count).costing(cost));
    Ok(())
}

/// From the first deletion to the last Kustomization that is gone; their objects are gone by then.
async fn delete(run: &mut Run<'_>, case: &'static str, fleet: &Fleet) -> Result<()> {
    run.stage.settle().await;
    let names = fleet.names();
    let span = run.stage.measure()?;
    let gone = run
        .stage
        .board
        .expect(names.clone(), |object: Option<&Kustomization>| object.is_none());
    run.stage.delete(&names).await?;
    gone.within(limit(fleet.count), "all Kustomizations to be gone").await?;
    let cost = run.stage.cost(span).await?;
    let left = objects(run.stage).await?;
    let row = run.row(case, fleet.count).costing(cost);
    run.keep(row.figure("objects left", left as f64, ""));
    Ok(())
}

/// How many objects of the applications exist.
async fn objects(stage: &Stage) -> Result<usize> {
    let mut found = 0;
    found += applications::<ServiceAccount>(stage).await?;
    found += applications::<Service>(stage).await?;
    found += applications::<Deployment>(stage).await?;
    found += applications::<Ingress>(stage).await?;
    Ok(found)
}

async fn applications<K: Object>(stage: &Stage) -> Result<usize> {
    let list = stage.namespace.api::<K>().list_metadata(&ListParams::default()).await?;
    let named = |object: &&kube::core::PartialObjectMeta<K>| {
        object
            .metadata
            .name
            .as_deref()
            .is_some_and(|name| name.starts_with("app-"))
    };
    Ok(list.items.iter().filter(named).count())
}

/// Publishes what was written to the repository, and has a fleet ready and at rest, for cases that begin there.
pub async fn prepare(run: &mut Run<'_>, fleet: &Fleet) -> Result<()> {
    run.stage.publish().await?;
    run.stage.bring_up(fleet, limit(fleet.count)).await?;
    run.stage.settle().await;
    Ok(())
}
