//! Nothing happens, at short intervals.

use std::time::Duration;

use anyhow::Result;

use super::{Run, fleet};
use crate::audit::About;
use crate::sample::{Fleet, twenty};

/// Two minutes.
pub async fn run(mut run: Run<'_>) -> Result<()> {
    const INTERVAL: f64 = 30.0;
    let fleet = Fleet {
        interval: "30s",
        ..Fleet::new(run.wanted.sizes.of(100))
    };
    run.stage.repo.write("app/app.yaml", twenty())?;
    fleet::prepare(&mut run, &fleet).await?;
    let length = run.wanted.sizes.span(Duration::from_secs(120));
    let span = run.stage.measure()?;
    // Time is what is measured here: what is done in so much of it.
    tokio::time::sleep(length).await;
    let cost = run.stage.cost(span).await?;
    let turns = fleet.count as f64 * length.as_secs_f64() / INTERVAL;
    let each = cost.requests.about(About::Toolkit) as f64 / turns;
    let row = run.row("steady", fleet.count);
    run.keep(
        row.figure("requests per Kustomization and interval", each, "")
            .costing(cost),
    );
    Ok(())
}
