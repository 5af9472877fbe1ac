//! One Kustomization of very many objects, and very many Kustomizations of few objects.

use std::time::Duration;

use anyhow::Result;

use super::{Run, limit};
use crate::sample::{Fleet, config_map, pair};

/// One Kustomization of this many ConfigMaps.
pub async fn one(mut run: Run<'_>, case: &'static str, count: usize) -> Result<()> {
    const IN_A_FILE: usize = 100;
    let names: Vec<String> = (0..count).map(|index| format!("map-{index:05}")).collect();
    for (number, chunk) in names.chunks(IN_A_FILE).enumerate() {
        let maps: Vec<String> = chunk.iter().map(|name| config_map(name)).collect();
        run.stage
            .repo
            .write(&format!("app/maps-{number:03}.yaml"), maps.join("---\n"))?;
    }
    let fleet = Fleet::new(1);
    run.stage.publish().await?;
    run.stage.settle().await;
    let span = run.stage.measure()?;
    run.stage.bring_up(&fleet, limit(count)).await?;
    let cost = run.stage.cost(span).await?;
    let each = cost.wall.as_secs_f64() * 1000.0 / count as f64;
    let row = run.row(case, count).figure("per object", each, "ms").costing(cost);
    run.keep(row);
    Ok(())
}

/// Ten thousand Kustomizations of two objects, and what they cost when nothing happens.
pub async fn many(mut run: Run<'_>) -> Result<()> {
    let fleet = Fleet::new(run.wanted.sizes.of(10_000));
    run.stage.repo.write("app/pair.yaml", pair())?;
    run.stage.publish().await?;
    run.stage.settle().await;
    let span = run.stage.measure()?;
    run.stage.bring_up(&fleet, limit(fleet.count)).await?;
    let cost = run.stage.cost(span).await?;
    let row = run.row("create-10000", fleet.count).costing(cost);
    run.keep(row);
    if run.wanted.has("idle-10000") {
        run.stage.settle().await;
        let span = run.stage.measure()?;
        // Time is what is measured here: what is done in so much of it.
        tokio::time::sleep(run.wanted.sizes.span(Duration::from_secs(30))).await;
        let cost = run.stage.cost(span).await?;
        let row = run.row("idle-10000", fleet.count).costing(cost);
        run.keep(row);
    }
    Ok(())
}
