//! From a push, of which the source controller is told at once, until the commit is applied.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Run, fleet, limit};
use crate::report::percentile;
use crate::sample::{Fleet, INDEXED, application};
use crate::stage::is_ready_with;

/// One Kustomization.
pub async fn single(mut run: Run<'_>) -> Result<()> {
    let one = Fleet::new(1);
    run.stage.repo.write("app/app.yaml", application(INDEXED, 1))?;
    fleet::prepare(&mut run, &one).await?;
    pushes(&mut run, "push-1", &one, 5).await
}

/// All of a fleet that is ready.
pub async fn to_all(run: &mut Run<'_>, case: &'static str, fleet: &Fleet) -> Result<()> {
    run.stage.settle().await;
    pushes(run, case, fleet, 3).await
}

async fn pushes(run: &mut Run<'_>, case: &'static str, fleet: &Fleet, count: u32) -> Result<()> {
    let mut times: Vec<Duration> = Vec::new();
    let span = run.stage.measure()?;
    for release in 0..count {
        run.stage
            .repo
            .write("app/app.yaml", application(INDEXED, 100 + release))?;
        let commit = run.stage.repo.commit("Another release")?;
        let applied = run
            .stage
            .board
            .expect(fleet.names(), move |object| is_ready_with(object, &commit));
        let start = Instant::now();
        run.stage.poke().await?;
        applied.within(limit(fleet.count), "the commit to be applied").await?;
        times.push(start.elapsed());
    }
    let cost = run.stage.cost(span).await?;
    let row = run
        .row(case, fleet.count)
        .figure("pushes", f64::from(count), "")
        .figure("p50", percentile(&mut times, 50), "s")
        .figure("max", percentile(&mut times, 100), "s")
        .costing(cost);
    run.keep(row);
    Ok(())
}
