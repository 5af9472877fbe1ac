//! Someone scales a Deployment that Git wants to have no replicas: how long until it has none again. Every time it is
//! another Deployment, so that nobody takes it for a fight.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::PostParams;

use super::Run;
use crate::board::Board;
use crate::report::percentile;
use crate::sample::{Fleet, suffix};
use crate::stage::{BENCH, Contestant};

/// On a fleet that is ready.
pub async fn run(run: &mut Run<'_>, fleet: &Fleet) -> Result<()> {
    let samples = run.wanted.sizes.of(50).min(fleet.count);
    if matches!(run.contestant, Contestant::Flux { .. }) {
        let row = run.row("drift", samples);
        run.keep(row.noting("drift is corrected at the next interval"));
        return Ok(());
    }
    run.stage.settle().await;
    let api: Api<Deployment> = run.stage.namespace.api();
    let board = Board::start(api.clone()).await?;
    let manager = PostParams {
        field_manager: Some(BENCH.to_owned()),
        ..PostParams::default()
    };
    let mut times: Vec<Duration> = Vec::new();
    let span = run.stage.measure()?;
    for index in 0..samples {
        let name = format!("app-{}", suffix(index));
        let mut deployment = api.get(&name).await?;
        let spec = deployment
            .spec
            .as_mut()
            .ok_or_else(|| anyhow!("the Deployment {name} has no spec"))?;
        spec.replicas = Some(1);
        let start = Instant::now();
        let scaled = api.replace(&name, &manager, &deployment).await?.metadata.generation;
        let corrected = board.expect([name.clone()], move |object: Option<&Deployment>| {
            object.is_some_and(|object| {
                let replicas = object.spec.as_ref().and_then(|spec| spec.replicas);
                replicas == Some(0) && object.metadata.generation > scaled
            })
        });
        corrected
            .within(
                Duration::from_secs(60),
                &format!("the Deployment {name} to be corrected"),
            )
            .await?;
        times.push(start.elapsed());
    }
    let cost = run.stage.cost(span).await?;
    let row = run
        .row("drift", samples)
        .figure("p50", percentile(&mut times, 50), "s")
        .figure("p99", percentile(&mut times, 99), "s")
        .figure("max", percentile(&mut times, 100), "s")
        .costing(cost);
    run.keep(row);
    Ok(())
}
